"""The weights attack: how far the final model lies from the initial one, along the canary's gradient."""

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
class Weights(Attack):
    """Score = inner product of initial less final parameters with the canary's clipped gradient at the final ones.

    What is left of `Gradient` where only the final model is released: with SGD at a constant learning rate and a canary
    whose gradient does not change (a Dirac canary), it is the sum of all steps' inner products, those of the other
    records included. Where each model drew its initial parameters in secret, the adversary does not know them: zero
    stands for them, and their spread is noise to the score. One query for each canary.
    """

    name: ClassVar[str] = "weights"
    access: ClassVar[Access] = Access.WEIGHTS
    kinds: ClassVar[frozenset[str]] = frozenset({"array", "text", "gradient"})
    family: ClassVar[str] = "white-box"
    evidence: ClassVar[frozenset[str]] = frozenset()

    def score(
        self, view: View, canaries: CanarySet, seed: int
    ) -> tuple[NDArray[np.float64], Mapping[str, NDArray[Any]]]:
        """The inner product, float64[models, canaries]; no evidence."""
        return view.movement(canaries.records), {}
