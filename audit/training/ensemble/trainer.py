"""The ensemble trainer: what a sweep asks for, put to the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from attacks.record import GradientRecord
from attacks.view import Access, View, WhiteBox
from attacks.vocabulary import Vocabulary
from audit.mechanism import DPSGD
from audit.training.base import SweepTrainer
from audit.training.ensemble.engine import Task, Trained, Watch, fit
from audit.training.ensemble.exactness import check_gradients
from audit.training.ensemble.flat import Flat
from audit.training.ensemble.initial import InitialParameters
from audit.training.ensemble.recipe import Recipe
from audit.training.ensemble.spikes import Spikes, spikes
from audit.training.ensemble.stacked import Stacked
from audit.training.ensemble.white_box import Movement, gradient_record
from audit.training.models import MLP, Architecture, light_copy
from audit.training.speed import Speed
from canaries.base import CanarySet
from canaries.errors import InputError
from canaries.inclusion import all_records, members
from canaries.records import Dataset, GradientRecords, Records


@dataclass(frozen=True)
class Ensemble(InitialParameters, Recipe, SweepTrainer):
    """DP-SGD (Abadi et al. 2016) for many models at once, with per-example clipping by ghost norms.

    Where training starts, `InitialParameters` says; how it goes on, `Recipe`.

    Attributes:
        model: the architecture.
        record: what attacks may be granted beside the final models' answers: "none", their "weights", or the
            "gradients" as well: at every step, the inner product of the update with each canary's clipped gradient.
        checkpoint_every: keep views of the models after every so many steps; 0 keeps none.
    """

    name: ClassVar[str] = "ensemble"
    block: ClassVar[int] = 64
    model: Architecture = field(default_factory=MLP)
    record: Literal["none", "weights", "gradients"] = "none"
    checkpoint_every: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_initial()
        if self.record not in ("none", "weights", "gradients"):
            raise InputError(f"Expected record to be 'none', 'weights' or 'gradients', got {self.record!r}.")
        if not 0 <= self.checkpoint_every <= self.steps:
            raise InputError(
                f"Expected checkpoint_every in [0, {self.steps}], the number of steps, got {self.checkpoint_every}."
            )

    @property
    def symbols(self) -> str | Vocabulary | None:
        """What the tokens of the model are."""
        return self.model.symbols

    @property
    def white_box(self) -> frozenset[Access]:
        """The weights where they are released or checkpoints kept, checkpoints, and the gradient record."""
        kept = {
            Access.WEIGHTS: self.record != "none" or self.checkpoint_every > 0,
            Access.CHECKPOINTS: self.checkpoint_every > 0,
            Access.GRADIENTS: self.record == "gradients",
        }
        return frozenset(access for access, there in kept.items() if there)

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

    @property
    def batches(self) -> str:
        """How batches are drawn; of shuffled ones, also for which neighbours the claim is argued."""
        return "shuffled, for records zeroed out" if self.sampling == "shuffled" else self.mechanism.sampling

    def with_noise(self, noise_multiplier: float) -> Self:
        """The same trainer at another noise multiplier."""
        return replace(self, noise_multiplier=noise_multiplier)

    def check(self, dataset: Dataset, canaries: CanarySet) -> None:
        """Refuse records that the model cannot learn from, and models that cannot be trained exactly.

        Raises:
            InputError: a sentence that says what does not fit.
        """
        template = self.template(self.model, dataset)
        stacked = Stacked(template)
        if isinstance(canaries.records, GradientRecords):
            spikes(canaries.records, stacked.shapes, self.max_grad_norm)
        self.model.check(dataset, canaries)
        inputs, targets = self.model.tensors(dataset.train)
        check_gradients(template, inputs, targets, self._loss(), getattr(torch, self.dtype))
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
        """The digest of given initial parameters, and of what the model reads from a file."""
        return self.initial_digest() + self.model.outside()

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
        watch = self.record == "gradients"
        trained = self.fit(dataset, canaries, inserted, seeds, speed, self.checkpoint_every, watch)
        speed = speed or Speed()
        checkpoints = {step: self._view(dataset, trained, at, speed) for step, at in trained.checkpoints.items()}
        record = gradient_record(canaries.ids, trained, self, self.mechanism, len(dataset.train)) if watch else None
        return self._view(dataset, trained, trained.parameters, speed, checkpoints, record)

    def _view(
        self,
        dataset: Dataset,
        trained: Trained,
        parameters: Tensor,
        speed: Speed,
        checkpoints: Mapping[int, View] | None = None,
        record: GradientRecord | None = None,
    ) -> View:
        """A view of the models with these parameters [models, size], opened as far as the configuration says."""
        modules = self.modules(dataset, parameters)
        view = self.model.view(modules, dataset.train)
        if not self.white_box:
            return view
        stacked, here = Stacked(modules[0]), replace(speed, device="cpu")
        initial = None if self.initial == "fresh" else trained.initial
        movement = Movement(self.model, self._loss(), self.max_grad_norm, stacked, initial, parameters, here)
        known = None if initial is None else initial.numpy()
        return view.opened(WhiteBox(parameters.numpy(), known, movement, checkpoints or {}, record))

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
        stacked = Stacked(self.template(self.model, dataset))
        records, extra = self._joined(dataset, canaries, stacked)
        inputs, targets = self.model.tensors(records)
        task = Task(inputs, targets, rows, len(dataset.train), self._loss(), extra)
        canary_rows = len(dataset.train) + np.arange(len(canaries) if watch_canaries else 0)
        initial = self.start(self.model, dataset, seeds, self.dtype, speed or Speed())
        return fit(stacked, self, task, seeds, initial, speed, Watch(every, canary_rows, len(dataset.train)))

    def _joined(self, dataset: Dataset, canaries: CanarySet, stacked: Stacked) -> tuple[Records, Spikes | None]:
        """Every record that any model trains on, and the gradients, which follow them in `Task.members`."""
        if isinstance(canaries.records, GradientRecords):
            return dataset.train, spikes(canaries.records, stacked.shapes, self.max_grad_norm)
        return all_records(dataset.train, canaries), None

    def modules(self, dataset: Dataset, parameters: Tensor) -> list[nn.Module]:
        """Modules, one for each row of parameters [models, size]; for views of the last or any earlier step."""
        template = self.template(self.model, dataset).to(parameters.dtype).eval()
        flat = Flat(Stacked(template).shapes)
        return [flat.load(light_copy(template), row) for row in parameters]

    def _loss(self) -> nn.Module:
        criterion = self.model.criterion()
        criterion.reduction = "none"  # type: ignore[assignment]
        return criterion
