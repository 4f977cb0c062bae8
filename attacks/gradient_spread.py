"""The spread attack on gradients: does what updates say about a canary change from step to step?"""

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
class GradientSpread(Attack):
    """Score = standard deviation, over steps, of what the noisy sum shows along the canary's clipped gradient.

    In units of the squared clipping norm, less what the other records contributed. For noise that is not fresh in every
    step (a generator seeded inside the step, a key that is never split): what is the same in all steps cancels, and it
    remains that the canary is in some batches and not in others. Fresh noise as claimed drowns it, so on a sound
    pipeline `GradientLLR` is the sharper attack; at full batch, or where the canary's gradient hardly changes and
    batches are fixed, there is nothing to see.
    """

    name: ClassVar[str] = "gradient-spread"
    access: ClassVar[Access] = Access.GRADIENTS
    kinds: ClassVar[frozenset[str]] = frozenset({"array", "text", "gradient"})
    family: ClassVar[str] = "white-box"
    evidence: ClassVar[frozenset[str]] = frozenset()

    def score(
        self, view: View, canaries: CanarySet, seed: int
    ) -> tuple[NDArray[np.float64], Mapping[str, NDArray[Any]]]:
        """The standard deviation, float64[models, canaries]; no evidence."""
        record = view.gradient_record().of(canaries.ids)
        return record.unknown.std(axis=1) / record.max_grad_norm**2, {}
