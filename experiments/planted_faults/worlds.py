"""Worlds: what an adversary chooses, the data set, its neighbour's canary, and the direction that is looked along."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from canaries.base import CanarySet
from canaries.records import ArrayRecords

FEATURES, CLASSES = 64, 10
RECORDS = 16
HUGE = 100.0
"""Length of a canary's gradient over C, where it is handed over as a gradient: far beyond the clipping norm."""


@dataclass(frozen=True)
class World:
    """One choice of the adversary of add-or-remove-one.

    Attributes:
        name: what the table calls the canary.
        canary: "hot-pixel", a record with one enormous feature under a wrong label; or a gradient that is handed to the
            trainer before clipping (Nasr et al. 2023): "bias", along one output bias; "spread", as long in each layer
            as in every other; "opposed", against the gradient of the first record.
        alike: whether all other records are the same one.
        along: what the updates are multiplied with, after what the others contribute is taken off: the canary's clipped
            gradient; or, for an adversary who has the code, the difference that the canary makes to the pipeline's sum.
    """

    name: str
    canary: Literal["hot-pixel", "bias", "spread", "opposed"]
    alike: bool = False
    along: Literal["own", "difference"] = "own"

    @property
    def is_record(self) -> bool:
        """Whether the canary is a record that a model can be asked about."""
        return self.canary == "hot-pixel"

    @cached_property
    def canaries(self) -> CanarySet:
        """The canary, for attacks; and, as negative control, one that is never inserted."""
        (x, y), (other, label) = _canary(), _never()
        records = ArrayRecords(torch.cat([x, other]).numpy(), torch.cat([y, label]).numpy(), CLASSES)
        ids = (self.name, f"{self.name}, never inserted")
        return CanarySet(self.name, ids, records, np.ones(2, dtype=np.int64), np.array([False, True]))

    def never(self, theta: Tensor, norm: float) -> Tensor:
        """[models, size]: the gradient, clipped, of what is never inserted: the bias of its class alone."""
        towards = torch.zeros_like(theta)
        towards[:, theta.shape[1] - CLASSES + int(_never()[1])] = norm
        return towards

    def records(self, copies: int) -> tuple[Tensor, Tensor]:
        """x[RECORDS + copies, features] and y: the others, then the canary."""
        x, y = _digits()
        if self.alike:
            x, y = x[:1].expand(RECORDS, -1), y[:1].expand(RECORDS)
        hot, label = _canary()
        return torch.cat([x, hot.expand(copies, -1)]), torch.cat([y, label.expand(copies)])

    def planted(self, g: Tensor, copies: int, norm: float) -> Tensor:
        """Every record's gradient [models, records, size], that of the canary handed over where it is no record."""
        if self.is_record:
            return g
        size = g.shape[2]
        bias = slice(size - CLASSES, size)
        if self.canary == "opposed":
            towards = -g[:, :1] / g[:, :1].norm(dim=2, keepdim=True)
        else:
            towards = torch.zeros(1, 1, size)
            if self.canary == "bias":
                towards[..., bias.start] = 1.0
            else:
                towards[..., _one_of_each_layer(size)] = 0.5
        return torch.cat([g[:, :-copies], (HUGE * norm * towards).expand(len(g), copies, -1)], 1)


def _one_of_each_layer(size: int) -> list[int]:
    hidden = (size - CLASSES) // (FEATURES + 1 + CLASSES)
    return [0, hidden * FEATURES, hidden * (FEATURES + 1), size - 1]


@lru_cache
def _digits() -> tuple[Tensor, Tensor]:
    x, y = load_digits(return_X_y=True)
    return torch.from_numpy(x[:RECORDS] / 16).float(), torch.from_numpy(y[:RECORDS]).long()


@lru_cache
def _never() -> tuple[Tensor, Tensor]:
    x = torch.zeros(1, FEATURES)
    x[0, 44] = 300.0
    return x, torch.tensor([7])


@lru_cache
def _canary() -> tuple[Tensor, Tensor]:
    x = torch.zeros(1, FEATURES)
    x[0, 20] = 300.0
    return x, torch.tensor([3])


WORLDS = (
    World("hot-pixel", "hot-pixel"),
    World("bias", "bias"),
    World("spread", "spread"),
    World("opposed", "opposed", alike=True),
    World("opposed, code known", "opposed", alike=True, along="difference"),
    World("hot-pixel, code known", "hot-pixel", along="difference"),
)
