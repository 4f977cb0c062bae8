"""The trade-off curve of DP-SGD for a secret in several records: a mixture of Gaussians, composed over steps.

Under Poisson sampling a step sees a binomial number of the copies, and the worst case is that their gradients all point
one way. dp-accounting has that mixture too, and inverts its privacy loss point by point, for all losses that a step can
reach; the tests hold this one against it. Here the inversion is vectorised, and losses beyond what `SHARP_BITS` can
show count as infinite, so that time and memory do not grow with what a step can divulge.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache, reduce

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft
from scipy.special import logsumexp, ndtr
from scipy.stats import binom

from audit.loss_curve import LOSS_INTERVAL, Curve, corners, curve_of
from audit.mechanism import DPSGD
from canaries.errors import InputError

Floats = NDArray[np.float64]

SHARP_BITS = 512.0
"""The curve is sharp down to false positive rates of 2 to minus this; below it is an upper bound."""

LOWEST = -40.0
"""The least loss that is told apart, in nats: with the secret in, less has probability e^-40 = 4e-18 at most."""

HIGHEST = SHARP_BITS * math.log(2) - LOWEST
"""The largest, in nats. A sum that has exceeded it falls below 512 bits again only if its rest is below `LOWEST`."""

MOST_POINTS, ROUGH_POINTS = 2**18, 2**15
"""The most intervals between the two; how many tell roughly how far losses reach."""

ORDERS = np.geomspace(0.01, 30, 60)
"""Orders of the moments that bound how far losses reach."""

UNSEEN = 1e-21
"""The probability of sums of losses so large that they may count as infinite."""

LEAST_WEIGHT = -45.0
"""Numbers of copies drawn with a probability of less than e^-45 = 3e-20 in one step count as certain detection."""

TAIL = 9.5
"""How many standard deviations of the noise are looked at: beyond lie 1e-21."""

CHUNK = 2**20
"""How many numbers (components times points) are held at once."""


@dataclass(frozen=True, eq=False)
class Losses:
    """A distribution of privacy losses, "in" against "out", under "in": on multiples of one interval, and infinity.

    Attributes:
        first: the lowest loss, in intervals.
        mass: [losses], the probability of each; rounding leaves some a hair below zero.
        infinite: the probability of an infinite loss.
    """

    first: int
    mass: Floats
    infinite: float

    def at(self, interval: float) -> Floats:
        """The finite losses [losses], in nats."""
        return (self.first + np.arange(len(self.mass), dtype=np.float64)) * interval

    def cut(self, lowest: int, highest: int) -> Losses:
        """Losses below `lowest` raised to it, those above `highest` to infinity: never too small."""
        below = min(max(0, lowest - self.first), len(self.mass))
        end = max(min(len(self.mass), highest + 1 - self.first), 0)
        if not below and end == len(self.mass):
            return self
        mass = self.mass[below:end] if below < end else np.zeros(1)
        mass = np.concatenate([[mass[0] + self.mass[:below].sum()], mass[1:]])
        more = max(0.0, float(self.mass[end:].sum()))  # Rounding leaves some of them a hair below zero.
        return Losses(lowest if below else min(self.first, highest), mass, self.infinite + more)

    def plus(self, other: Losses) -> Losses:
        """The distribution of the sum of two independent losses."""
        size = len(self.mass) + len(other.mass) - 1
        fast = next_fast_len(size, real=True)
        one = rfft(self.mass, fast)
        mass = irfft(one * (one if other is self else rfft(other.mass, fast)), fast)[:size]
        infinite = self.infinite + other.infinite - self.infinite * other.infinite
        return Losses(self.first + other.first, mass, infinite)


@lru_cache(maxsize=64)
def group_curve(mechanism: DPSGD, copies: int) -> Curve:
    """The trade-off curve of DP-SGD between a secret in `copies` records and in none.

    It is far below what group privacy makes of the curve of one copy, and attained by whoever knows everything but the
    secret, if the gradients of all copies are one. The discretisation (connect-the-dots, Doroshenko et al. 2022) only
    ever moves it up, by some 0.1% to 1% of the true positive rate; by more where very many steps lose very little each
    and `MOST_POINTS` keeps the interval wide. For 3 copies, 3 million steps at rate 0.01 and a noise multiplier of 100
    it lies above the Renyi bound, by 7% at a false positive rate of 1e-3 and 25% at 1e-6 (`secret_bits.allowed_by`
    takes the smaller). Rounding moves the true positive rate by about 1e-16 a step, either way: read the curve by
    `most_tpr` only, for `invert` errs where the true positive rate is within some 1e-12 of 1.

    Sources: Choquette-Choo, Ganesh, Steinke, Thakurta (2024), "Privacy Amplification for Matrix Mechanisms", Lemma 4.4;
    Ganesh (2024), "Tight Group-Level DP Guarantees for DP-SGD with Sampling via Mixture of Gaussians Mechanisms".

    Raises:
        InputError: without noise, or for less than one copy.
    """
    check_copies(copies)
    if copies == 1 or mechanism.sampling == "full-batch" or mechanism.noise_multiplier == 0:
        return curve_of(mechanism, int(copies))
    total = sum(steps for steps, _ in mechanism.phases)
    highest = _reach(mechanism, int(copies))
    interval = max(LOSS_INTERVAL / max(1.0, math.sqrt(total / 100)), (highest - LOWEST) / MOST_POINTS)
    ends = math.floor(LOWEST / interval), math.ceil(highest / interval)
    phases = [
        _composed(_step(mechanism.noise_multiplier, rate, int(copies), interval, ends), steps, ends)
        for steps, rate in mechanism.phases
    ]
    found = reduce(lambda one, other: one.plus(other).cut(*ends), phases)
    return corners(found.at(interval), np.maximum(found.mass, 0.0), found.infinite)


def check_copies(copies: int) -> None:
    """Raise InputError unless this is a whole number >= 1."""
    if not isinstance(copies, int | np.integer) or copies < 1:
        raise InputError(f"Expected a whole number of copies >= 1, got {copies!r}.")


def _reach(mechanism: DPSGD, copies: int) -> float:
    """The loss, in nats, from which on all may count as infinite: `HIGHEST`, or less where no sum comes near it.

    What a sum exceeds with probability `UNSEEN`, by Chernoff's bound of roughly discretised steps, which only moves it
    up; and beyond that what the rest of a sum may take back.
    """
    interval = (HIGHEST - LOWEST) / ROUGH_POINTS
    ends = math.floor(LOWEST / interval), math.ceil(HIGHEST / interval)
    moments = np.full(len(ORDERS), -math.log(UNSEEN))
    for steps, rate in mechanism.phases:
        step = _step(mechanism.noise_multiplier, rate, copies, interval, ends)
        moments += steps * np.array([logsumexp(order * step.at(interval), b=step.mass) for order in ORDERS])
    return min(HIGHEST, max(0.0, float((moments / ORDERS).min())) - LOWEST)


def _composed(step: Losses, steps: int, ends: tuple[int, int]) -> Losses:
    """The sum of `steps` independent losses, by squaring."""
    done: Losses | None = None
    while True:
        if steps % 2:
            done = step if done is None else done.plus(step).cut(*ends)
        steps //= 2
        if not steps:
            assert done is not None
            return done
        step = step.plus(step).cut(*ends)


def _step(sigma: float, rate: float, copies: int, interval: float, ends: tuple[int, int]) -> Losses:
    """The privacy loss of one step, connect-the-dots on multiples of `interval` between `ends`.

    The probability that a loss lies between two neighbouring multiples goes to the two so that it is kept both with the
    secret in and with it out.
    """
    drawn = np.arange(copies + 1)
    log_weight = binom.logpmf(drawn, copies, rate)
    log_weight -= logsumexp(log_weight)
    kept = log_weight > LEAST_WEIGHT
    if not kept[1:].any():
        kept[1] = True
    infinite = float(np.exp(log_weight[~kept]).sum())
    log_weight, shift = log_weight[kept], drawn[kept] / sigma  # In units of sigma, as all places below.

    def loss_at(x: float) -> float:
        return float(logsumexp(log_weight + shift * x - shift**2 / 2))

    low = max(ends[0], math.floor(loss_at(-TAIL) / interval))
    high = max(low + 1, min(ends[1], math.ceil(loss_at(shift[-1] + TAIL) / interval)))
    edges = np.arange(low, high + 1, dtype=np.float64) * interval
    parts = np.array_split(edges, -(-len(edges) * len(shift) // CHUNK))
    places = np.maximum.accumulate(np.concatenate([_place_of(part, log_weight, shift) for part in parts]))
    weight = np.exp(log_weight)
    outside = _between(places)
    inside = np.zeros_like(outside)
    for w, at in zip(weight, shift, strict=True):
        inside += w * _between(places - at)
    below = float(weight @ ndtr(places[0] - shift))
    above = float(weight @ ndtr(shift - places[-1]))
    # p = a + b with the secret in, q = a e^-low + b e^-high with it out; what q lacks by rounding makes b larger.
    nearer = (outside * np.exp(edges[1:]) - inside) / math.expm1(interval)
    nearer = np.clip(nearer, 0.0, inside)
    mass = np.zeros_like(edges)
    mass[:-1] = nearer
    mass[1:] += inside - nearer
    mass[0] += below
    return Losses(low, mass, infinite + above)


def _place_of(loss: Floats, log_weight: Floats, shift: Floats) -> Floats:
    """Where the privacy loss is `loss` [points]: x with log sum_i e^(log_weight_i + shift_i x - shift_i^2 / 2) = loss.

    -infinity where it is larger everywhere. Without the term of shift 0, a constant, the left side is convex in x, with
    slopes between the least and the largest shift: Newton's method from above converges, and quickly.
    """
    if shift[0] == 0:
        with np.errstate(divide="ignore", invalid="ignore"):
            more = loss - log_weight[0]
            loss = np.where(more > 0, loss + np.log(-np.expm1(-more)), -np.inf)
        log_weight, shift = log_weight[1:], shift[1:]
    constant = (log_weight - shift**2 / 2)[:, None]
    slope = shift[:, None]
    finite = np.isfinite(loss)
    target = loss[finite]
    x = ((target - constant) / slope).min(axis=0)
    precision = 1e-10 + 1e-15 * float(shift[-1]) ** 2  # In nats; the next step squares what is left.
    for _ in range(50):
        terms = constant + slope * x
        largest = terms.max(axis=0)
        terms = np.exp(terms - largest)
        total = terms.sum(axis=0)
        over = largest + np.log(total) - target
        x -= over * total / (slope * terms).sum(axis=0)
        if np.abs(over).max(initial=0.0) <= precision:
            break
    places = np.full(len(loss), -np.inf)
    places[finite] = x
    return places


def _between(x: Floats) -> Floats:
    """The standard normal probability between neighbours of x [points], by whichever tail is the smaller."""
    lower, upper = np.diff(ndtr(x)), -np.diff(ndtr(-x))
    return np.where(x[:-1] > 0, upper, lower)
