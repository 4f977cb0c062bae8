"""Calibrated privacy loss: how much noise subsampled DP-SGD can have had at most, and the epsilon that it means."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import ClassVar

from scipy.special import ndtri

from attacks.scores import Scores
from audit.estimators.base import Estimator
from audit.estimators.calibrated import Family, calibrated_bound, gaussian_statistic
from audit.estimators.independent import INDEPENDENT_RUNS, needs_one_canary
from audit.estimators.threshold import Floats
from audit.loss_curve import curve_of
from audit.mechanism import DPSGD
from audit.pld import pld_epsilon
from canaries.errors import InputError
from canaries.neighbours import ADD_OR_REMOVE_ONE, NEIGHBOURS, Neighbours

RATIO = 1.005
"""Noise multipliers are powers of it, so a bound lies below the one on a continuous scale by 0.5% of sigma at most."""

LEAST_NOISE, MOST_NOISE = 0.3, 1000.0
MOST_POWER = round(math.log(MOST_NOISE / LEAST_NOISE) / math.log(RATIO))


def rough(theta: float) -> float:
    """The tolerance of a search whose answer is where another begins."""
    return 0.03 * theta + 1e-3


@dataclass(frozen=True)
class CalibratedLossCurve(Estimator):
    """Epsilon of DP-SGD whose sampling rate and steps are believed and whose noise is not. Parametric.

    The claims are the trade-off curves (`audit.loss_curve`) of `steps` Poisson-subsampled Gaussians at rate
    `sample_rate`, theta = 1 / noise_multiplier up to a factor. The statistic is that of `CalibratedGaussian`, its law
    under the worst mechanism of each curve is simulated (`audit.estimators.calibrated`), the largest refuted theta is
    turned into epsilon at delta by the accountant. With few, strong steps the curve is far from Gaussian, and this
    estimator is true where the Gaussian one is not.

    The noise is taken from a grid of ratio 1.005 and rounded so that the bound falls; outside of [0.3, 1000] nothing is
    claimed to be refuted. The accountant rounds epsilon up by 0.01% or so. r copies are held against the curve of one
    repeated r times (Dong, Roth, Su 2022, Theorem 2.14). At delta = 0 no epsilon is true of a Gaussian mechanism, and
    the answer is 0.

    Attributes:
        sample_rate: probability that a record is in a batch; 1 is full batch, where the curve is Gaussian.
        steps: noisy updates.
        adjacency: of the curves; a bound is only given for the same.
    """

    name: ClassVar[str] = "calibrated-loss-curve"
    assumptions: ClassVar[tuple[str, ...]] = (
        *INDEPENDENT_RUNS,
        "the mechanism is DP-SGD with the stated sampling rate and steps, its noise alone is unknown",
    )
    parametric: ClassVar[bool] = True

    sample_rate: float = 1.0
    steps: int = 1
    adjacency: Neighbours = ADD_OR_REMOVE_ONE

    def __post_init__(self) -> None:
        DPSGD(self.sample_rate, self.steps, 1.0)
        if self.adjacency not in NEIGHBOURS:
            raise InputError(f"Expected adjacency to be one of {', '.join(NEIGHBOURS)}, got '{self.adjacency}'.")

    def epsilon(self, scores: Scores, delta: float, confidence: float, seed: int) -> float:
        """Epsilon at delta of the most noise that is refuted; 0 where delta is 0 or no noise is."""
        if delta == 0:
            return 0.0
        copies = int(scores.repetitions.max())
        dp_sgd = functools.partial(DPSGD, self.sample_rate, self.steps)

        def noise(theta: float) -> float:
            """The next noise multiplier of the grid that is no smaller than MOST_NOISE / theta."""
            power = math.floor(math.log(theta) / math.log(RATIO) + 1e-9)
            return float(MOST_NOISE / RATIO ** min(power, MOST_POWER))

        def move(tpr: Floats, theta: float) -> Floats:
            if theta < 1:
                return tpr
            return curve_of(dp_sgd(noise(theta)), copies, self.adjacency).invert(tpr)

        found = calibrated_bound(
            scores,
            gaussian_statistic,
            Family(lambda x: x, move),
            1 - confidence,
            seed,
            tolerance=lambda theta: 0.3 * (RATIO - 1) * theta,
            start=self._near(scores, copies, 1 - confidence, seed),
        )
        if found < RATIO:
            return 0.0
        return pld_epsilon(dp_sgd(noise(found)), delta, 1e-3, self.adjacency)

    def _near(self, scores: Scores, copies: int, level: float, seed: int) -> float:
        """The theta at which the Gaussian limit of many small steps has the bound of `CalibratedGaussian`.

        mu = rate sqrt(steps (e^(1 / noise^2) - 1)) (Bu, Dong, Long, Su 2020). It says where to look first, no more.
        """
        mu = calibrated_bound(scores, gaussian_statistic, Family(ndtri, lambda z, mu: z - mu), level, seed, rough)
        each = mu / copies / self.sample_rate / math.sqrt(self.steps)
        return MOST_NOISE * (each if self.sample_rate == 1 else math.sqrt(math.log1p(each**2)))

    @property
    def only_for(self) -> str:
        """The adjacency of the curves."""
        return self.adjacency

    def misfit(self, mechanism: DPSGD) -> str | None:
        """Another sampling rate or number of steps, or a schedule of batch sizes: curves of another mechanism."""
        if mechanism.later:
            return f"It is for one sampling rate, but training has a schedule of batch sizes: {mechanism}."
        if (self.sample_rate, self.steps) == (mechanism.sample_rate, mechanism.steps):
            return None
        return (
            f"It assumes sample_rate = {self.sample_rate:g} and steps = {self.steps}, but training has sample_rate = "
            f"{mechanism.sample_rate:g} and steps = {mechanism.steps}; set the estimator's fields to these."
        )

    def inapplicable(self, scores: Scores) -> str | None:
        """One canary, so that every score comes from a run of its own."""
        return needs_one_canary(scores)

    def corrected_for(self, scores: Scores) -> tuple[str, ...]:
        """All thresholds, by simulation."""
        return ("all thresholds and the area under the curve, by calibration",)
