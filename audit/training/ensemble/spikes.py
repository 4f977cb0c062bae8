"""Gradients of one coordinate each, trained on beside records: where they lie, and how they are clipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audit.training.ensemble.gradients import clip_factors
from canaries.errors import InputError
from canaries.records import GradientRecords


@dataclass(frozen=True)
class Spikes:
    """Gradients that are zero but for one coordinate.

    Attributes:
        coordinates: int64[n], columns of the parameters [models, size].
        values: [n].
    """

    coordinates: Tensor
    values: Tensor

    def __len__(self) -> int:
        return len(self.coordinates)

    @property
    def norms(self) -> Tensor:
        """[n]: norms before clipping."""
        return self.values.abs()

    def clipped(self, max_norm: float) -> Tensor:
        """[n]: the values after clipping, as any example's gradient is clipped."""
        return self.values * clip_factors(self.norms, max_norm)

    def moved(self, device: str, dtype: torch.dtype) -> Spikes:
        """These, on `device` in `dtype`."""
        return Spikes(self.coordinates.to(device), self.values.to(device, dtype))


def spikes(records: GradientRecords, shapes: Mapping[str, torch.Size], max_norm: float) -> Spikes:
    """Gradients of a model with parameters of these shapes.

    Raises:
        InputError: if the model has fewer parameters than `records` have places.
    """
    where = spread([shape.numel() for shape in shapes.values()], records.places)
    return Spikes(torch.from_numpy(where[records.place]), torch.from_numpy(records.length * max_norm))


def spread(sizes: Sequence[int], places: int) -> NDArray[np.int64]:
    """int64[places]: distinct coordinates of parameters of these sizes that lie end to end.

    Every parameter gets as many as every other, as far as it has room; within one they lie at equal distances.

    Raises:
        InputError: if there is no room.

    >>> spread([8, 2, 10], 8).tolist()
    [0, 2, 5, 8, 9, 10, 13, 16]
    """
    if places > sum(sizes):
        raise InputError(f"Expected at most {sum(sizes)} gradient canaries, one for each parameter, got {places}.")
    shares, left = np.zeros(len(sizes), dtype=np.int64), places
    while left:
        open_ = np.flatnonzero(shares < np.array(sizes))
        each = max(1, left // len(open_))
        for layer in open_[:left]:
            more = min(each, sizes[layer] - int(shares[layer]), left)
            shares[layer] += more
            left -= more
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    parts = [
        start + np.arange(share) * size // max(1, share)
        for start, share, size in zip(starts, shares.tolist(), sizes, strict=True)
    ]
    return np.concatenate(parts).astype(np.int64)
