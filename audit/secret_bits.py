"""How well a secret can be guessed, at most, under a privacy guarantee; and how many bits it needs to be safe.

Whoever knows everything but the model guesses the secret with probability at most kappa (2^-bits for one guess of a
uniform secret of so many bits, k times that for k guesses). With the model that probability rises, and these functions
say to what at most. They are bounds from above, for any attack whatever; what audits measure lies below.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, ndtr, ndtri
from scipy.stats import binom

from audit.bounds import ADD_OR_REMOVE_ONE
from audit.claim import Claim
from audit.estimators.group import group_privacy
from audit.estimators.secret_guess import success_ceiling
from audit.gaussian import mu_of
from audit.group_curve import SHARP_BITS, check_copies, group_curve
from audit.loss_curve import Curve, curve_of
from audit.mechanism import DPSGD
from canaries.errors import InputError

Floats = NDArray[np.float64]

ORDERS = np.concatenate([1 + np.geomspace(1e-3, 1, 40), np.geomspace(2.1, 128, 60)])
"""Renyi orders that are tried."""

MOST_POINTS = 100_000
"""The most points of a numerical integral; a wider one is bounded from above instead."""

MOST_BITS = SHARP_BITS
"""The most bits that are looked at."""


def epsilon_delta_success(kappa: float, epsilon: float, delta: float, copies: int = 1) -> float:
    """The largest success under (epsilon, delta)-DP for one record, for a secret in `copies` records.

    e^eps kappa + delta or less, see `success_ceiling`; several records through `group_privacy`, which soon says
    nothing. Kappa is in (0, 1].

    Raises:
        InputError: for values out of range.
    """
    _check(kappa)
    if not epsilon >= 0 or not 0 <= delta <= 1:
        raise InputError(f"Expected epsilon >= 0 and delta in [0, 1], got {epsilon} and {delta}.")
    check_copies(copies)
    return success_ceiling(*group_privacy(epsilon, delta, copies), 1 / kappa)


def gaussian_success(kappa: float, mu: float) -> float:
    """The largest success under mu-GDP: Phi(Phi^-1(kappa) + mu).

    Hayes, Mahloujifar, Balle (2023), "Bounding Training Data Reconstruction in DP-SGD", Theorem 2, for the full-batch
    Gaussian mechanism, where it is attained: mu = copies * sqrt(steps) / noise_multiplier.

    >>> round(gaussian_success(2**-20, mu_of(4, 1e-5)), 7)
    6.2e-05
    """
    _check(kappa)
    if not mu >= 0:
        raise InputError(f"Expected mu >= 0, got {mu}.")
    return float(ndtr(ndtri(kappa) + mu))


def curve_success(kappa: float, curve: Curve) -> float:
    """The largest success under a trade-off curve: its true positive rate at the false positive rate kappa.

    "Guess the secret" is a test of "secret in" against "secret out", with false positive rate kappa on average over the
    secrets; the curve is concave, so the mean success obeys it too (Hayes, Mahloujifar, Balle 2023, section 3; Kaissis,
    Hayes, Ziller, Rueckert 2023).
    """
    _check(kappa)
    return float(np.clip(curve.most_tpr(np.array(kappa)), kappa, 1))


def renyi_success(kappa: float, divergence: Floats, orders: Floats = ORDERS) -> float:
    """The largest success where D_alpha(in || out) <= divergence[i] at each order: min (kappa e^D)^((alpha-1)/alpha).

    Balle, Cherubin, Hayes (2022), "Reconstructing Training Data with Informed Adversaries", Theorem 3; Stock, Shilov,
    Mironov, Sablayrolles (2022), "Defending against Reconstruction Attacks with Renyi Differential Privacy", Theorem 2.

    >>> round(renyi_success(2**-20, gaussian_divergence(mu_of(4, 1e-5))), 7)
    8.11e-05
    """
    _check(kappa)
    exponents = (orders - 1) / orders * (math.log(kappa) + divergence)
    return math.exp(min(0.0, float(exponents.min())))


def gaussian_divergence(mu: float, orders: Floats = ORDERS) -> Floats:
    """D_alpha of mu-GDP's worst pair at each order: alpha mu^2 / 2 (Mironov 2017, Proposition 7)."""
    return orders * mu**2 / 2


def divergence_of(mechanism: DPSGD, copies: int = 1, orders: Floats = ORDERS) -> Floats:
    """D_alpha(in || out) of DP-SGD at each order, for a secret in `copies` records.

    Of each step, the divergence of a binomial mixture of Gaussians from the one at zero (Mironov, Talwar, Zhang 2019,
    for one copy; see `group_curve` for several), integrated numerically, or bounded from above where it is so large
    that the integral would be too wide; steps add up.

    Raises:
        InputError: without noise.
    """
    if mechanism.noise_multiplier == 0:
        raise InputError("A mechanism without noise claims nothing, so it bounds no success.")
    check_copies(copies)
    total = np.zeros(len(orders))
    for steps, rate in mechanism.phases:
        total += steps * _step_divergence(mechanism.noise_multiplier, rate, copies, orders)
    return total


