"""Training without any privacy: no clipping, no noise. It claims nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from torch import nn
from torch.optim import Optimizer

from audit.training.loop import Loader, SequentialTrainer
from canaries.errors import InputError


@dataclass(frozen=True)
class NonPrivate(SequentialTrainer):
    """Plain SGD or Adam on Poisson batches, one model after the other; only epsilon infinity can be claimed."""

    name = "non-private"

    @property
    def mechanism(self) -> None:
        """Nothing private is claimed."""
        return

    def with_noise(self, noise_multiplier: float) -> Self:
        """This trainer itself; only a noise multiplier of 0 is allowed."""
        if noise_multiplier != 0:
            raise InputError(
                f"Trainer '{self.name}' adds no noise, so it cannot claim a finite epsilon; use 'opacus', or inf."
            )
        return self

    def prepare(
        self, module: nn.Module, optimizer: Optimizer, criterion: nn.Module, loader: Loader, expected: float, seed: int
    ) -> tuple[nn.Module, Any, Any, Loader]:
        """All of them as they are, but for the divisor: the expected batch size, as with privacy."""
        del seed
        criterion.reduction = "sum"  # type: ignore[assignment]
        return module, optimizer, lambda outputs, targets: criterion(outputs, targets) / expected, loader
