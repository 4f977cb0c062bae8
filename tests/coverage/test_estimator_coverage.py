"""Is a bound at confidence c above the truth in at most 1 - c of all audits? Measured on mechanisms of known epsilon.

Each test runs AUDITS audits and fails if the share that lies above the truth is significantly more than
1 - CONFIDENCE: an estimator that is right fails with probability at most FALSE_ALARM per test. Seeds are fixed.
The mean bound on strong mechanisms is held too, so that a bound of zero does not pass for a true one.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from attacks.scores import Scores
from audit.estimators import ClopperPearson, GaussianDP, OneRun, SecretGuess
from audit.estimators.base import Estimator
from audit.estimators.secret_guess import success_ceiling
from audit.gaussian import mu_of

AUDITS = 400
CONFIDENCE = 0.9
FALSE_ALARM = 1e-4
DELTA = 1e-5

Rng = np.random.Generator
Mechanism = Callable[[Rng, np.ndarray], np.ndarray]


def null(rng: Rng, member: np.ndarray) -> np.ndarray:
    """Epsilon 0: scores know nothing, and are discrete, so that ties are met."""
    return rng.normal(0, 1, member.shape).round(1)


def randomised_response(epsilon: float) -> Mechanism:
    return lambda rng, member: (member ^ (rng.random(member.shape) < 1 / (1 + math.exp(epsilon)))).astype(float)


def gaussian(epsilon: float) -> Mechanism:
    mu = mu_of(epsilon, DELTA)
    return lambda rng, member: rng.normal(mu * member, 1)


def laplace(epsilon: float) -> Mechanism:
    return lambda rng, member: rng.laplace(member, 1 / epsilon)


def with_offsets(mechanism: Mechanism) -> Mechanism:
    """Each canary has a level of its own, alike in all models, far above what its presence does."""
    return lambda rng, member: mechanism(rng, member) + rng.normal(0, 20, member.shape[1])


def arms(mechanism: Mechanism, n: int) -> Callable[[Rng], Scores]:
    member = np.arange(2 * n)[:, None] < n
    return lambda rng: Scores.from_matrix(mechanism(rng, member), member, randomised="model")


def coins(mechanism: Mechanism, models: int, canaries: int) -> Callable[[Rng], Scores]:
    def draw(rng: Rng) -> Scores:
        member = rng.random((models, canaries)) < 0.5
        return Scores.from_matrix(mechanism(rng, member), member, randomised="canary")

    return draw


def guessed(right: np.ndarray, member: np.ndarray, k: float, repetitions: int = 1) -> Scores:
    n = member.shape[1]
    scores = Scores.from_matrix(np.zeros(member.shape), member, randomised="canary")
    return replace(
        scores, evidence={"guessed": right}, space=np.full(n, k), repetitions=np.full(n, repetitions, dtype=np.int64)
    )


def k_ary_response(epsilon: float, k: int, models: int, secrets: int, shared: bool) -> Callable[[Rng], Scores]:
    """Each guess is the secret as often as (epsilon, 0)-DP allows, else uniformly wrong."""

    def draw(rng: Rng) -> Scores:
        own = np.kron(np.eye(models, dtype=bool), np.ones((1, secrets), dtype=bool))
        member = rng.random((models, secrets)) < 0.5 if shared else own
        return guessed(rng.random(member.shape) < success_ceiling(epsilon, 0.0, k), member, k)

    return draw


def one_prior(k: int, models: int, secrets: int) -> Callable[[Rng], Scores]:
    """Epsilon 0: every model guesses the same constant, right everywhere when the secret happens to be it."""

    def draw(rng: Rng) -> Scores:
        member = np.ones((models, secrets), dtype=bool)
        return guessed(member & (rng.integers(0, k, secrets) == 0), member, k)

    return draw


def measure(estimator: Estimator, draw: Callable[[Rng], Scores], truth: float, delta: float) -> float:
    """Fail if too many bounds lie above `truth`; the mean bound otherwise."""
    found = np.empty(AUDITS)
    for i in range(AUDITS):
        found[i] = estimator.epsilon(draw(np.random.default_rng([20, i])), delta, CONFIDENCE, i)
    above = int((found > truth).sum())
    assert above <= binom.ppf(1 - FALSE_ALARM, AUDITS, 1 - CONFIDENCE), f"{above} of {AUDITS} above {truth}"
    return float(found.mean())


@pytest.mark.parametrize(
    ("estimator", "mechanism", "truth", "n", "least"),
    [
        (ClopperPearson(), null, 0.0, 100, 0.0),
        (ClopperPearson(threshold=0.0), null, 0.0, 100, 0.0),
        (ClopperPearson(), randomised_response(1), 1.0, 300, 0.6),
        (ClopperPearson(threshold=0.5), randomised_response(4), 4.0, 300, 3.2),
        (ClopperPearson(), gaussian(1), 1.0, 100, 0.0),
        (ClopperPearson(), gaussian(4), 4.0, 300, 0.7),
        (ClopperPearson(), laplace(1), 1.0, 300, 0.3),
        (GaussianDP(), null, 0.0, 100, 0.0),
        (GaussianDP(threshold=0.0), null, 0.0, 100, 0.0),
        (GaussianDP(), gaussian(1), 1.0, 100, 0.0),
        (GaussianDP(), gaussian(4), 4.0, 300, 2.2),
        (GaussianDP(threshold=mu_of(4, DELTA) / 2), gaussian(4), 4.0, 300, 2.6),
    ],
)
def test_many_runs(estimator: Estimator, mechanism: Mechanism, truth: float, n: int, least: float) -> None:
    # Pure mechanisms are audited at delta 0, where their epsilon is exact; the Gaussian-curve estimator needs a delta.
    pure = mechanism is not null and "gaussian" not in mechanism.__qualname__
    assert measure(estimator, arms(mechanism, n), truth, 0.0 if pure else DELTA) >= least


@pytest.mark.parametrize(
    ("estimator", "mechanism", "truth", "shape", "delta", "least"),
    [
        (OneRun(), null, 0.0, (1, 1000), DELTA, 0.0),
        (OneRun(guesses=1.0), null, 0.0, (1, 300), 0.0, 0.0),
        (OneRun(), randomised_response(1), 1.0, (1, 1000), 0.0, 0.7),
        (OneRun(guesses=1.0), randomised_response(4), 4.0, (1, 1000), 0.0, 3.0),
        (OneRun(), gaussian(1), 1.0, (1, 1000), DELTA, 0.0),
        (OneRun(), gaussian(4), 4.0, (1, 1000), DELTA, 1.0),
        (OneRun(), null, 0.0, (4, 100), 0.0, 0.0),
        (OneRun(), with_offsets(null), 0.0, (8, 60), DELTA, 0.0),
        (OneRun(), with_offsets(null), 0.0, (2, 200), 0.0, 0.0),
        (OneRun(), with_offsets(randomised_response(1)), 1.0, (8, 60), 0.0, 0.5),
        (OneRun(), with_offsets(randomised_response(1)), 1.0, (2, 200), 0.0, 0.4),
        (OneRun(), with_offsets(gaussian(4)), 4.0, (8, 125), DELTA, 1.0),
    ],
)
def test_one_run(
    estimator: Estimator, mechanism: Mechanism, truth: float, shape: tuple[int, int], delta: float, least: float
) -> None:
    assert measure(estimator, coins(mechanism, *shape), truth, delta) >= least


def test_offsets_hide_everything_without_centring() -> None:
    draw = coins(with_offsets(randomised_response(1)), 8, 60)
    assert measure(OneRun(centre=False), draw, 1.0, 0.0) < 0.1


@pytest.mark.parametrize(
    ("draw", "truth", "delta", "least"),
    [
        (one_prior(10, 16, 1), 0.0, 0.0, 0.0),
        (one_prior(20, 16, 4), 0.0, 0.0, 0.0),
        (k_ary_response(1, 10, 60, 1, shared=False), 1.0, 0.0, 0.5),
        (k_ary_response(1, 10, 40, 5, shared=False), 1.0, 0.0, 0.4),
        (k_ary_response(4, 1000, 40, 5, shared=False), 4.0, DELTA, 1.8),
        (k_ary_response(4, 10, 60, 1, shared=False), 4.0, 0.0, 2.5),
        (k_ary_response(4, 1000, 16, 8, shared=True), 4.0, 0.0, 1.0),
        (k_ary_response(12, 10**6, 16, 8, shared=True), 12.0, 0.0, 9.0),
    ],
)
def test_guessed_secrets(draw: Callable[[Rng], Scores], truth: float, delta: float, least: float) -> None:
    assert measure(SecretGuess(), draw, truth, delta) >= least


def test_repeated_canaries_are_bounded_for_one_copy() -> None:
    # A canary of 3 copies under randomised response of group epsilon 3 has epsilon 1 for each copy.
    def several(rng: Rng) -> Scores:
        scores = coins(randomised_response(3), 1, 500)(rng)
        return replace(scores, repetitions=np.full(500, 3))

    assert measure(OneRun(guesses=1.0), several, 1.0, 0.0) > 0.8
    copies = np.array([3])
    runs = arms(randomised_response(3), 300)
    assert measure(ClopperPearson(), lambda rng: replace(runs(rng), repetitions=copies), 1.0, 0.0) > 0.6
    mu = 3 * mu_of(1, DELTA)
    shifted = arms(lambda rng, member: rng.normal(mu * member, 1), 300)
    assert measure(GaussianDP(), lambda rng: replace(shifted(rng), repetitions=copies), 1.0, DELTA) > 0.4

    def secrets(rng: Rng) -> Scores:
        right = np.eye(60, dtype=bool) & (rng.random((60, 60)) < success_ceiling(3, 0.0, 100))
        return guessed(right, np.eye(60, dtype=bool), 100.0, repetitions=3)

    assert measure(SecretGuess(), secrets, 1.0, 0.0) > 0.6
