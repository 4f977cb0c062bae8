"""The training loop that the one-by-one trainers share: sampling, schedule, optimiser, one model at a time."""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from opacus.utils.uniform_sampler import UniformWithReplacementSampler
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer
from torch.utils.data import DataLoader, TensorDataset

from attacks.view import View
from attacks.vocabulary import Vocabulary
from audit.training.base import SweepTrainer
from audit.training.models import MLP, Architecture
from audit.training.speed import Speed
from canaries.base import CanarySet
from canaries.errors import InputError
from canaries.inclusion import training_set
from canaries.randomness import derive_seed
from canaries.records import Dataset, GradientRecords

Loader = DataLoader[tuple[Tensor, ...]]


@dataclass(frozen=True)
class SequentialTrainer(SweepTrainer):
    """Trains models one after the other. A subclass's fields are its whole configuration.

    Attributes:
        model: the architecture.
        steps: number of updates.
        sample_rate: probability that a record is in a batch (Poisson sampling); 1 is full batch. Updates are divided
            by the expected batch size, sample_rate * len(dataset.train), whatever the realised one is.
        learning_rate: at the start.
        schedule: "constant", "linear" (to zero) or "cosine" (to zero).
        optimizer: "sgd" or "adam".
        momentum: of SGD.
        weight_decay: L2 penalty's coefficient.

    Raises:
        InputError: for values out of range.
    """

    model: Architecture = field(default_factory=MLP)
    steps: int = 60
    sample_rate: float = 0.25
    learning_rate: float = 1.0
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    optimizer: Literal["sgd", "adam"] = "sgd"
    momentum: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"Expected steps >= 1, got {self.steps}.")
        if not 0 < self.sample_rate <= 1:
            raise InputError(f"Expected sample_rate in (0, 1], got {self.sample_rate}.")
        if not 0 < self.learning_rate < math.inf:
            raise InputError(f"Expected a finite learning_rate > 0, got {self.learning_rate}.")
        if not 0 <= self.momentum < 1:
            raise InputError(f"Expected momentum in [0, 1), got {self.momentum}.")
        if not 0 <= self.weight_decay < math.inf:
            raise InputError(f"Expected a finite weight_decay >= 0, got {self.weight_decay}.")

    @abstractmethod
    def prepare(
        self, module: nn.Module, optimizer: Optimizer, criterion: nn.Module, loader: Loader, expected: float, seed: int
    ) -> tuple[nn.Module, Any, Any, Loader]:
        """Make them private, or leave them as they are; `expected` is the expected batch size.

        The module is on the device already; the loader's records are not.
        """

    @property
    def symbols(self) -> str | Vocabulary | None:
        """What the tokens of the model are."""
        return self.model.symbols

    def outside(self) -> str:
        """The digest of what the model reads from a file."""
        return self.model.outside()

    def check(self, dataset: Dataset, canaries: CanarySet) -> None:
        """Build the model once, and turn every record into its inputs.

        Raises:
            InputError: if the data does not fit the model.
        """
        self.model.build(dataset.train, 0)
        if isinstance(canaries.records, GradientRecords):
            raise InputError(
                f"Trainer '{self.name}' trains on records alone, but '{canaries.design}' canaries are gradients; "
                "use 'ensemble'."
            )
        self.model.check(dataset, canaries)

    def train(
        self,
        dataset: Dataset,
        canaries: CanarySet,
        inserted: NDArray[np.bool_],
        seeds: Sequence[int],
        speed: Speed | None = None,
    ) -> View:
        """One model per row of `inserted`; model i depends on the configuration, its row and seeds[i] alone.

        And on the kind of device: another kind draws other noise of the same law.

        Raises:
            InputError: if rows and seeds differ in number, or the data does not fit the model.
        """
        if len(inserted) != len(seeds):
            raise InputError(f"Expected as many seeds as rows of coins, got {len(seeds)} and {len(inserted)}.")
        device = torch.device("cpu" if speed is None else speed.device)
        modules = [
            self._train_one(dataset, canaries, row, seed, device) for row, seed in zip(inserted, seeds, strict=True)
        ]
        return self.model.view(modules, dataset.train)

    def _train_one(
        self, dataset: Dataset, canaries: CanarySet, row: NDArray[np.bool_], seed: int, device: torch.device
    ) -> nn.Module:
        module = self.model.build(dataset.train, derive_seed(seed, "parameters")).to(device)
        inputs, targets = self.model.tensors(training_set(dataset.train, canaries, row))
        sampler = UniformWithReplacementSampler(
            num_samples=len(inputs),
            sample_rate=self.sample_rate,
            generator=torch.Generator().manual_seed(derive_seed(seed, "batches")),
            steps=self.steps,
        )
        # A generator of its own: the loader draws a seed that nothing needs, and not from torch's global generator,
        # from which another thread may be drawing parameters.
        own = torch.Generator()
        loader: Loader = DataLoader(TensorDataset(inputs, targets), sampler=sampler, batch_size=None, generator=own)
        expected = self.sample_rate * len(dataset.train)
        private, optimizer, criterion, loader = self.prepare(
            module, self._optimizer(module), self.model.criterion(), loader, expected, derive_seed(seed, "noise")
        )
        private.train()
        with warnings.catch_warnings():
            # Inputs need no gradient; the per-example hooks on the first layer make torch remark on it.
            warnings.filterwarnings("ignore", message="Full backward hook is firing")
            for step, (x, y) in enumerate(loader):
                for group in optimizer.param_groups:
                    group["lr"] = self.learning_rate * self._decay(step)
                optimizer.zero_grad()
                criterion(private(x.to(device)), y.to(device)).backward()
                optimizer.step()
        return module.eval()

    def _optimizer(self, module: nn.Module) -> Optimizer:
        if self.optimizer == "adam":
            return Adam(module.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)
        return SGD(module.parameters(), lr=self.learning_rate, momentum=self.momentum, weight_decay=self.weight_decay)

    def _decay(self, step: int) -> float:
        progress = step / self.steps
        if self.schedule == "linear":
            return 1 - progress
        return 0.5 * (1 + math.cos(math.pi * progress)) if self.schedule == "cosine" else 1.0
