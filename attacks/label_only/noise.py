"""Robustness to noise: how many noisy copies of a canary keep its label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from attacks.label_only.base import Floats, LabelOnly, share_that_keeps
from attacks.view import ArrayView
from canaries.errors import InputError
from canaries.randomness import generator
from canaries.records import ArrayRecords


@dataclass(frozen=True)
class NoiseRobustness(LabelOnly):
    """Score = share of noisy copies of the canary that the model gives the canary's label.

    Choquette-Choo, Tramer, Carlini, Papernot (2021), "Label-Only Membership Inference Attacks", section 4.3: a model
    is surer, and so more robust to noise, around what it has seen. Several noise scales stand in for the distance to
    the decision boundary: with one, most scores tie at 0 or 1. copies * len(scales) queries for each canary.

    The noise around a canary is drawn from the seed and the canary's id, so it is the same for every model.

    Attributes:
        copies: noisy copies at each scale.
        scales: standard deviations of Gaussian noise, in the units of the features (which should be scaled to
            about [0, 1] or to unit variance).
    """

    name: ClassVar[str] = "noise-robustness"

    copies: int = 64
    scales: tuple[float, ...] = (0.1, 0.2, 0.4, 0.8)

    def __post_init__(self) -> None:
        if self.copies < 1:
            raise InputError(f"Expected copies >= 1 for attack '{self.name}', got {self.copies}.")
        if not self.scales or not all(0 <= scale < float("inf") for scale in self.scales):
            raise InputError(f"Expected one or more finite scales >= 0 for attack '{self.name}', got {self.scales}.")

    def measure(self, view: ArrayView, records: ArrayRecords, ids: tuple[str, ...], seed: int) -> Floats:
        """The share of copies that keep the label, float64[models, canaries]."""

        def copies(i: int) -> NDArray[np.float32]:
            return records.x[i] + self.noise(records.x.shape[1:], seed, ids[i])

        return share_that_keeps(view, records, self.copies * len(self.scales), copies)

    def noise(self, shape: tuple[int, ...], seed: int, canary: str) -> NDArray[np.float32]:
        """float32[scales * copies, *shape]: the noise around one canary; the same directions at every scale."""
        unit = generator(seed, self.name, canary).standard_normal((self.copies, *shape), dtype=np.float32)
        return np.concatenate([np.float32(scale) * unit for scale in self.scales])
