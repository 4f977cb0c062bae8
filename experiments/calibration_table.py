"""Calibrated bounds of thousands of audits of one size: the same simulations as the estimators make, looked up.

A calibrated bound depends on the scores through one number, the statistic. A claim theta is refuted if the statistic
lies above a critical value, which rises with theta and depends on sample sizes, level and seed alone. So a table of
critical values, one row for each of some seeds, replaces a simulation for each audit. Whether a bound lies above the
truth is read from the truth's own column, exactly; its size is interpolated between columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from audit.estimators.calibrated import (
    Family,
    Ranks,
    Simulation,
    Statistic,
    draws_for,
    epsilon_delta_statistic,
    gaussian_statistic,
    observed_counts,
    ranks_of,
)
from audit.estimators.calibrated_epsilon_delta import invert_epsilon_delta
from audit.estimators.one_run_calibrated import CoinTest, leak

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CriticalValues:
    """The statistic that refutes theta[j] under the simulation of seed i lies above value[i, j]."""

    theta: Floats
    value: Floats

    def bound(self, statistic: float, row: int) -> float:
        """The largest refuted theta, interpolated; 0 where theta = 0 is not refuted."""
        critical = np.maximum.accumulate(self.value[row])
        if not statistic > critical[0]:
            return 0.0
        last = int(np.searchsorted(critical, statistic)) - 1
        if last + 1 >= len(self.theta):
            return float(self.theta[-1])
        gap = critical[last + 1] - critical[last]
        inside = np.isfinite(gap) and critical[last + 1] > statistic  # else it turns somewhere between: from below
        share = (statistic - critical[last]) / gap if inside else 0.0
        return float(self.theta[last] + share * (self.theta[last + 1] - self.theta[last]))

    def refutes(self, theta: float, statistic: float, row: int) -> bool:
        """Whether theta, one of the columns, is refuted: then the bound lies above it, or at it."""
        return bool(statistic > self.value[row, int(np.flatnonzero(self.theta == theta)[0])])


def many_runs_table(
    value: Statistic, family: Family, ranks: Ranks, theta: Sequence[float], level: float, seeds: int
) -> CriticalValues:
    """Critical values of a statistic of ranks."""
    columns = np.unique(np.asarray(theta, dtype=np.float64))
    draws = draws_for(level)
    rank = draws - int(level * (draws + 1) * (1 + 1e-12))
    table = np.empty((seeds, len(columns)))
    every = np.arange(draws)
    for seed in range(seeds):
        simulation = Simulation.draw(ranks, draws, seed).scaled(family.scale)
        for j, at in enumerate(columns):
            found = value(simulation.counts(family.move(simulation.ins, float(at)), every))
            table[seed, j] = np.partition(found, rank)[rank]
    return CriticalValues(columns, table)


def gaussian_table(n_in: int, n_out: int, mus: Sequence[float], level: float, seeds: int) -> CriticalValues:
    """Of `CalibratedGaussian`, in mu."""
    ranks = _ranks(n_in, n_out, level)
    return many_runs_table(gaussian_statistic(ranks), Family(ndtri, lambda z, mu: z - mu), ranks, mus, level, seeds)


def epsilon_delta_table(
    n_in: int, n_out: int, epsilons: Sequence[float], delta: float, level: float, seeds: int
) -> CriticalValues:
    """Of `CalibratedEpsilonDelta`, in epsilon."""
    ranks = _ranks(n_in, n_out, level)
    family = Family(lambda x: x, lambda tpr, epsilon: invert_epsilon_delta(tpr, epsilon, delta))
    return many_runs_table(epsilon_delta_statistic(ranks, delta), family, ranks, epsilons, level, seeds)


def observed(value: Statistic, ranks: Ranks, ins: Floats, outs: Floats, seed: int) -> float:
    """The statistic of scores."""
    return float(value(observed_counts(ins, outs, ranks, seed)[None])[0])


def one_run_table(coins: int, epsilons: Sequence[float], delta: float, level: float, seeds: int) -> CriticalValues:
    """Of `OneRunCalibrated` for canaries of one copy, in epsilon, where delta costs a tenth of the level or less."""
    columns = np.unique(np.asarray(epsilons, dtype=np.float64))
    left = level - leak(coins, 0.0, delta, 1)
    draws = draws_for(left)
    rank = draws - int(left * (draws + 1) * (1 + 1e-12))
    table = np.empty((seeds, len(columns)))
    for seed in range(seeds):
        test = CoinTest.of(np.zeros(coins, dtype=bool), draws, seed)
        for j, at in enumerate(columns):
            table[seed, j] = np.partition(test.simulate(float(at), np.arange(draws)), rank)[rank]
    return CriticalValues(columns, table)


def _ranks(n_in: int, n_out: int, level: float) -> Ranks:
    return ranks_of(np.empty(n_in), np.empty(n_out), draws_for(level))
