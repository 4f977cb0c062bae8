"""The ensemble trainer: what a sweep asks for, put to the engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from attacks.view import View
from audit.mechanism import DPSGD
from audit.training.base import SweepTrainer
from audit.training.ensemble.engine import Task, Trained, Watch, fit
from audit.training.ensemble.flat import Flat
from audit.training.ensemble.initial import InitialParameters
from audit.training.ensemble.recipe import Recipe
from audit.training.ensemble.stacked import Stacked
from audit.training.models import MLP, Architecture
from audit.training.speed import Speed
from canaries.base import CanarySet
from canaries.errors import InputError
from canaries.inclusion import all_records, members
from canaries.records import Dataset


@dataclass(frozen=True)
class Ensemble(InitialParameters, Recipe, SweepTrainer):
    """DP-SGD (Abadi et al. 2016) for many models at once, with per-example clipping by ghost norms.

    Where training starts, `InitialParameters` says; how it goes on, `Recipe`.

    Attributes:
        model: the architecture.
    """

    name: ClassVar[str] = "ensemble"
    block: ClassVar[int] = 64
    model: Architecture = field(default_factory=MLP)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_initial()

    @property
    def mechanism(self) -> DPSGD:
        """Poisson-subsampled Gaussians, composed over the steps of every phase of the batch-size schedule.

        A shuffled epoch uses each record once, so it is one full-batch Gaussian (parallel composition, for a record
        that is replaced by one of zero gradient).
        """
        if self.sampling == "shuffled":
            epochs = int(np.ceil(sum(steps * rate for steps, rate in self.phases()) - 1e-9))
            return DPSGD(1.0, max(1, epochs), self.noise_multiplier)
        (steps, rate), *later = self.phases()
        return DPSGD(rate, steps, self.noise_multiplier, tuple(later))

    def with_noise(self, noise_multiplier: float) -> Self:
        """The same trainer at another noise multiplier."""
        return replace(self, noise_multiplier=noise_multiplier)

    def check(self, dataset: Dataset, canaries: CanarySet) -> None:
        """Refuse records that the model cannot learn from, and layers that cannot be trained.

        Raises:
            InputError: a sentence that says what does not fit.
        """
        for records in (dataset.train, canaries.records, dataset.test):
            self.model.tensors(records)
        Stacked(self.model.build(dataset.train, 0))
        if self.initial == "pretrained" and not len(dataset.pool):
            raise InputError(f"Data set '{dataset.name}' has no pool of further records to pretrain on.")
        if self.initial == "given":
            self.start(self.model, dataset, [0], self.dtype, Speed())

    def initial_view(self, dataset: Dataset) -> View | None:
        """The model that all start from; None with fresh parameters."""
        if self.initial == "fresh":
            return None
        parameters = self.start(self.model, dataset, [0], self.dtype, Speed())
        return self.model.view(self.modules(dataset, parameters), dataset.train)

    def outside(self) -> str:
        """The digest of given initial parameters."""
        return self.initial_digest()

    def train(
        self,
        dataset: Dataset,
        canaries: CanarySet,
        inserted: NDArray[np.bool_],
        seeds: Sequence[int],
        speed: Speed | None = None,
    ) -> View:
        """One model per row of `inserted`; model i depends on the configuration, its row and seeds[i] alone.

        Raises:
            InputError: if rows and seeds differ in number, or the data or the model does not fit.
        """
        trained = self.fit(dataset, canaries, inserted, seeds, speed)
        return self.model.view(self.modules(dataset, trained.parameters), dataset.train)

    def fit(
        self,
        dataset: Dataset,
        canaries: CanarySet,
        inserted: NDArray[np.bool_],
        seeds: Sequence[int],
        speed: Speed | None = None,
        every: int = 0,
        watch_canaries: bool = False,
    ) -> Trained:
        """As `train`, with all that training leaves.

        Args:
            dataset: the data.
            canaries: the canaries.
            inserted: bool[models, canaries].
            seeds: one for each model.
            speed: device and portions; no result depends on them.
            every: keep the parameters after every `every` steps as well; 0 keeps the last ones alone.
            watch_canaries: record, for each step, the inner product of the update with each canary's clipped gradient.

        Raises:
            InputError: as `train`.
        """
        if len(inserted) != len(seeds):
            raise InputError(f"Expected as many seeds as rows of coins, got {len(seeds)} and {len(inserted)}.")
        rows = [members(len(dataset.train), canaries, row) for row in inserted]
        if any(not len(row) for row in rows):
            raise InputError("Expected at least one record to train on, got none.")
        template = self.model.build(dataset.train, 0)
        stacked = Stacked(template)
        inputs, targets = self.model.tensors(all_records(dataset.train, canaries))
        task = Task(inputs, targets, rows, len(dataset.train), self._loss())
        canary_rows = len(dataset.train) + np.arange(len(canaries) if watch_canaries else 0)
        initial = self.start(self.model, dataset, seeds, self.dtype, speed or Speed())
        return fit(stacked, self, task, seeds, initial, speed, Watch(every, canary_rows))

    def modules(self, dataset: Dataset, parameters: Tensor) -> list[nn.Module]:
        """Modules, one for each row of parameters [models, size]; for views of the last or any earlier step."""
        flat: Flat | None = None
        found = []
        for row in parameters:
            module = self.model.build(dataset.train, 0).to(row.dtype)
            flat = flat or Flat(Stacked(module).shapes)
            found.append(flat.load(module, row).eval())
        return found

    def _loss(self) -> nn.Module:
        criterion = self.model.criterion()
        criterion.reduction = "none"  # type: ignore[assignment]
        return criterion
