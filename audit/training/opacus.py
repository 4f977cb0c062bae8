"""DP-SGD by Opacus, as its users run it: PrivacyEngine, Poisson sampling, hooks or ghost clipping."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import torch
from opacus import PrivacyEngine
from opacus.validators import ModuleValidator
from torch import nn
from torch.optim import Optimizer

from audit.mechanism import DPSGD
from audit.training.loop import Loader, SequentialTrainer
from canaries.base import CanarySet
from canaries.errors import InputError
from canaries.records import Dataset


@dataclass(frozen=True)
class Opacus(SequentialTrainer):
    """DP-SGD (Abadi et al. 2016) by Opacus, one model after the other.

    Attributes:
        max_grad_norm: C, the clipping norm of one record's gradient.
        noise_multiplier: sigma; the noise's standard deviation is sigma * C. A sweep sets it from the claimed epsilon;
            0 (epsilon infinity) keeps the clipping and adds no noise.
        grad_sample_mode: "hooks" or "ghost".
    """

    name = "opacus"
    max_grad_norm: float = 1.0
    noise_multiplier: float = 1.0
    grad_sample_mode: Literal["hooks", "ghost"] = "hooks"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.max_grad_norm < math.inf:
            raise InputError(f"Expected a finite max_grad_norm > 0, got {self.max_grad_norm}.")
        if not 0 <= self.noise_multiplier < math.inf:
            raise InputError(f"Expected a finite noise_multiplier >= 0, got {self.noise_multiplier}.")

    @property
    def mechanism(self) -> DPSGD:
        """Poisson-subsampled Gaussian, composed over the steps."""
        return DPSGD(self.sample_rate, self.steps, self.noise_multiplier)

    def with_noise(self, noise_multiplier: float) -> Self:
        """The same trainer at another noise multiplier."""
        return replace(self, noise_multiplier=noise_multiplier)

    def check(self, dataset: Dataset, canaries: CanarySet) -> None:
        """As every trainer's; and refuse a model that Opacus has no per-example gradients for.

        Raises:
            InputError: if the data does not fit the model, or the model does not fit Opacus.
        """
        super().check(dataset, canaries)
        if ModuleValidator.validate(self.model.build(dataset.train, 0), strict=False):
            raise InputError(
                f"Trainer '{self.name}' cannot train model '{self.model.name}': Opacus does not support its layers; "
                "use 'ensemble'."
            )

    def prepare(
        self, module: nn.Module, optimizer: Optimizer, criterion: nn.Module, loader: Loader, expected: float, seed: int
    ) -> tuple[nn.Module, Any, Any, Loader]:
        """Module, optimiser, criterion and loader, made private by PrivacyEngine.

        The loader samples by itself (Opacus's own Poisson sampler, for exactly `steps` batches), and the divisor is
        set here: Opacus would take it from the realised number of records, which depends on the canaries.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Secure RNG turned off")
            engine = PrivacyEngine()
        made = engine.make_private(
            module=module,
            optimizer=optimizer,
            criterion=criterion,
            data_loader=loader,
            noise_multiplier=self.noise_multiplier,
            max_grad_norm=self.max_grad_norm,
            noise_generator=torch.Generator(next(module.parameters()).device).manual_seed(seed),
            poisson_sampling=False,
            grad_sample_mode=self.grad_sample_mode,
        )
        private, dp_optimizer, dp_criterion = made[0], made[1], made[2] if len(made) == 4 else criterion
        dp_optimizer.expected_batch_size = expected
        dp_optimizer.attach_step_hook(lambda _: None)
        return private, dp_optimizer, dp_criterion, made[-1]
