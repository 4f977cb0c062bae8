"""The gradient attack: how far every update goes along the canary's gradient."""

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
class Gradient(Attack):
    """Score = sum over steps of the inner product of the noisy sum with the canary's clipped gradient.

    Nasr, Hayes, Steinke, Balle, Tramer, Jagielski, Carlini, Terzis (2023), "Tight Auditing of Differentially Private
    Machine Learning", section 5. What the records that every model trains on contributed is subtracted: the
    adversary of add-or-remove-one knows them. In units of the squared clipping norm, so a canary at the clipping norm
    that is in every batch scores one a step more than one that is in none. At full batch this orders models as the
    likelihood ratio does; under sampling it does not (see `GradientLLR`).
    """

    name: ClassVar[str] = "gradient"
    access: ClassVar[Access] = Access.GRADIENTS
    kinds: ClassVar[frozenset[str]] = frozenset({"array", "text", "gradient"})
    family: ClassVar[str] = "white-box"
    evidence: ClassVar[frozenset[str]] = frozenset()

    def score(
        self, view: View, canaries: CanarySet, seed: int
    ) -> tuple[NDArray[np.float64], Mapping[str, NDArray[Any]]]:
        """The sum, float64[models, canaries]; no evidence."""
        record = view.gradient_record().of(canaries.ids)
        return record.unknown.sum(axis=1) / record.max_grad_norm**2, {}
