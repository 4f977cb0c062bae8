"""Dirac canaries: gradients along one coordinate each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from canaries.base import CanaryDesign, Secret
from canaries.errors import InputError
from canaries.records import Dataset, GradientRecords, Records


@dataclass(frozen=True)
class Dirac(CanaryDesign):
    """Dirac gradients (Nasr et al. 2023, "Tight Auditing of Differentially Private Machine Learning", section 4).

    Each canary is a gradient itself, of one coordinate, handed to the trainer before clipping: it is sampled into
    batches and clipped like the gradient of any record. Canaries lie in distinct coordinates, spread over all layers,
    so thousands in one run do not disturb each other (random directions do, once there are more than a layer has
    dimensions). Signs are random. Any data will do; the trainer must take gradients, as the ensemble trainer does.

    Attributes:
        norm: in units of the clipping norm; what exceeds 1 is clipped away.
    """

    name: ClassVar[str] = "dirac"
    kind: ClassVar[Literal["array", "text", "gradient"]] = "gradient"

    norm: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.norm < math.inf:
            raise InputError(f"Expected a finite norm > 0 for canary design '{self.name}', got {self.norm}.")

    def craft(self, dataset: Dataset, count: int, rng: np.random.Generator) -> tuple[Records, tuple[Secret, ...]]:
        """`count` gradients of random signs."""
        del dataset
        signs = np.where(rng.random(count) < 0.5, -1.0, 1.0)
        return GradientRecords(self.norm * signs, np.arange(count), count), ()
