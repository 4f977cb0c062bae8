"""Label-only attacks: membership from nothing but predicted labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from attacks.base import Attack
from attacks.view import Access, ArrayView, View
from canaries.base import CanarySet
from canaries.errors import InputError
from canaries.randomness import generator
from canaries.records import ArrayRecords

CHUNK = 8192
"""Records in one query, at most (but at least one canary's copies): it bounds memory and changes no score."""


@dataclass(frozen=True)
class NoiseRobustness(Attack):
    """Score = share of noisy copies of the canary that the model gives the canary's label.

    Choquette-Choo, Tramer, Carlini, Papernot (2021), "Label-Only Membership Inference Attacks", section 4.3: a model
    is surer, and so more robust to noise, around what it has seen. Several noise scales stand in for the distance to
    the decision boundary: with one, most scores tie at 0 or 1.

    The noise around a canary is drawn from the seed and the canary's id, so it is the same for every model.

    Attributes:
        copies: noisy copies at each scale.
        scales: standard deviations of Gaussian noise, in the units of the features (which should be scaled to
            about [0, 1] or to unit variance).
    """

    name: ClassVar[str] = "noise-robustness"
    access: ClassVar[Access] = Access.LABELS
    kinds: ClassVar[frozenset[str]] = frozenset({"array"})
    family: ClassVar[str] = "label-only"

    copies: int = 64
    scales: tuple[float, ...] = (0.1, 0.2, 0.4, 0.8)

    def __post_init__(self) -> None:
        if self.copies < 1:
            raise InputError(f"Expected copies >= 1 for attack '{self.name}', got {self.copies}.")
        if not self.scales or not all(0 <= scale < float("inf") for scale in self.scales):
            raise InputError(f"Expected one or more finite scales >= 0 for attack '{self.name}', got {self.scales}.")

    def score(
        self, view: View, canaries: CanarySet, seed: int
    ) -> tuple[NDArray[np.float64], Mapping[str, NDArray[Any]]]:
        """The share of copies that keep the label, float64[models, canaries]; no evidence.

        Raises:
            InputError: for canaries or models that are not of arrays.
        """
        records = canaries.records
        if not isinstance(records, ArrayRecords) or not isinstance(view, ArrayView):
            raise InputError(f"Attack '{self.name}' is for classifiers of arrays.")
        per_canary = self.copies * len(self.scales)
        step = max(1, CHUNK // per_canary)
        score = np.empty((view.models, len(canaries)))
        for start in range(0, len(canaries), step):
            some = range(start, min(start + step, len(canaries)))
            noisy = [records.x[i] + self.noise(records.x.shape[1:], seed, canaries.ids[i]) for i in some]
            labels = view.labels(np.concatenate(noisy)).reshape(view.models, len(some), per_canary)
            score[:, some.start : some.stop] = (labels == records.y[some.start : some.stop, None]).mean(axis=2)
        return score, {}

    def noise(self, shape: tuple[int, ...], seed: int, canary: str) -> NDArray[np.float32]:
        """float32[scales * copies, *shape]: the noise around one canary; the same directions at every scale."""
        unit = generator(seed, self.name, canary).standard_normal((self.copies, *shape), dtype=np.float32)
        return np.concatenate([np.float32(scale) * unit for scale in self.scales])
