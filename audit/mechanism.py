"""The mechanism that DP-SGD claims to be, as plain data; what it implies is computed by accountants."""

from __future__ import annotations

from dataclasses import dataclass

from canaries.errors import InputError


@dataclass(frozen=True)
class DPSGD:
    """`steps` Poisson-subsampled Gaussians under add-or-remove-one.

    Attributes:
        sample_rate: probability that a record is in a batch, in (0, 1]; 1 is full batch.
        steps: number of noisy updates, >= 1.
        noise_multiplier: standard deviation of the noise over the clipping norm, >= 0.

    Raises:
        InputError: for values out of these ranges.
    """

    sample_rate: float
    steps: int
    noise_multiplier: float

    def __post_init__(self) -> None:
        if not 0 < self.sample_rate <= 1:
            raise InputError(f"Expected sample_rate in (0, 1], got {self.sample_rate}.")
        if self.steps < 1:
            raise InputError(f"Expected steps >= 1, got {self.steps}.")
        if not self.noise_multiplier >= 0:
            raise InputError(f"Expected noise_multiplier >= 0, got {self.noise_multiplier}.")

    def __str__(self) -> str:
        rate = "full-batch" if self.sample_rate == 1 else f"sampling rate {self.sample_rate:g}"
        return f"DP-SGD ({rate}, {self.steps} steps, noise multiplier {self.noise_multiplier:.4g})"

    @property
    def sampling(self) -> str:
        """How batches are drawn, in a claim's words."""
        return "full-batch" if self.sample_rate == 1 else "poisson"
