"""Gaussian differential privacy: mu, the epsilon that it means at a delta, and its trade-off curve."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_ndtr, ndtr, ndtri

from canaries.errors import InputError


def delta_of(epsilon: float, mu: float) -> float:
    """The smallest delta at which mu-GDP implies (epsilon, delta)-DP.

    Dong, Roth, Su (2022), Gaussian Differential Privacy, Corollary 2.13:
    Phi(-eps/mu + mu/2) - e^eps Phi(-eps/mu - mu/2), here as a difference of logarithms, which neither
    overflows in e^eps nor loses a small delta.
    """
    _check("mu", mu, 0 <= mu < math.inf, "a finite mu >= 0")
    _check("epsilon", epsilon, 0 <= epsilon < math.inf, "a finite epsilon >= 0")
    if mu == 0 or math.isinf(epsilon / mu):
        return 0.0
    log_first = float(log_ndtr(mu / 2 - epsilon / mu))
    log_second = epsilon + float(log_ndtr(-mu / 2 - epsilon / mu))
    if math.isinf(log_first):
        return 0.0
    return max(0.0, -math.exp(log_first) * math.expm1(min(0.0, log_second - log_first)))


def epsilon_of(mu: float, delta: float) -> float:
    """The smallest epsilon at which mu-GDP implies (epsilon, delta)-DP, to about 1e-12 and never above it.

    Infinite for delta = 0 and mu > 0: no Gaussian mechanism is purely private.
    """
    _check("mu", mu, 0 <= mu < math.inf, "a finite mu >= 0")
    _check("delta", delta, 0 <= delta < 1, "delta in [0, 1)")
    if mu == 0 or delta_of(0.0, mu) <= delta:
        return 0.0
    if delta == 0:
        return math.inf
    # At mu^2/2 + mu z with Phi(-z) = delta the first term alone is delta, so the answer lies below.
    low, high = 0.0, max(mu**2 / 2 - mu * float(ndtri(delta)), 0.0)
    while high - low > 1e-13 * max(1.0, high):
        middle = (low + high) / 2
        low, high = (middle, high) if delta_of(middle, mu) > delta else (low, middle)
    return low


def mu_of(epsilon: float, delta: float) -> float:
    """The largest mu for which mu-GDP implies (epsilon, delta)-DP; the inverse of `epsilon_of`."""
    _check("epsilon", epsilon, 0 <= epsilon < math.inf, "a finite epsilon >= 0")
    _check("delta", delta, 0 <= delta < 1, "delta in [0, 1)")
    if delta == 0:
        return 0.0
    low, high = 0.0, 1.0
    while delta_of(epsilon, high) <= delta:
        low, high = high, 2 * high
    while high - low > 1e-13 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if delta_of(epsilon, middle) <= delta else (low, middle)
    return low


def trade_off(mu: float, fpr: ArrayLike) -> NDArray[np.float64]:
    """The least false negative rate that mu-GDP allows at each false positive rate; same shape as `fpr`.

    Dong, Roth, Su (2022), Definition 2.6: G_mu(x) = Phi(Phi^-1(1 - x) - mu).
    """
    _check("mu", mu, 0 <= mu < math.inf, "a finite mu >= 0")
    return np.asarray(ndtr(-ndtri(np.asarray(fpr, dtype=np.float64)) - mu))


def _check(name: str, value: float, fine: bool, allowed: str) -> None:
    if not fine:
        raise InputError(f"Expected {allowed}, got {name} = {value}.")
