"""Noise canaries: records that look like nothing in the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from canaries.base import CanaryDesign, Secret
from canaries.errors import InputError
from canaries.records import ArrayRecords, Dataset, Records


@dataclass(frozen=True)
class UniformNoise(CanaryDesign):
    """Features drawn uniformly between each feature's least and greatest value in the training data.

    Labels are drawn uniformly from all classes. A feature that is constant in the data is constant here.
    """

    name: ClassVar[str] = "uniform-noise"
    kind: ClassVar[Literal["array", "text"]] = "array"

    def craft(self, dataset: Dataset, count: int, rng: np.random.Generator) -> tuple[Records, tuple[Secret, ...]]:
        """`count` records of noise.

        Raises:
            InputError: if there is no training record to take ranges from.
        """
        assert isinstance(dataset.train, ArrayRecords)
        x, classes = dataset.train.x, dataset.train.classes
        if not len(x):
            raise InputError(f"Uniform noise takes its ranges from training data, but '{dataset.name}' has none.")
        low, high = x.min(axis=0), x.max(axis=0)
        noise = low + (high - low) * rng.random((count, *x.shape[1:]), dtype=np.float32)
        return ArrayRecords(np.clip(noise, low, high), rng.integers(classes, size=count), classes), ()
