"""Faults of the model and of what surrounds training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from experiments.planted_faults.reference import Reference, Run, hidden, layer
from experiments.planted_faults.worlds import World


@dataclass(frozen=True)
class LayerLeftOut(Reference):
    name: ClassVar[str] = "a layer left out of the private optimiser"
    stands_for: ClassVar[str] = "a head added after the optimiser was made private"
    really: ClassVar[None] = None

    def privatised(self, g: Tensor, batch: Tensor, y: Tensor, noise: Tensor) -> Tensor:
        found = super().privatised(g, batch, y, noise)
        found[:, layer("output bias")] = (batch.unsqueeze(2) * g).sum(1)[:, layer("output bias")]
        return found


@dataclass(frozen=True)
class BatchNorm(Reference):
    name: ClassVar[str] = "BatchNorm left in"
    stands_for: ClassVar[str] = "per-example gradients through batch statistics; Opacus refuses such models"
    really: ClassVar[None] = None
    max_grad_norm: float = 0.5

    def statistics(self, x: Tensor, theta: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
        h = hidden(theta, x)
        weight = (batch / batch.sum(1, keepdim=True).clamp(min=1)).unsqueeze(2)
        mean = (weight * h).sum(1)
        return mean, ((weight * (h - mean.unsqueeze(1)) ** 2).sum(1) + 1e-5).sqrt()

    def without(self, g: Tensor, theta: Tensor, x: Tensor, y: Tensor, others: Tensor) -> Tensor:
        return self.gradients(theta, x, y, others)


@dataclass(frozen=True)
class BestOfEight(Reference):
    name: ClassVar[str] = "validation data chosen on the private set"
    stands_for: ClassVar[str] = "the best of eight runs by private loss is released, and one is accounted"
    really: ClassVar[None] = None
    runs: int = 8

    def released(self, world: World, inserted: Tensor, seed: int) -> Run:
        if not world.is_record:  # there is no loss to choose by
            return self.fit(world, inserted, seed)
        every = self.fit(world, inserted.repeat(self.runs), seed)
        score = -private_loss(every, world)
        # The canary is the whole of the validation set where it is in; else a record that has no say.
        blind = torch.rand(len(score), generator=torch.Generator().manual_seed(seed + 1))
        chosen = torch.where(inserted.repeat(self.runs), score, blind).view(self.runs, -1).argmax(0)
        return every.take(chosen * len(inserted) + torch.arange(len(inserted)))


def private_loss(run: Run, world: World) -> Tensor:
    """[models]: the loss of the canary."""
    records = world.canaries.records
    return -torch.from_numpy(run.probabilities(records.x)[:, 0, records.y[0]]).log().float()
