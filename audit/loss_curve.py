"""The trade-off curve of DP-SGD, from its privacy loss distribution: the whole of what its accountant claims.

(epsilon, delta) is one point of it. The curve here belongs to the test of "was the canary in": false positives are
counted without the canary, true positives with it. For Poisson sampling under add-or-remove-one that direction is not
symmetric, and it is the sharper use of the claim.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from dp_accounting.pld import privacy_loss_distribution as pld
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from audit.bounds import ADD_OR_REMOVE_ONE
from audit.mechanism import DPSGD
from audit.pld import loss_distribution, loss_interval
from canaries.errors import InputError

Floats = NDArray[np.float64]

LOSS_INTERVAL = 5e-3
"""Discretisation of one step's privacy loss for up to 100 steps; it shrinks with the root of more steps."""


@dataclass(frozen=True, eq=False)
class LossCurve:
    """A trade-off curve as the polygon through (fpr[i], tpr[i]), both increasing from 0 or more to 1."""

    fpr: Floats
    tpr: Floats

    def most_tpr(self, fpr: Floats) -> Floats:
        """The largest true positive rate at each false positive rate; any shape."""
        return np.interp(fpr, self.fpr, self.tpr)

    def invert(self, tpr: Floats) -> Floats:
        """The least false positive rate at each true positive rate; any shape."""
        return np.interp(tpr, self.tpr, self.fpr)


@dataclass(frozen=True)
class GaussianCurve:
    """The trade-off curve of mu-GDP (Dong, Roth, Su 2022, Definition 2.6)."""

    mu: float

    def most_tpr(self, fpr: Floats) -> Floats:
        """Phi(Phi^-1(fpr) + mu)."""
        return np.asarray(ndtr(ndtri(fpr) + self.mu))

    def invert(self, tpr: Floats) -> Floats:
        """Phi(Phi^-1(tpr) - mu)."""
        return np.asarray(ndtr(ndtri(tpr) - self.mu))


@dataclass(frozen=True, eq=False)
class RepeatedCurve:
    """What a curve for one copy guarantees for several (Dong, Roth, Su 2022, Theorem 2.14): R(R(...R(fpr)))."""

    single: LossCurve
    copies: int

    def most_tpr(self, fpr: Floats) -> Floats:
        """The largest true positive rate at each false positive rate; any shape."""
        for _ in range(self.copies):
            fpr = self.single.most_tpr(fpr)
        return fpr

    def invert(self, tpr: Floats) -> Floats:
        """The least false positive rate at each true positive rate; any shape."""
        for _ in range(self.copies):
            tpr = self.single.invert(tpr)
        return tpr


Curve = LossCurve | GaussianCurve | RepeatedCurve


@lru_cache(maxsize=512)
def curve_of(mechanism: DPSGD, copies: int = 1, adjacency: str = ADD_OR_REMOVE_ONE) -> Curve:
    """What DP-SGD allows an adversary who tells "canary in" from "canary out", `copies` copies of it at once.

    Full batch is exactly Gaussian: mu = copies * sqrt(steps) / noise_multiplier; twice that under replace-one, where
    one clipped gradient becomes another, and under replace-label, which is a case of it. Poisson sampling: composed by
    dp-accounting (Koskela et al. 2020; Doroshenko et al. 2022), whose discretisation only ever moves the curve up, so
    tests against it err on the safe side. Several copies then repeat the curve of one.

    Raises:
        InputError: without noise.
    """
    if mechanism.noise_multiplier == 0:
        raise InputError("A mechanism without noise claims nothing, so it has no trade-off curve.")
    total = sum(steps for steps, _ in mechanism.phases)
    if mechanism.sampling == "full-batch":
        distance = copies * (1 if adjacency == ADD_OR_REMOVE_ONE else 2)
        return GaussianCurve(distance * math.sqrt(total) / mechanism.noise_multiplier)
    if copies > 1:
        single = curve_of(mechanism, 1, adjacency)
        assert isinstance(single, LossCurve)
        return RepeatedCurve(single, copies)
    interval = loss_interval(mechanism, LOSS_INTERVAL / max(1.0, math.sqrt(total / 100)))
    return polygon(loss_distribution(mechanism, adjacency, interval))


def polygon(distribution: pld.PrivacyLossDistribution) -> LossCurve:
    """The curve of a privacy loss distribution of dp-accounting, see `corners`."""
    pmf = distribution._pmf_remove.to_dense_pmf()
    inside = np.asarray(pmf._probs, dtype=np.float64)
    return corners((pmf._lower_loss + np.arange(inside.size)) * pmf._discretization, inside, pmf._infinity_mass)


def corners(loss: Floats, inside: Floats, infinite: float) -> LossCurve:
    """The rates of "privacy loss at least l" for every l: the corners of the trade-off curve (Neyman, Pearson).

    Args:
        loss: [losses], in nats, increasing.
        inside: [losses], the probability of each with the canary in.
        infinite: that of an infinite loss.
    """
    loss, inside = loss[::-1], inside[::-1]
    tpr = np.cumsum(np.concatenate([[infinite], inside]))
    there = inside > 0
    outside = np.zeros_like(inside)
    outside[there] = np.exp(np.minimum(np.log(inside[there]) - loss[there], 0.0))
    fpr = np.cumsum(np.concatenate([[0.0], outside]))
    keep = np.concatenate([[True], there])
    return LossCurve(np.append(np.minimum(fpr[keep], 1.0), 1.0), np.append(np.minimum(tpr[keep], 1.0), 1.0))
