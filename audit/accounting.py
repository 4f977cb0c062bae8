"""Accountants: the epsilon that DP-SGD may claim, and the noise that a wanted epsilon asks for.

Two independent accountants are offered, Google's dp-accounting (privacy loss distributions) and Opacus's (PRV); a
test holds them to within 1% of one another.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from opacus.accountants import PRVAccountant
from scipy.optimize import brentq

from audit.bounds import ADD_OR_REMOVE_ONE
from audit.claim import Claim
from audit.mechanism import DPSGD
from audit.pld import pld_epsilon
from canaries.errors import InputError

MIN_NOISE, MAX_NOISE = {"pld": 1e-4, "opacus-prv": 0.05}, 2000.0
"""Noise multipliers that are searched; outside of them the accountants are too slow or too coarse."""


@lru_cache(maxsize=4096)
def prv_epsilon(mechanism: DPSGD, delta: float, adjacency: str = ADD_OR_REMOVE_ONE) -> float:
    """Epsilon at `delta` by Opacus's PRV accountant (Gopi, Lee, Wutschitz 2021), an upper estimate within 0.001.

    Raises:
        InputError: for another adjacency than add-or-remove-one.
    """
    if adjacency != ADD_OR_REMOVE_ONE:
        raise InputError(f"Accountant 'opacus-prv' knows '{ADD_OR_REMOVE_ONE}' alone, got '{adjacency}'; use 'pld'.")
    if mechanism.noise_multiplier == 0:
        return math.inf
    accountant = PRVAccountant()
    accountant.history = [(mechanism.noise_multiplier, rate, steps) for steps, rate in mechanism.phases]
    with warnings.catch_warnings(), np.errstate(divide="ignore"):
        # It brackets its answer with an RDP bound, and takes log(1 - q) of a full batch where it does not use it.
        warnings.filterwarnings("ignore", message="Optimal order is the largest alpha")
        return float(accountant.get_epsilon(delta, eps_error=0.001))


def _pld(mechanism: DPSGD, delta: float, adjacency: str = ADD_OR_REMOVE_ONE) -> float:
    return pld_epsilon(mechanism, delta, adjacency=adjacency)


ACCOUNTANTS: dict[str, Callable[..., float]] = {"pld": _pld, "opacus-prv": prv_epsilon}
"""(mechanism, delta, adjacency = add-or-remove-one) -> epsilon."""


def claim_of(
    mechanism: DPSGD,
    delta: float,
    accountant: str = "pld",
    unit: str = "record",
    adjacency: str = ADD_OR_REMOVE_ONE,
) -> Claim:
    """What DP-SGD may claim at `delta`.

    Raises:
        InputError: for an unknown accountant.
    """
    return Claim(
        epsilon=_accountant(accountant)(mechanism, delta, adjacency),
        delta=delta,
        unit=unit,
        adjacency=adjacency,
        sampling=mechanism.sampling,
        accountant=accountant,
        mechanism=mechanism,
    )


@lru_cache(maxsize=256)
def noise_multiplier(
    epsilon: float,
    delta: float,
    sample_rate: float,
    steps: int,
    accountant: str = "pld",
    tolerance: float = 1e-3,
    later: tuple[tuple[int, float], ...] = (),
    adjacency: str = ADD_OR_REMOVE_ONE,
) -> float:
    """The smallest noise multiplier (to a relative `tolerance` in epsilon) whose claim is at most `epsilon`.

    Infinity asks for no noise and gives 0.

    Raises:
        InputError: for epsilon or delta out of range, if no noise multiplier in [`MIN_NOISE`, `MAX_NOISE`] gives that
            epsilon, or for an unknown accountant.
    """
    if not epsilon > 0:
        raise InputError(f"Expected epsilon > 0, got {epsilon}.")
    if math.isinf(epsilon):
        return 0.0
    if not 0 < delta < 1:  # At delta 0 no Gaussian noise gives any epsilon.
        raise InputError(f"Expected delta in (0, 1) for Gaussian noise and a finite epsilon, got {delta}.")
    compute, least = _accountant(accountant), MIN_NOISE[accountant]

    def excess(log_sigma: float) -> float:
        found = compute(DPSGD(sample_rate, steps, math.exp(log_sigma), later), delta, adjacency)
        return math.log(max(found, 1e-12) / epsilon)  # A large delta may leave nothing of epsilon.

    low, high = _bracket(excess, least)
    if low is None or high is None:
        raise InputError(
            f"No noise multiplier in [{least:g}, {MAX_NOISE:g}] gives epsilon {epsilon:g} at delta {delta:g} "
            f"with sample_rate {sample_rate:g} and {steps} steps."
        )
    log_sigma = float(brentq(lambda s: excess(s) + tolerance / 2, low, high, xtol=tolerance / 10, rtol=1e-6))
    while excess(log_sigma) > 0:
        log_sigma += tolerance / 4
    return math.exp(log_sigma)


def _bracket(excess: Callable[[float], float], least: float) -> tuple[float | None, float | None]:
    """log-sigmas, a factor of two apart, where epsilon is above and below the target."""
    log_sigma, step = 0.0, math.log(2)
    if excess(log_sigma) > 0:
        while log_sigma < math.log(MAX_NOISE):
            log_sigma += step
            if excess(log_sigma) <= -1e-2:
                return log_sigma - 2 * step if log_sigma >= 2 * step else 0.0, log_sigma
        return None, None
    while log_sigma > math.log(least):
        log_sigma -= step
        if excess(log_sigma) > 0:
            return log_sigma, log_sigma + 2 * step
    return None, None


def _accountant(name: str) -> Callable[..., float]:
    if name not in ACCOUNTANTS:
        raise InputError(f"Unknown accountant '{name}'; allowed: {', '.join(ACCOUNTANTS)}.")
    return ACCOUNTANTS[name]
