"""Faults of the noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from audit.mechanism import DPSGD
from experiments.planted_faults.reference import Reference
from experiments.planted_faults.worlds import RECORDS


def with_noise(trainer: Reference, factor: float) -> DPSGD:
    return DPSGD(trainer.sample_rate, trainer.steps, trainer.noise_multiplier * factor)


@dataclass(frozen=True)
class NoNoise(Reference):
    name: ClassVar[str] = "no noise"
    stands_for: ClassVar[str] = "a noise multiplier that never reaches the optimiser"

    @property
    def really(self) -> DPSGD:
        return with_noise(self, 0.0)

    def noise(self, shape: torch.Size, step: int, rng: torch.Generator) -> Tensor:
        return torch.zeros(shape)


@dataclass(frozen=True)
class NoiseOverBatchSize(Reference):
    name: ClassVar[str] = "noise divided by the batch size"
    stands_for: ClassVar[str] = "noise of the mean added to the sum (Tramer et al. 2022, Debugging DP)"

    @property
    def really(self) -> DPSGD:
        return with_noise(self, 1 / (self.sample_rate * RECORDS))

    def noise(self, shape: torch.Size, step: int, rng: torch.Generator) -> Tensor:
        return super().noise(shape, step, rng) / (self.sample_rate * RECORDS)


@dataclass(frozen=True)
class SigmaWithoutC(Reference):
    name: ClassVar[str] = "noise sigma instead of sigma C"
    stands_for: ClassVar[str] = "libraries differ in whether sigma is a multiple of C"

    @property
    def really(self) -> DPSGD:
        return with_noise(self, 1 / self.max_grad_norm)

    def noise(self, shape: torch.Size, step: int, rng: torch.Generator) -> Tensor:
        return self.noise_multiplier * torch.randn(shape, generator=rng)


@dataclass(frozen=True)
class NoiseReused(Reference):
    name: ClassVar[str] = "noise reused at every step"
    stands_for: ClassVar[str] = "a generator seeded inside the step; a random key that is never split"

    @property
    def really(self) -> DPSGD:
        return with_noise(self, 0.0)

    def noise(self, shape: torch.Size, step: int, rng: torch.Generator) -> Tensor:
        return super().noise(shape, step, torch.Generator().manual_seed(rng.initial_seed()))


@dataclass(frozen=True)
class NoiseAveraged(Reference):
    name: ClassVar[str] = "noise averaged over micro-batches"
    stands_for: ClassVar[str] = "gradient accumulation that averages four noisy micro-batches and sums their gradients"

    @property
    def really(self) -> DPSGD:
        return with_noise(self, 0.5)

    def noise(self, shape: torch.Size, step: int, rng: torch.Generator) -> Tensor:
        return torch.stack([super(NoiseAveraged, self).noise(shape, step, rng) for _ in range(4)]).mean(0)
