"""Epsilon by privacy loss distributions; apart from the other accountant, so that estimators need no torch."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache, reduce

from dp_accounting import GaussianDpEvent, NeighboringRelation, PoissonSampledDpEvent, SelfComposedDpEvent
from dp_accounting.pld import PLDAccountant
from dp_accounting.pld import privacy_loss_distribution as pld

from audit.bounds import ADD_OR_REMOVE_ONE
from audit.mechanism import DPSGD

LARGE_LOSS, COARSENESS, COARSEST = 6.0, 1e-3, 500.0
"""From which loss of one drawn step, in nats, intervals grow; their share of it; their limit, for e^500 is finite."""


def loss_interval(mechanism: DPSGD, finest: float) -> float:
    """The discretisation interval of one step's privacy loss: `finest`, and coarser where there is hardly any noise.

    A step in which the record is drawn loses about 1 / (2 sigma^2) nats. Where that is large epsilon is larger still,
    and the number of intervals, which is time and memory, would grow with it; so from `LARGE_LOSS` on they have at
    least `COARSENESS` of that loss. Connect-the-dots errs upwards at every interval, so answers stay upper bounds;
    they were at most half a thousandth above finer ones.
    """
    loss = 0.5 / mechanism.noise_multiplier**2
    return finest if loss < LARGE_LOSS else min(max(finest, COARSENESS * loss), COARSEST)


@lru_cache(maxsize=4096)
def pld_epsilon(mechanism: DPSGD, delta: float, resolution: float = 1e-4, adjacency: str = ADD_OR_REMOVE_ONE) -> float:
    """Epsilon at `delta` by dp-accounting's privacy loss distributions, rounded up to multiples of `resolution`.

    Or of a coarser interval where there is hardly any noise, see `loss_interval`.

    Source: Koskela et al. (2020); Doroshenko et al. (2022), connect-the-dots discretisation. Under "replace-one" and
    "replace-label" one clipped gradient becomes another, at most twice the clipping norm away.
    """
    if mechanism.noise_multiplier == 0:
        return math.inf
    resolution = loss_interval(mechanism, resolution)
    if adjacency != ADD_OR_REMOVE_ONE:
        if mechanism.sampling == "full-batch":  # Twice the distance is half the noise, which is faster to compose.
            return pld_epsilon(replace(mechanism, noise_multiplier=mechanism.noise_multiplier / 2), delta, resolution)
        return float(loss_distribution(mechanism, adjacency, resolution).get_epsilon_for_delta(delta))
    accountant = PLDAccountant(value_discretization_interval=resolution)
    for steps, rate in mechanism.phases:
        step = PoissonSampledDpEvent(rate, GaussianDpEvent(mechanism.noise_multiplier))
        accountant.compose(SelfComposedDpEvent(step, steps))
    return float(accountant.get_epsilon(delta))


def loss_distribution(mechanism: DPSGD, adjacency: str, interval: float) -> pld.PrivacyLossDistribution:
    """The privacy loss distribution of all steps, discretised at `interval`, never too small."""
    added = adjacency == ADD_OR_REMOVE_ONE
    relation = NeighboringRelation.ADD_OR_REMOVE_ONE if added else NeighboringRelation.REPLACE_ONE
    phases = [
        pld.from_gaussian_mechanism(
            mechanism.noise_multiplier,
            sampling_prob=rate,
            value_discretization_interval=interval,
            neighboring_relation=relation,
        ).self_compose(steps)
        for steps, rate in mechanism.phases
    ]
    return reduce(lambda one, other: one.compose(other), phases)
