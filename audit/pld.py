"""Epsilon by privacy loss distributions; apart from the other accountant, so that estimators need no torch."""

from __future__ import annotations

import math
from functools import lru_cache

from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
from dp_accounting.pld import PLDAccountant

from audit.mechanism import DPSGD


@lru_cache(maxsize=4096)
def pld_epsilon(mechanism: DPSGD, delta: float, resolution: float = 1e-4) -> float:
    """Epsilon at `delta` by dp-accounting's privacy loss distributions, rounded up to multiples of `resolution`.

    Source: Koskela et al. (2020); Doroshenko et al. (2022), connect-the-dots discretisation.
    """
    if mechanism.noise_multiplier == 0:
        return math.inf
    accountant = PLDAccountant(value_discretization_interval=resolution)
    for steps, rate in mechanism.phases:
        step = PoissonSampledDpEvent(rate, GaussianDpEvent(mechanism.noise_multiplier))
        accountant.compose(SelfComposedDpEvent(step, steps))
    return float(accountant.get_epsilon(delta))
