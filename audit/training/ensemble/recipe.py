"""How one model is trained, as plain data: everything that its result depends on but its records and its seed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from audit.training.ensemble.optimisers import SGD, Adam, Optimiser
from canaries.errors import InputError


@dataclass(frozen=True)
class Recipe:
    """DP-SGD's settings (Abadi et al. 2016).

    Attributes:
        steps: number of updates.
        sample_rate: probability that a record is in a batch; 1 is full batch. Updates are divided by the expected
            batch size, sample_rate * len(dataset.train), whatever the realised one is.
        rates: batch-size schedule, pairs (first step, sample rate from there on); before the first pair, and without
            any, `sample_rate` holds. The accountant composes the phases.
        sampling: "poisson" (each record independently) or "shuffled" (a permutation each epoch).
        learning_rate: at its highest.
        schedule: "constant", "linear" (to zero) or "cosine" (to zero).
        warmup: steps over which the learning rate first rises linearly.
        optimizer: "sgd" or "adam".
        momentum: of SGD.
        weight_decay: L2 penalty's coefficient.
        max_grad_norm: C, the clipping norm of one record's gradient.
        noise_multiplier: sigma; the noise's standard deviation is sigma * C. A sweep sets it from the claimed epsilon;
            0 (epsilon infinity) keeps the clipping and adds no noise.
        augmentations: random views of each record; gradients are averaged over them before clipping (De et al. 2022).
            1 trains on the records as they are.
        shift: largest shift of an augmented image, in pixels each way, zeros moving in.
        flip: whether an augmented image is mirrored left to right with probability 1/2.
        dtype: "float32" or "float64".

    Raises:
        InputError: for values out of range.
    """

    steps: int = 60
    sample_rate: float = 0.25
    rates: tuple[tuple[int, float], ...] = ()
    sampling: Literal["poisson", "shuffled"] = "poisson"
    learning_rate: float = 1.0
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup: int = 0
    optimizer: Literal["sgd", "adam"] = "sgd"
    momentum: float = 0.0
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    noise_multiplier: float = 1.0
    augmentations: int = 1
    shift: int = 0
    flip: bool = False
    dtype: Literal["float32", "float64"] = "float32"

    def __post_init__(self) -> None:
        checks = {
            "steps": (self.steps >= 1, ">= 1"),
            "sample_rate": (0 < self.sample_rate <= 1, "in (0, 1]"),
            "learning_rate": (0 < self.learning_rate < math.inf, "finite and > 0"),
            "warmup": (self.warmup >= 0, ">= 0"),
            "momentum": (0 <= self.momentum < 1, "in [0, 1)"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "finite and >= 0"),
            "max_grad_norm": (self.max_grad_norm > 0, "> 0"),
            "noise_multiplier": (0 <= self.noise_multiplier < math.inf, "finite and >= 0"),
            "augmentations": (self.augmentations >= 1, ">= 1"),
            "shift": (self.shift >= 0, ">= 0"),
            "rates": (self._ordered(), "pairs of ascending steps in [1, steps) and sample rates in (0, 1]"),
        }
        for name, (holds, allowed) in checks.items():
            if not holds:
                raise InputError(f"Expected {name} {allowed}, got {getattr(self, name)}.")
        if math.isinf(self.max_grad_norm) and self.noise_multiplier:
            raise InputError("Expected a finite max_grad_norm with noise, got inf.")
        if (self.shift or self.flip) and self.augmentations == 1:
            raise InputError("Expected augmentations >= 2 with shift or flip, got 1.")

    def _ordered(self) -> bool:
        firsts = [0, *(first for first, _ in self.rates), self.steps]
        return all(a < b for a, b in pairwise(firsts)) and all(0 < rate <= 1 for _, rate in self.rates)

    def phases(self) -> Iterator[tuple[int, float]]:
        """(number of steps, sample rate) of each phase of the batch-size schedule, for the accountant."""
        starts = [(0, self.sample_rate), *self.rates, (self.steps, 0.0)]
        for (first, rate), (following, _) in pairwise(starts):
            yield following - first, rate

    def rate_at(self, step: int) -> float:
        """Sample rate of step 0, 1, ..."""
        return next((rate for first, rate in reversed(self.rates) if step >= first), self.sample_rate)

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of step 0, 1, ..."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        if self.schedule == "linear":
            return self.learning_rate * (1 - progress)
        if self.schedule == "cosine":
            return self.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
        return self.learning_rate

    def new_optimiser(self) -> Optimiser:
        """A fresh optimiser."""
        return Adam(self.weight_decay) if self.optimizer == "adam" else SGD(self.weight_decay, self.momentum)
