"""Which records are in a batch: every model draws from its own stream, whatever trains beside it."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from canaries.errors import InputError

Batch = NDArray[np.int64]


class Sampler(ABC):
    """Draws one model's batches.

    Args:
        records: size of its training set.
        rng: its own stream.
    """

    def __init__(self, records: int, rng: np.random.Generator) -> None:
        self.records = records
        self.rng = rng

    @abstractmethod
    def draw(self, rate: float) -> Batch:
        """int64[batch]: positions in the training set, at sample rate `rate`."""


class Poisson(Sampler):
    """Each record with probability `rate`, independently; drawn by the gaps between them, which are geometric."""

    def draw(self, rate: float) -> Batch:
        """Ascending positions; all of them at rate 1."""
        if rate >= 1:
            return np.arange(self.records)
        mean = self.records * rate
        block = int(mean + 6 * np.sqrt(mean + 1)) + 8
        last, parts = -1, []
        while last < self.records:
            positions = last + np.cumsum(self.rng.geometric(rate, block))
            parts.append(positions)
            last = int(positions[-1])
        positions = np.concatenate(parts)
        return positions[: np.searchsorted(positions, self.records)]


class Shuffled(Sampler):
    """Batches of one size from a fresh permutation each epoch; an epoch's last batch may be shorter."""

    def __init__(self, records: int, rng: np.random.Generator) -> None:
        super().__init__(records, rng)
        self._left: Batch = np.empty(0, dtype=np.int64)

    def draw(self, rate: float) -> Batch:
        """The next positions of this epoch's order, at most rate * records: no fewer than 1 / rate batches an epoch.

        Raises:
            InputError: if that is less than one record.
        """
        size = int(rate * self.records)
        if not size:
            raise InputError(f"Expected a sample_rate of at least one in {self.records} records, got {rate}.")
        if not len(self._left):
            self._left = self.rng.permutation(self.records)
        batch, self._left = self._left[:size], self._left[size:]
        return batch


SAMPLERS: dict[str, type[Sampler]] = {"poisson": Poisson, "shuffled": Shuffled}
