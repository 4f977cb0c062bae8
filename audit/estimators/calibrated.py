"""Calibration: what a statistic of the scores' ranks does under the least favourable mechanism that a claim allows.

Many runs: `n_in` scores of independent models with the canary, `n_out` of models without. Let R(x) be the largest true
positive rate that the claim allows at false positive rate x, an increasing function. Give each score the position
P(a score without the canary lies above it), ties broken by chance. Positions of "out" scores are then uniform on (0, 1)
whatever the attack does, and the claim says P(position of an "in" score <= x) <= R(x): "in" positions are
stochastically no smaller than R^-1(U) with U uniform, and can be coupled above it. Scores meet the world through their
ranks, which positions settle. So a statistic of the ranks that never falls when an "in" score rises is stochastically
no larger, under every mechanism that keeps the claim, than the same statistic of simulated positions U and R^-1(U').
Whatever it chooses on the data, a threshold or the maximum over all of them, is thereby paid for.

With T_b from `draws` simulations, p = (1 + #{T_b >= T}) / (draws + 1) is an exact p-value (Barnard 1963; Davison,
Hinkley 1997, section 4.2). Every claim is simulated from the same random numbers, so p never falls as a claim grows.
Large samples keep some thousand order statistics of each arm at ranks fixed in advance; their law is as exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtri

from attacks.scores import Scores
from audit.estimators.threshold import Floats
from canaries.randomness import generator

Ints = NDArray[np.intp]

DRAWS, MOST_DRAWS = 999, 199_999
MOST_RANKS = 1024
MOST_NUMBERS = 8_000_000
LARGEST = 2.0**14
GAMMA, GAMMA_LARGE = 0.02, 0.005
"""Levels of the pointwise limits inside statistics, while all ranks are kept and beyond; every level is valid, and
these are near the best."""


@dataclass(frozen=True)
class Ranks:
    """The order statistics that are looked at, ranks counted from the largest score as 1.

    Attributes:
        n_in: scores with the canary.
        n_out: scores without.
        most: how many ranks of each arm are kept at most.
    """

    n_in: int
    n_out: int
    most: int = MOST_RANKS

    @property
    def ins(self) -> Ints:
        """int[M], increasing ranks among the "in" scores."""
        return _grid(self.n_in, self.most)

    @property
    def outs(self) -> Ints:
        """int[J], increasing ranks among the "out" scores."""
        return _grid(self.n_out, self.most)

    @property
    def outs_above(self) -> Floats:
        """float[J + 1]: how many "out" scores lie above an "in" score that c of the kept ones lie above, the middle."""
        edges = np.concatenate([[0], self.outs, [self.n_out + 1]])
        return np.asarray((edges[:-1] + edges[1:] - 1) / 2)

    @property
    def most_above(self) -> Floats:
        """float[J + 1]: the same, the most; equal to `outs_above` where all ranks are kept."""
        return np.concatenate([self.outs, [self.n_out + 1]]) - 1.0

    @property
    def weights(self) -> Floats:
        """float[M]: how many "in" scores each kept one stands for; they sum to n_in."""
        edges = np.concatenate([[0], (self.ins[1:] + self.ins[:-1] - 1) / 2, [self.n_in]])
        return np.asarray(np.diff(edges))


Statistic = Callable[[Ints], Floats]
"""int[draws, M], for each kept "in" score the number of kept "out" scores above it -> float[draws]. It never rises
when a count rises."""


Exceeds = Callable[[float, Ints], NDArray[np.bool_]]


@dataclass(frozen=True)
class Family:
    """Claims theta >= 0, increasing in what they allow.

    Attributes:
        scale: an increasing map, applied once to all uniform numbers.
        move: (scaled uniform numbers, theta) -> scaled R^-1 of them; never rises with theta.
    """

    scale: Callable[[Floats], Floats]
    move: Callable[[Floats, float], Floats]


def arms(scores: Scores) -> tuple[Floats, Floats]:
    """(in scores, out scores) of the only canary."""
    score, member = scores.score[:, 0], scores.member[:, 0]
    return score[member], score[~member]


def ranks_of(ins: Floats, outs: Floats, draws: int) -> Ranks:
    """The ranks to keep, so that a simulation stays within MOST_NUMBERS numbers."""
    return Ranks(len(ins), len(outs), min(MOST_RANKS, max(64, MOST_NUMBERS // draws)))


def draws_for(level: float) -> int:
    """Simulations for a test at `level`: 999, more where it asks for more; the most refute nothing below 5e-6."""
    return min(MOST_DRAWS, max(DRAWS, math.ceil(10 / level) - 1))


def observed_counts(ins: Floats, outs: Floats, ranks: Ranks, seed: int) -> Ints:
    """int[M]: kept "out" scores above each kept "in" score; ties are broken by chance, independently of the arms.

    The keys that break ties belong to ranks within the arm, so that the order in which scores are given does not count.
    """
    rng = generator(seed, "ties")
    keys = np.concatenate([rng.random(len(ins)), rng.random(len(outs))])
    order = np.lexsort((keys, np.concatenate([np.sort(ins), np.sort(outs)])))[::-1]
    is_in = order < len(ins)
    above = np.cumsum(~is_in)[is_in]
    return np.searchsorted(ranks.outs, above[ranks.ins - 1], side="right")


@dataclass(frozen=True, eq=False)
class Simulation:
    """Uniform order statistics of both arms at the kept ranks: float[draws, M] and float[draws, J]."""

    ins: Floats
    outs: Floats

    @classmethod
    def draw(cls, ranks: Ranks, draws: int, seed: int) -> Simulation:
        """Exact: order statistics of uniforms are normalised sums of exponentials."""
        rng = generator(seed, "calibration")
        return cls(
            _order_statistics(ranks.n_in, ranks.ins, draws, rng), _order_statistics(ranks.n_out, ranks.outs, draws, rng)
        )

    def scaled(self, scale: Callable[[Floats], Floats]) -> Simulation:
        """Both arms on another scale."""
        return Simulation(scale(self.ins), scale(self.outs))

    def counts(self, moved: Floats, which: Ints) -> Ints:
        """int[len(which), M]: kept outs above each kept in, in the draws `which`, ins standing at `moved`."""
        return np.array([self.outs[b].searchsorted(row) for b, row in zip(which, moved, strict=True)])


@lru_cache(maxsize=2)
def _simulated(ranks: Ranks, draws: int, seed: int) -> Simulation:
    return Simulation.draw(ranks, draws, seed)


Tolerance = Callable[[float], float]


def fine(theta: float) -> float:
    """The tolerance of a search on a continuous scale."""
    return 1e-6 * theta + 1e-8


def largest_refuted_by_draws(
    exceeds: Exceeds, draws: int, level: float, tolerance: Tolerance = fine, start: float | None = None
) -> float:
    """The largest theta in [0, 2^14] with p(theta) <= level, from below to within `tolerance`; 0 if there is none.

    `exceeds(theta, which)` says for each of the draws `which` whether its statistic reaches the observed one; once true
    it stays true as theta grows. So each draw has one theta at which it turns, and the answer is one of those, the
    (level * (draws + 1))-th. A few draws say where to look first, where no `start` is given; a draw that turns outside
    of the bracket is never looked at again. All of this is speed: what is returned does not depend on where the search
    starts.
    """
    allowed = math.floor(level * (draws + 1) * (1 + 1e-12)) - 1
    if start is None:
        few = np.arange(0, draws, max(1, draws // 40))
        pilot = _Search(exceeds, few, round((allowed + 1) * len(few) / draws))
        start = pilot.run(1.0, lambda theta: 0.05 * theta + 1e-3)
    return _Search(exceeds, np.arange(draws), allowed).run(max(start, 1e-2), tolerance)


class _Search:
    """Which theta turns the (allowed + 1)-th draw; keeps the draws that turn inside the bracket, counts those below."""

    def __init__(self, exceeds: Exceeds, draws: Ints, allowed: int) -> None:
        self.exceeds, self.active, self.allowed = exceeds, draws, allowed

    def refuted(self, theta: float) -> bool:
        """Whether at most `allowed` draws reach the observed statistic at theta."""
        hit = self.exceeds(theta, self.active)
        count = int(hit.sum())
        self.active = self.active[~hit] if count <= self.allowed else self.active[hit]
        if count <= self.allowed:
            self.allowed -= count
            return True
        return False

    def run(self, start: float, tolerance: Callable[[float], float]) -> float:
        """The answer, from below."""
        if self.allowed < 0:
            return 0.0
        low, high, factor = 0.0, start, 1.1
        if self.refuted(start):
            while high < LARGEST:
                low, high, factor = high, high * factor, factor**1.5
                if not self.refuted(high):
                    break
            else:
                return high
        else:
            while high > 1e-2 and not self.refuted(low := high / factor):
                high, factor = low, factor**1.5
            if high <= 1e-2 and not self.refuted(low := 0.0):
                return 0.0
        while high - low > tolerance(high):
            middle = (low + high) / 2
            low, high = (middle, high) if self.refuted(middle) else (low, middle)
        return low


def calibrated_bound(
    scores: Scores,
    statistic: Callable[[Ranks], Statistic],
    family: Family,
    level: float,
    seed: int,
    tolerance: Tolerance = fine,
    start: float | None = None,
) -> float:
    """The largest theta of the family whose claim the statistic refutes at `level`; 0 if none or if an arm is empty.

    `start` is where to look first; the answer does not depend on it by more than `tolerance`.
    """
    ins, outs = arms(scores)
    if not (len(ins) and len(outs)):
        return 0.0
    draws = draws_for(level)
    ranks = ranks_of(ins, outs, draws)
    value = statistic(ranks)
    seen = value(observed_counts(ins, outs, ranks, seed)[None])[0]
    simulation = _simulated(ranks, draws, seed).scaled(family.scale)

    def exceeds(theta: float, which: Ints) -> NDArray[np.bool_]:
        return np.asarray(value(simulation.counts(family.move(simulation.ins[which], theta), which)) >= seen)

    return largest_refuted_by_draws(exceeds, draws, level, tolerance, start)


def calibrated_p_value(
    scores: Scores,
    statistic: Callable[[Ranks], Statistic],
    invert: Callable[[Floats], Floats],
    draws: int,
    seed: int,
) -> float:
    """P-value of the one claim whose largest TPR at each FPR has the inverse `invert`; 1 if an arm is empty."""
    ins, outs = arms(scores)
    if not (len(ins) and len(outs)):
        return 1.0
    ranks = ranks_of(ins, outs, draws)
    value = statistic(ranks)
    seen = value(observed_counts(ins, outs, ranks, seed)[None])[0]
    simulation = _simulated(ranks, draws, seed)
    found = value(simulation.counts(invert(simulation.ins), np.arange(draws)))
    return float((1 + (found >= seen).sum()) / (draws + 1))


def gaussian_statistic(ranks: Ranks) -> Statistic:
    """The larger of a limit of mu from the area under the curve and the best limit over all thresholds.

    Area: U = #{in > out} gives m = sqrt(2) Phi^-1((U + 1/2) / (n_in n_out + 1)), less 1.645 standard deviations. It is
    the sharper one for a Gaussian shift. Thresholds: Phi^-1 of pointwise limits of the error rates; it sees a few high
    scores where the area is blind. Both never fall when an "in" score rises: that makes the calibration valid; the
    limits themselves need not hold.
    """
    pairs = float(ranks.n_in) * float(ranks.n_out)
    spread = 1 / ranks.n_in + 1 / ranks.n_out
    below, weights = ranks.n_out - ranks.outs_above, ranks.weights
    z_in = -ndtri(_upper(ranks.n_in - ranks.ins, ranks.n_in))
    z_out = -ndtri(_upper(ranks.most_above, ranks.n_out))

    def value(counts: Ints) -> Floats:
        area = (below[counts] * weights).sum(axis=1)
        m = math.sqrt(2) * ndtri((area + 0.5) / (pairs + 1))
        by_area = m - 1.645 * np.sqrt(spread * (1 + m**2 / 8))
        return np.asarray(np.maximum(by_area, (z_in + z_out[counts]).max(axis=1)))

    return value


def epsilon_delta_statistic(ranks: Ranks, delta: float) -> Statistic:
    """The best limit over all thresholds of ln((TPR - delta) / FPR) and of ln((TNR - delta) / FNR), Clopper-Pearson."""
    above = ranks.most_above
    with np.errstate(divide="ignore"):
        top_in = np.log(np.maximum(1 - _upper(ranks.n_in - ranks.ins, ranks.n_in) - delta, 0))
        top_out = -np.log(_upper(above, ranks.n_out))
        bottom_in = -np.log(_upper(ranks.n_in - ranks.ins, ranks.n_in))
        bottom_out = np.log(np.maximum(1 - _upper(above, ranks.n_out) - delta, 0))

    def value(counts: Ints) -> Floats:
        best = np.maximum(top_in + top_out[counts], bottom_in + bottom_out[counts])
        return np.asarray(best.max(axis=1))

    return value


def _upper(errors: Floats | Ints, trials: int) -> Floats:
    """Pointwise upper limits of an error rate; errors may lie between integers; 1 where all are errors."""
    inner = np.asarray(errors) < trials
    confidence = 1 - (GAMMA if trials <= MOST_RANKS else GAMMA_LARGE)
    limit = betaincinv(np.where(inner, errors, 0) + 1.0, np.where(inner, trials - np.asarray(errors), 1.0), confidence)
    return np.asarray(np.where(inner, limit, 1.0))


def _grid(n: int, most: int) -> Ints:
    """All ranks up to n, or about `most`, spaced as their standard deviations are: dense at both ends."""
    if n <= most:
        return np.arange(1, n + 1)
    return np.unique(np.clip(np.rint(n * np.sin(np.linspace(0, np.pi / 2, most)) ** 2), 1, n).astype(np.intp))


def _order_statistics(n: int, ranks: Ints, draws: int, rng: np.random.Generator) -> Floats:
    gaps = np.diff(np.concatenate([[0], ranks, [n + 1]]))
    if gaps.max() == 1:
        spacings = rng.standard_exponential((draws, len(gaps)))
    else:
        spacings = rng.standard_gamma(gaps, (draws, len(gaps)))
    total = np.cumsum(spacings, axis=1)
    return np.asarray(total[:, :-1] / total[:, -1:])
