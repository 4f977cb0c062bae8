"""Mechanisms whose epsilon is known, to measure bounds on: scores of models, or of canaries, with and without.

Every law gives scores by an attack that sees all there is, so a bound that is true here under the strongest attack is
true under weaker ones. `truth` is the smallest epsilon at DELTA, or a little more where that has no closed form.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp
from scipy.stats import binom

from audit.accounting import noise_multiplier
from audit.gaussian import mu_of
from audit.mechanism import DPSGD

DELTA = 1e-5
RATE, STEPS = 0.1, 20
"""Of the subsampled Gaussian."""
COPIES = 4
"""Of a canary that is a group: one record several times over, or the records of one user."""

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, NDArray[np.bool_]], Floats]


@dataclass(frozen=True)
class Law:
    """A mechanism.

    Attributes:
        name: its name.
        epsilon: what it is called; the truth is near.
        truth: an epsilon that holds at DELTA, the smallest or above it by 1e-4 at most.
        draw: (generator, bool[...] member) -> float[...] scores, higher = more likely a member.
        curve: "gaussian" if its trade-off curve is Gaussian or below one with this epsilon, "dpsgd" if it is that of
            subsampled DP-SGD, "other" where curve assumptions are false.
    """

    name: str
    epsilon: float
    truth: float
    draw: Draw
    curve: str


def null() -> Law:
    """Epsilon 0."""
    return Law("null data", 0.0, 0.0, lambda rng, member: rng.normal(0, 1, member.shape), "gaussian")


def randomised_response(epsilon: float) -> Law:
    """The bit, flipped with probability 1 / (1 + e^eps): the worst (eps, 0)-DP mechanism, two scores only."""
    flip = 1 / (1 + math.exp(epsilon))
    return Law(
        "randomised response", epsilon, epsilon, lambda rng, m: (m ^ (rng.random(m.shape) < flip)) * 1.0, "other"
    )


def laplace(epsilon: float) -> Law:
    """A shift of 1 under Laplace noise of scale 1 / eps."""
    return Law("Laplace", epsilon, epsilon, lambda rng, m: rng.laplace(m, 1 / epsilon), "other")


def gaussian(epsilon: float) -> Law:
    """A shift of mu under standard normal noise."""
    mu = mu_of(epsilon, DELTA)
    return Law("Gaussian", epsilon, epsilon, lambda rng, m: rng.normal(mu * m, 1), "gaussian")


def ties(epsilon: float) -> Law:
    """The Gaussian, rounded to halves: about a dozen scores, many ties."""
    plain = gaussian(epsilon)
    return Law("discrete with ties", epsilon, epsilon, lambda rng, m: np.round(2 * plain.draw(rng, m)) / 2, "gaussian")


def heavy_tails(epsilon: float) -> Law:
    """A shift under Cauchy noise: for a shift of 2 sinh(eps / 2) scales the densities' ratio is e^eps at most."""
    shift = 2 * math.sinh(epsilon / 2)
    return Law("heavy tails", epsilon, epsilon, lambda rng, m: rng.standard_cauchy(m.shape) + shift * m, "other")


def subsampled(epsilon: float) -> Law:
    """STEPS Poisson-subsampled Gaussians at RATE, seen step by step: the score is their log-likelihood ratio."""
    mechanism = subsampled_mechanism(epsilon)
    sigma = mechanism.noise_multiplier

    def draw(rng: np.random.Generator, member: NDArray[np.bool_]) -> Floats:
        seen = rng.normal(0, sigma, (*member.shape, STEPS))
        seen += (rng.random(seen.shape) < RATE) & member[..., None]
        return np.log1p(RATE * np.expm1((seen - 0.5) / sigma**2)).sum(axis=-1)

    return Law("subsampled Gaussian", epsilon, epsilon, draw, "dpsgd")


@cache
def subsampled_mechanism(epsilon: float) -> DPSGD:
    """With the noise that the accountant asks for."""
    return DPSGD(RATE, STEPS, noise_multiplier(epsilon, DELTA, RATE, STEPS))


def all_laws(epsilons: tuple[float, ...]) -> list[Law]:
    """Every law at every epsilon; null once."""
    makers = (randomised_response, laplace, gaussian, subsampled, ties, heavy_tails)
    return [null(), *(make(epsilon) for make in makers for epsilon in epsilons)]


def group_laws(epsilons: tuple[float, ...]) -> list[Law]:
    """What COPIES copies give away together, by mechanisms whose `epsilon` and `truth` are for one copy."""
    makers = (_randomised_response_of_a_group, _gaussian_of_a_group, _subsampled_of_a_group)
    laws = [null(), *(make(epsilon) for make in makers for epsilon in epsilons)]
    return [replace(law, name=f"{law.name}, {COPIES} copies") for law in laws]


def _randomised_response_of_a_group(epsilon: float) -> Law:
    return replace(randomised_response(COPIES * epsilon), epsilon=epsilon, truth=epsilon)


def _gaussian_of_a_group(epsilon: float) -> Law:
    shift = COPIES * mu_of(epsilon, DELTA)
    return replace(gaussian(epsilon), draw=lambda rng, m: rng.normal(shift * m, 1))


def _subsampled_of_a_group(epsilon: float) -> Law:
    """Each copy is in each batch by a coin of its own; the score is the log-likelihood ratio of all steps."""
    sigma, j = subsampled_mechanism(epsilon).noise_multiplier, np.arange(COPIES + 1)

    def draw(rng: np.random.Generator, member: NDArray[np.bool_]) -> Floats:
        seen = rng.normal(0, sigma, (*member.shape, STEPS))
        seen += rng.binomial(COPIES, RATE, seen.shape) * member[..., None]
        log_ratio = binom.logpmf(j, COPIES, RATE) + (j * seen[..., None] - j**2 / 2) / sigma**2
        return np.asarray(logsumexp(log_ratio, axis=-1).sum(axis=-1))

    return replace(subsampled(epsilon), draw=draw)
