"""Where training starts: parameters of each model's own, or one set for all."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from audit.training.ensemble.engine import Task, fit
from audit.training.ensemble.flat import Flat
from audit.training.ensemble.recipe import Recipe
from audit.training.ensemble.stacked import Stacked
from audit.training.models import Architecture
from audit.training.speed import Speed
from canaries.errors import InputError, said
from canaries.randomness import derive_seed
from canaries.records import Dataset


@dataclass(frozen=True)
class InitialParameters:
    """Settings of the parameters that training starts from.

    Attributes:
        initial: "fresh" parameters for each model, "shared" by all models, "pretrained": shared, then trained without
            privacy on the data set's pool (worst-case initial parameters, Annamalai & De Cristofaro 2024), or "given":
            read from `initial_path`. The pool shares no record with the training set, but canaries may be made of it
            (`mislabelled`, `natural`, what stands in under replace-one): the start has then seen their features, in
            models with and without the canary alike, so claims and bounds are as true as with any other start.
        initial_seed: of shared and pretrained parameters.
        initial_path: a state dict of the model, as torch.save writes it; its contents are part of every unit's key.
        pretrain_steps: steps of pretraining, on Poisson batches.
        pretrain_optimizer: "adam" or "sgd".
        pretrain_learning_rate: of pretraining.
        pretrain_batch: expected batch size of pretraining.
    """

    WAYS: ClassVar[tuple[str, ...]] = ("fresh", "shared", "pretrained", "given")

    initial: Literal["fresh", "shared", "pretrained", "given"] = "fresh"
    initial_seed: int = 0
    initial_path: str = ""
    pretrain_steps: int = 500
    pretrain_optimizer: Literal["adam", "sgd"] = "adam"
    pretrain_learning_rate: float = 1e-3
    pretrain_batch: int = 64

    def check_initial(self) -> None:
        """Refuse settings out of range.

        Raises:
            InputError: a sentence with the value and what is allowed.
        """
        if self.initial not in self.WAYS:
            raise InputError(
                f"Expected initial to be 'fresh', 'shared', 'pretrained' or 'given', got {self.initial!r}."
            )
        if (self.initial == "given") != bool(self.initial_path):
            raise InputError("Expected initial_path with initial = 'given', and only with it.")
        for name in ("pretrain_steps", "pretrain_batch"):
            if getattr(self, name) < 1:
                raise InputError(f"Expected {name} >= 1, got {getattr(self, name)}.")
        if not 0 < self.pretrain_learning_rate < math.inf:
            raise InputError(f"Expected a finite pretrain_learning_rate > 0, got {self.pretrain_learning_rate}.")
        if self.pretrain_optimizer not in ("adam", "sgd"):
            raise InputError(f"Expected pretrain_optimizer 'adam' or 'sgd', got {self.pretrain_optimizer!r}.")

    def initial_digest(self) -> str:
        """SHA-256 of the file of given parameters; "" where there is none.

        Raises:
            InputError: if it cannot be read.
        """
        if self.initial != "given":
            return ""
        try:
            return hashlib.sha256(Path(self.initial_path).expanduser().read_bytes()).hexdigest()
        except OSError as error:
            raise InputError(f"Cannot read the initial parameters '{self.initial_path}': {error}.") from None

    def template(self, model: Architecture, dataset: Dataset) -> nn.Module:
        """The module whose frozen parameters and buffers all models share, and what they start from but "fresh" ones.

        Raises:
            InputError: for a file that does not fit the model.
        """
        seed = 0 if self.initial == "fresh" else derive_seed(self.initial_seed, "parameters")
        module = model.build(dataset.train, seed)
        if self.initial == "given":
            module = copy.deepcopy(module)  # The memory of frozen parameters may be others' as well.
            self._load(module)
        return module

    def start(self, model: Architecture, dataset: Dataset, seeds: Sequence[int], dtype: str, speed: Speed) -> Tensor:
        """Parameters [models, size] to begin with, in the order of `Flat`.

        Raises:
            InputError: for an empty pool where pretraining needs one, or a file that does not fit the model.
        """
        template = self.template(model, dataset)
        flat = Flat(Stacked(template).shapes)
        if self.initial == "fresh":
            drawn = [model.build(dataset.train, derive_seed(seed, "parameters")) for seed in seeds]
            return torch.stack([flat.row(module) for module in drawn])
        shared = flat.row(template)
        if self.initial == "pretrained":
            shared = self._pretrained(model, Stacked(template), dataset, shared, dtype, speed)
        return shared.expand(len(seeds), -1)

    def _load(self, module: nn.Module) -> None:
        try:
            state = torch.load(Path(self.initial_path).expanduser(), map_location="cpu", weights_only=True)
            module.load_state_dict(state)
        except Exception as error:  # torch raises nearly anything, on several lines.
            raise InputError(
                f"Initial parameters '{self.initial_path}' are no state dict of this model: {said(error)}."
            ) from None

    def _pretrained(
        self, model: Architecture, stacked: Stacked, dataset: Dataset, start: Tensor, dtype: str, speed: Speed
    ) -> Tensor:
        """[size]."""
        records = len(dataset.pool)
        if not records:
            raise InputError(f"Data set '{dataset.name}' has no pool of further records to pretrain on.")
        recipe = Recipe(
            steps=self.pretrain_steps,
            sample_rate=min(1.0, self.pretrain_batch / records),
            learning_rate=self.pretrain_learning_rate,
            optimizer=self.pretrain_optimizer,
            max_grad_norm=math.inf,
            noise_multiplier=0.0,
            dtype="float64" if dtype == "float64" else "float32",
        )
        criterion = model.criterion()
        criterion.reduction = "none"  # type: ignore[assignment]
        task = Task(*model.tensors(dataset.pool), [np.arange(records)], records, criterion)
        return fit(stacked, recipe, task, [self.initial_seed], start.unsqueeze(0), speed).parameters[0]
