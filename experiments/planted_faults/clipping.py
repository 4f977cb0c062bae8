"""Faults of the clipping."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from audit.mechanism import DPSGD
from experiments.planted_faults.noise import with_noise
from experiments.planted_faults.reference import SHAPES, Reference, layer
from experiments.planted_faults.worlds import RECORDS


@dataclass(frozen=True)
class ClippedMean(Reference):
    name: ClassVar[str] = "clipping the mean gradient"
    stands_for: ClassVar[str] = "clip_grad_norm_ after loss.mean().backward(), the commonest home-made DP-SGD"

    @property
    def really(self) -> DPSGD:
        return with_noise(self, 1 / (self.sample_rate * RECORDS))

    def total(self, g: Tensor, batch: Tensor, y: Tensor) -> Tensor:
        mean = (batch.unsqueeze(2) * g).sum(1, keepdim=True) / (self.sample_rate * RECORDS)
        return self.clip(mean, y)[:, 0] * (self.sample_rate * RECORDS)


@dataclass(frozen=True)
class ClippedPerLayer(Reference):
    name: ClassVar[str] = "clipping per layer with the full C"
    stands_for: ClassVar[str] = "per-layer clipping accounted with C instead of C times the root of the layers"

    @property
    def really(self) -> DPSGD:
        return with_noise(self, 1 / math.sqrt(len(SHAPES)))

    def clip(self, g: Tensor, y: Tensor) -> Tensor:
        return torch.cat([super(ClippedPerLayer, self).clip(g[..., layer(name)], y) for name in SHAPES], 2)


@dataclass(frozen=True)
class ClippedAfterwards(Reference):
    name: ClassVar[str] = "clipping after the aggregate"
    stands_for: ClassVar[str] = "the sum is clipped to C; a record can turn it round, a distance of 2 C"
    max_grad_norm: float = 0.5

    @property
    def really(self) -> DPSGD:
        return with_noise(self, 0.5)

    def total(self, g: Tensor, batch: Tensor, y: Tensor) -> Tensor:
        return self.clip((batch.unsqueeze(2) * g).sum(1, keepdim=True), y)[:, 0]


@dataclass(frozen=True)
class BiasNotClipped(Reference):
    name: ClassVar[str] = "no clipping of the bias"
    stands_for: ClassVar[str] = "per-example gradients for weights alone"
    really: ClassVar[None] = None

    def clip(self, g: Tensor, y: Tensor) -> Tensor:
        return torch.cat([super().clip(g[..., : layer("output bias").start], y), g[..., layer("output bias")]], 2)


@dataclass(frozen=True)
class WeightedNotClipped(Reference):
    name: ClassVar[str] = "examples of scaled loss are not clipped"
    stands_for: ClassVar[str] = "wrong sensitivity of what is clipped (backpropagation clipping: Tramer et al. 2022)"
    really: ClassVar[None] = None

    def clip(self, g: Tensor, y: Tensor) -> Tensor:
        return torch.where((y == 3)[None, :, None], g, super().clip(g, y))
