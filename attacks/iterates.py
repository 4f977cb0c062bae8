"""The attack on checkpoints: what a canary's loss was all along."""

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
class Iterates(Attack):
    """Score = minus the canary's loss, in nats, averaged over all checkpoints.

    For pipelines that release intermediate models (federated learning, published checkpoints): Nasr, Shokri,
    Houmansadr (2019), "Comprehensive Privacy Analysis of Deep Learning". One query for each canary and checkpoint.
    The mean of losses is all that it reads: how weights move from one checkpoint to the next, and how much each
    checkpoint tells, it leaves aside, so it may show less than "loss" does on the final model. "gradient" and
    "gradient-llr" read every update.
    """

    name: ClassVar[str] = "iterates"
    access: ClassVar[Access] = Access.CHECKPOINTS
    kinds: ClassVar[frozenset[str]] = frozenset({"array", "text"})
    family: ClassVar[str] = "white-box"
    evidence: ClassVar[frozenset[str]] = frozenset()

    def score(
        self, view: View, canaries: CanarySet, seed: int
    ) -> tuple[NDArray[np.float64], Mapping[str, NDArray[Any]]]:
        """Minus the mean loss, float64[models, canaries]; no evidence."""
        losses = [checkpoint.loss(canaries.records) for checkpoint in view.checkpoints().values()]
        return -np.mean(losses, axis=0), {}
