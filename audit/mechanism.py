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
        later: further phases of a batch-size schedule, pairs (number of steps, sample rate).

    Raises:
        InputError: for values out of these ranges.
    """

    sample_rate: float
    steps: int
    noise_multiplier: float
    later: tuple[tuple[int, float], ...] = ()

    def __post_init__(self) -> None:
        for steps, rate in self.phases:
            if not 0 < rate <= 1:
                raise InputError(f"Expected sample_rate in (0, 1], got {rate}.")
            if steps < 1:
                raise InputError(f"Expected steps >= 1, got {steps}.")
        if not self.noise_multiplier >= 0:
            raise InputError(f"Expected noise_multiplier >= 0, got {self.noise_multiplier}.")

    def __str__(self) -> str:
        phases = ", then ".join(f"{_rate(rate)}, {steps} steps" for steps, rate in self.phases)
        return f"DP-SGD ({phases}, noise multiplier {self.noise_multiplier:.4g})"

    @property
    def phases(self) -> tuple[tuple[int, float], ...]:
        """(number of steps, sample rate) of each phase."""
        return ((self.steps, self.sample_rate), *self.later)

    @property
    def sampling(self) -> str:
        """How batches are drawn, in a claim's words."""
        return "full-batch" if all(rate == 1 for _, rate in self.phases) else "poisson"


def _rate(rate: float) -> str:
    return "full-batch" if rate == 1 else f"sampling rate {rate:g}"
