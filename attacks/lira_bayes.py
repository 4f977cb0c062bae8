"""LiRA for few known models: each canary's variance is shrunk towards what the other canaries say."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import polygamma, psi
from scipy.stats import t

from attacks.cross_model import Arm, KnownModels
from attacks.lira import LogitSignal, both_means

Floats = NDArray[np.float64]

MOST_FREEDOM = 1e6
"""Degrees of freedom that stand for infinitely many: all canaries share one variance."""


@dataclass(frozen=True)
class BayesianLiRA(LogitSignal):
    """Score = log ratio of posterior predictive densities, Student-t, of the signal with and without the canary.

    The likelihood is LiRA's (Carlini et al. 2022). Each canary's variance has a scaled inverse chi-squared prior, whose
    two parameters are fitted to all canaries' variances (empirical Bayes: Smyth 2004, "Linear models and empirical
    Bayes methods for assessing differential expression", section 6.2); its mean has a flat prior. So n known models
    predict t with nu + n - 1 degrees of freedom, location their mean, squared scale (1 + 1/n) times the shrunk variance
    (Gelman et al., "Bayesian Data Analysis", section 3.2). With many models it is per-example LiRA, with two it is
    near the fixed variance; the heavy tails keep one wild canary from leading the list. A side without any model counts
    as one model at the place where LiRA would put its mean.
    """

    name: ClassVar[str] = "lira-bayes"

    def compare(self, signal: Floats, known: KnownModels) -> Floats:
        """The log ratio in nats, float64[targets, canaries]."""
        ins, outs = known.arm(True), known.arm(False)
        mean_in, mean_out = both_means(ins, outs)
        return predictive(signal, mean_in, ins) - predictive(signal, mean_out, outs)


def predictive(signal: Floats, mean: Floats, arm: Arm) -> Floats:
    """Log density of `signal` [targets, canaries] by the posterior predictive of one arm, in nats."""
    freedom, prior = variance_prior(arm)
    own = np.clip(arm.count - 1, 0, None)
    total = freedom + own
    squared = (freedom * prior + arm.squares) / total * (1 + 1 / np.maximum(arm.count, 1))
    return np.asarray(t.logpdf(signal, total, mean, np.sqrt(squared)))


def variance_prior(arm: Arm) -> tuple[float, float]:
    """Degrees of freedom and scale of the scaled inverse chi-squared prior of the canaries' variances.

    Moments of log variances, Smyth (2004), section 6.2. Three degrees of freedom at the pooled variance where fewer
    than two canaries have two models each.
    """
    own = arm.count - 1
    use = (own > 0) & (arm.squares > 0)
    if use.sum() < 2:
        return 3.0, arm.pooled_variance()
    d = own[use]
    e = np.log(arm.squares[use] / d) - psi(d / 2) + np.log(d / 2)
    excess = float(e.var(ddof=1) - polygamma(1, d / 2).mean())
    freedom = 2 * _inverse_trigamma(excess)
    return freedom, math.exp(float(e.mean()) + float(psi(freedom / 2)) - math.log(freedom / 2))


def _inverse_trigamma(value: float) -> float:
    """The x with trigamma(x) = value, at most MOST_FREEDOM / 2, which stands for values of 0 and below."""
    most = MOST_FREEDOM / 2
    if value <= float(polygamma(1, most)):
        return most
    return math.exp(
        brentq(lambda log_x: math.log(float(polygamma(1, math.exp(log_x)))) - math.log(value), -20, math.log(most))
    )
