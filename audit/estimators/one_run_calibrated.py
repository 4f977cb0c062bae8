"""One run, calibrated: the best number of guesses, and the best end of the scores, chosen on the data and paid for."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import binom

from attacks.scores import Scores
from audit.estimators.base import Estimator
from audit.estimators.calibrated import Ints, draws_for, largest_refuted_by_draws
from audit.estimators.coins import FAIR_COINS, needs_coins, ordered_coins
from audit.estimators.group import group_privacy, largest_refuted
from audit.estimators.threshold import Floats
from canaries.randomness import generator

Z = 2.33
"""Of the pointwise limits inside the statistic; every value is valid."""


@dataclass(frozen=True)
class OneRunCalibrated(Estimator):
    """Epsilon from right guesses about m fair coins, over all numbers of guesses, calibrated on the worst mechanism.

    The k coins of the highest scores are guessed "in", the k of the lowest "out", for every k of a fixed grid. The
    statistic is the best lower limit of the share of right guesses, over k and over "from the top", "from the bottom"
    and "both". It never falls when a guess turns right.

    Theorem. Let each coin be (eps, delta)-private given the others, q = e^eps / (1 + e^eps). Given the output y, reveal
    the coins one by one. Coin i agrees with its guess with probability pi_i = p_g(y) / (p_0(y) + p_1(y)), where p_s is
    the density of y given s_i = s and the coins revealed before. Let h_i = max(0, pi_i - q). Under the mixture
    (p_0 + p_1) / 2, E[h_i] <= (1 - q) / 2 * sum_g integral max(0, p_g - e^eps p_(1-g)) <= (1 - q) delta. Take V_i
    independent and uniform; the guess is right iff V_i <= pi_i, and X_i = [V_i <= q] are independent Bernoulli(q),
    independent of y and so of the order of guesses. A right guess with X_i = 0 has probability at most h_i. So, off an
    event of probability at most m (1 - q) delta, right guesses are right in X too, and the statistic is at most that of
    X, which is simulated. (Steinke, Nasr, Jagielski 2023, have the pure case, and 2 m delta for the other.)

    The level is 1 - confidence - m delta / (1 + e^eps_0), with eps_0 named in advance: 0 if that costs a tenth of the
    level or less, else where it costs half of it, and then bounds up to eps_0 are reported as 0. The claim at eps_0
    covers all smaller ones, so this is valid for every true epsilon. Several models: coins are pooled, as in `OneRun`.

    Attributes:
        centre: with enough models, compare each score with its canary's mean over models (`Scores.centred`).
    """

    name: ClassVar[str] = "one-run-calibrated"
    assumptions: ClassVar[tuple[str, ...]] = FAIR_COINS

    centre: bool = True

    def epsilon(self, scores: Scores, delta: float, confidence: float, seed: int) -> float:
        """The largest refuted epsilon of one copy."""
        said = ordered_coins(scores, self.centre, seed)
        copies, level = int(scores.repetitions.max()), 1 - confidence
        start = _start(said.size, delta, copies, level)
        level -= leak(said.size, start, delta, copies)
        if said.size < 2 or level <= 0:
            return 0.0
        test = CoinTest.of(said, draws_for(level), seed)
        found = largest_refuted_by_draws(lambda eps, which: test.exceeds(copies * eps, which), test.draws, level)
        return found if start == 0 or found > start else 0.0

    def inapplicable(self, scores: Scores) -> str | None:
        """A coin for each canary of each model."""
        return needs_coins(scores)

    def corrected_for(self, scores: Scores) -> tuple[str, ...]:
        """The number of guesses and the end."""
        return ("number of guesses and end of the scores, by calibration",)

    def perfect(self, scores: Scores) -> Scores:
        """Members above everything, all others below; infinite scores are not moved by centring."""
        return replace(scores, score=np.where(scores.member, np.inf, -np.inf))


@dataclass(frozen=True, eq=False)
class CoinTest:
    """The observed statistic, and what its simulation needs.

    Attributes:
        numbers: int[K], guesses from either end.
        seen: the observed statistic.
        uniform: float[draws, 2, K], of which counts of right guesses among the next ones from either end are made.
    """

    numbers: Ints
    seen: float
    uniform: Floats

    @classmethod
    def of(cls, said: NDArray[np.bool_], draws: int, seed: int) -> CoinTest:
        """For coins in the order of their scores; two at least."""
        numbers = _numbers(said.size // 2)
        top = np.cumsum(said[::-1])[numbers - 1]
        bottom = np.cumsum(~said)[numbers - 1]
        uniform = generator(seed, "calibration").random((draws, 2, len(numbers)))
        return cls(
            numbers,
            float(_statistic(top[None].astype(np.float64), bottom[None].astype(np.float64), numbers)[0]),
            uniform,
        )

    @property
    def draws(self) -> int:
        """How many simulations there are."""
        return len(self.uniform)

    def exceeds(self, epsilon: float, which: Ints) -> NDArray[np.bool_]:
        """Whether Bernoulli(e^eps / (1 + e^eps)) coins reach the observed statistic, for the draws `which`."""
        return np.asarray(self.simulate(epsilon, which) >= self.seen)

    def simulate(self, epsilon: float, which: Ints) -> Floats:
        """float[len(which)]: the statistic of Bernoulli(e^eps / (1 + e^eps)) coins."""
        uniform, right = self.uniform[which], np.empty((len(which), 2, len(self.numbers)))
        for j, size in enumerate(np.diff(self.numbers, prepend=0)):
            right[:, :, j] = _binomial(int(size), float(expit(epsilon)), uniform[:, :, j])
        total = np.cumsum(right, axis=2)
        return _statistic(total[:, 0], total[:, 1], self.numbers)

    def p_value(self, epsilon: float) -> float:
        """Exact under pure (epsilon, 0)-DP of each coin."""
        return float((1 + self.exceeds(epsilon, np.arange(self.draws)).sum()) / (self.draws + 1))


def leak(coins: int, epsilon: float, delta: float, copies: int) -> float:
    """M (1 - q) delta at the group privacy of `copies`: what delta can do to all coins together. Falls with epsilon."""
    group_epsilon, group_delta = group_privacy(epsilon, delta, copies)
    return float(coins * group_delta * expit(-group_epsilon))


def _start(coins: int, delta: float, copies: int, level: float) -> float:
    if leak(coins, 0.0, delta, copies) <= level / 10:
        return 0.0
    return largest_refuted(lambda epsilon: leak(coins, epsilon, delta, copies) > level / 2) + 1e-9


def _numbers(half: int) -> Ints:
    """4, 5, 6, 8, ... by a factor of 1.25, and all."""
    count = max(0, math.floor(math.log(max(half, 4) / 4) / math.log(1.25)))
    grid = np.rint(4 * 1.25 ** np.arange(count + 1)).astype(np.intp)
    return np.unique(np.append(grid[grid < half], half))


def _statistic(top: Floats, bottom: Floats, numbers: Ints) -> Floats:
    best = np.maximum(_lower(top, numbers), _lower(bottom, numbers))
    return np.asarray(np.maximum(best, _lower(top + bottom, 2 * numbers)).max(axis=1))


def _lower(right: Floats, guesses: Ints) -> Floats:
    """Wilson's (1927) lower limit of a proportion; it rises with `right`."""
    share = right / guesses
    half = Z * np.sqrt(share * (1 - share) / guesses + Z**2 / (4 * guesses**2))
    return np.asarray((share + Z**2 / (2 * guesses) - half) / (1 + Z**2 / guesses))


def _binomial(size: int, q: float, uniform: Floats) -> Floats:
    """Binomial(size, q) by inversion: it never falls with q. Beyond 9 standard deviations is cut, some 1e-18."""
    spread = 9 * math.sqrt(size * q * (1 - q)) + 9
    values = np.arange(max(0, math.floor(size * q - spread)), min(size, math.ceil(size * q + spread)))
    return np.asarray((values[0] if values.size else size) + binom.cdf(values, size, q).searchsorted(uniform, "right"))
