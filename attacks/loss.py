"""The loss threshold attack: what a model has seen, it predicts better."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from attacks.base import Attack
from attacks.view import Access, View
from canaries.base import CanarySet


@dataclass(frozen=True)
class Loss(Attack):
    """Score = minus the loss of the canary, in nats.

    Yeom et al. (2018), "Privacy Risk in Machine Learning: Analyzing the Connection to Overfitting". For texts the loss
    is that of the whole text. One query for each canary.
    """

    name: ClassVar[str] = "loss"
    access: ClassVar[Access] = Access.LOSS
    kinds: ClassVar[frozenset[str]] = frozenset({"array", "text"})
    family: ClassVar[str] = "membership"
    evidence: ClassVar[frozenset[str]] = frozenset()

    def score(
        self, view: View, canaries: CanarySet, seed: int
    ) -> tuple[NDArray[np.float64], Mapping[str, NDArray[Any]]]:
        """Minus the loss, float64[models, canaries]; no evidence."""
        return -view.loss(canaries.records), {}