def _step_divergence(sigma: float, rate: float, copies: int, orders: Floats) -> Floats:
    if rate == 1:
        return gaussian_divergence(copies / sigma, orders)
    chosen = np.arange(copies + 1)
    log_weight, shift = binom.logpmf(chosen, copies, rate), chosen / sigma
    # In units of sigma: the integrand q(x) (p/q)^alpha has its mass between 0 and alpha * copies / sigma. It is
    # analytic up to pi * sigma off the real line (all roots of p/q as a polynomial in e^(x / sigma) are negative), and
    # at x + iy no larger than e^(y^2 / 2) times its value at x: the trapezoidal rule errs by a share of e^-35 or less.
    spacing = min(0.25, 0.4 * sigma)
    reach = 12 + orders * copies / sigma
    gridded = reach <= MOST_POINTS * spacing
    # Convexity of the moments: an upper bound that is as good as exact where a step divulges so much.
    moments = log_weight + (orders * (orders - 1))[:, None] * shift**2 / 2
    out = np.maximum(0.0, logsumexp(moments, axis=1) / (orders - 1))
    if not gridded.any():
        return out
    x = np.arange(-12, reach[gridded].max() + spacing, spacing)
    ratio = np.full(len(x), -np.inf)
    for weight, at in zip(log_weight, shift, strict=True):
        np.logaddexp(ratio, weight + at * x - at**2 / 2, out=ratio)
    log_q = -(x**2) / 2 - math.log(2 * math.pi) / 2
    for i in np.flatnonzero(gridded):
        near = x <= reach[i] + spacing
        total = float(logsumexp(log_q[near] + orders[i] * ratio[near])) + math.log(spacing)
        out[i] = min(out[i], max(0.0, total / (orders[i] - 1)))
    return out


def required_bits(success: Callable[[float], float], probability: float = 0.01, guesses: int = 1) -> float:
    """How many bits a uniform secret must have so that `guesses` guesses find it with at most this probability.

    Args:
        success: kappa -> largest success, one of the bounds of this module; it must not fall as kappa grows.
        probability: in (0, 1).
        guesses: how many guesses the adversary has: kappa = guesses * 2^-bits.

    Returns:
        Bits, to within 0.001; infinity where 512 bits do not suffice (delta is above the probability, for instance).

    >>> round(required_bits(lambda kappa: kappa, 0.01), 2)  # no model at all: log2(100)
    6.64
    """
    if not 0 < probability < 1 or not isinstance(guesses, int | np.integer) or guesses < 1:
        raise InputError(
            f"Expected probability in (0, 1) and a whole number of guesses >= 1, got {probability} and {guesses!r}."
        )
    least = math.log2(guesses)

    def safe(bits: float) -> bool:
        return success(2 ** (least - bits)) <= probability

    low, high = least, least + MOST_BITS
    if not safe(high):
        return math.inf
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (low, middle) if safe(middle) else (middle, high)
    return high


def allowed_by(claim: Claim, copies: int = 1) -> Callable[[float], float]:
    """Kappa -> the largest success that a claim allows for a secret in `copies` records.

    By the whole trade-off curve where the mechanism is claimed: several copies by `group_curve`, or by the Renyi bound
    where that is the smaller, for over very many steps the curve is rough; where records are replaced, by repeating the
    curve of one, which is higher. By epsilon and delta alone otherwise.
    """
    if claim.has_curve and claim.mechanism is not None:
        if claim.adjacency != ADD_OR_REMOVE_ONE:
            repeated = curve_of(claim.mechanism, copies, claim.adjacency)
            return lambda kappa: curve_success(kappa, repeated)
        curve, divergence = group_curve(claim.mechanism, copies), divergence_of(claim.mechanism, copies)
        return lambda kappa: min(curve_success(kappa, curve), renyi_success(kappa, divergence))
    return lambda kappa: epsilon_delta_success(kappa, claim.epsilon, claim.delta, copies)


def bounds_of(mechanism: DPSGD, epsilon: float, delta: float, copies: int = 1) -> dict[str, Callable[[float], float]]:
    """Every bound for one pipeline, by name, each as kappa -> largest success, for a secret in `copies` records."""
    curve, divergence = group_curve(mechanism, copies), divergence_of(mechanism, copies)
    return {
        "trade-off curve": lambda kappa: curve_success(kappa, curve),
        "Renyi": lambda kappa: renyi_success(kappa, divergence),
        "(epsilon, delta)": lambda kappa: epsilon_delta_success(kappa, epsilon, delta, copies),
    }


def gaussian_bounds(epsilon: float, delta: float, copies: int = 1) -> dict[str, Callable[[float], float]]:
    """As `bounds_of`, for a full-batch Gaussian mechanism of this claim, whatever its steps."""
    check_copies(copies)
    mu = copies * mu_of(epsilon, delta)
    return {
        "trade-off curve": lambda kappa: gaussian_success(kappa, mu),
        "Renyi": lambda kappa: renyi_success(kappa, gaussian_divergence(mu)),
        "(epsilon, delta)": lambda kappa: epsilon_delta_success(kappa, epsilon, delta, copies),
    }


def _check(kappa: float) -> None:
    if not 0 < kappa <= 1:
        raise InputError(f"Expected kappa in (0, 1], got {kappa}.")
