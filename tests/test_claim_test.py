import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom, kstest

from attacks.scores import Scores
from audit.accounting import claim_of, noise_multiplier
from audit.claim import Claim
from audit.claim_test import claim_test, p_value
from audit.estimators import CalibratedEpsilonDelta
from audit.gaussian import mu_of
from audit.mechanism import DPSGD
from canaries.errors import InputError

DELTA = 1e-5


def arms(mu: float, n: int = 500, seed: int = 0) -> Scores:
    rng = np.random.default_rng(seed)
    return Scores.from_arms(rng.normal(mu, 1, n), rng.normal(0, 1, n))


def full_batch(epsilon: float, steps: int = 20) -> Claim:
    return claim_of(DPSGD(1.0, steps, noise_multiplier(epsilon, DELTA, 1.0, steps)), DELTA)


def test_a_whole_curve_is_refuted_where_one_point_of_it_is_not() -> None:
    claim = full_batch(4)
    leaky = arms(mu_of(6, DELTA))
    assert p_value(leaky, claim) < 0.01
    assert p_value(leaky, Claim(claim.epsilon, DELTA)) > 0.5


@pytest.mark.parametrize("epsilon", [1.0, 8.0])
def test_p_values_of_the_tightest_mechanism_are_uniform(epsilon: float) -> None:
    claim = full_batch(epsilon)
    assert claim.mechanism is not None
    mu = math.sqrt(claim.mechanism.steps) / claim.mechanism.noise_multiplier
    found = [p_value(arms(mu, 60, i), claim, seed=i) for i in range(300)]
    # False alarm once in ten thousand.
    assert kstest(found, "uniform").pvalue > 1e-4


@pytest.mark.parametrize("coins", [False, True])
def test_an_epsilon_below_its_own_mechanism_is_tested_too(coins: bool) -> None:
    """A wrong accountant: epsilon 1 is claimed of noise that means 25."""
    mechanism = DPSGD(1.0, 100, 2.0)
    scores = arms(5.0, 500)
    if coins:
        member = np.random.default_rng(1).random((1, 1000)) < 0.5
        score = 5.0 * member + np.random.default_rng(2).normal(size=member.shape)
        scores = Scores.from_matrix(score, member, randomised="canary")
    claim = Claim(1.0, DELTA, mechanism=mechanism)
    test = claim_test(scores, claim)
    assert test is not None
    assert test.p_value < 0.01
    assert test.against == f"the trade-off curve of {mechanism} and {claim}"
    assert p_value(scores, claim_of(mechanism, DELTA)) > 0.2


def test_a_claim_of_epsilon_and_delta_alone_agrees_with_its_bound() -> None:
    scores = arms(3.0, 200)
    bound = CalibratedEpsilonDelta().bound(scores, DELTA, 0.95, seed=3).epsilon
    assert (
        p_value(scores, Claim(bound * 0.99, DELTA), seed=3)
        <= 0.05
        < p_value(scores, Claim(bound * 1.01, DELTA), seed=3)
    )


def test_subsampled_curve_is_sharper_in_its_own_direction_and_holds() -> None:
    mechanism = DPSGD(0.1, 20, 1.0)
    claim = claim_of(mechanism, DELTA)

    def ideal(seed: int, sigma: float, n: int = 80) -> Scores:
        rng = np.random.default_rng([9, seed])
        seen = rng.normal(0, sigma, (2 * n, 20))
        seen[:n] += rng.random((n, 20)) < 0.1
        score = np.log1p(0.1 * np.expm1((seen - 0.5) / sigma**2)).sum(axis=1)
        return Scores.from_arms(score[:n], score[n:])

    found = np.array([p_value(ideal(i, 1.0), claim, seed=i) for i in range(200)])
    assert (found <= 0.1).sum() <= binom.ppf(1 - 1e-4, 200, 0.1)
    assert (found <= 0.1).sum() > 0
    assert np.mean([p_value(ideal(i, 0.5), claim, seed=i) < 0.05 for i in range(20)]) > 0.9


def test_coins_are_tested_against_the_curve_and_against_the_point() -> None:
    rng = np.random.default_rng(1)
    member = rng.random((4, 500)) < 0.5
    scores = Scores.from_matrix(rng.normal(mu_of(10, DELTA) * member, 1), member, randomised="canary")
    curve, point = claim_test(scores, full_batch(4)), claim_test(scores, Claim(4, DELTA))
    assert curve is not None
    assert point is not None
    assert curve.p_value < 0.01 < point.p_value
    assert "DP-SGD (full-batch, 20 steps" in curve.against
    assert point.against == "(4, 1e-05)-DP per record"
    assert p_value(scores, full_batch(16)) > 0.5


def test_copies_are_held_against_the_group() -> None:
    scores = arms(2 * mu_of(4, DELTA))
    assert p_value(scores, full_batch(4)) < 0.01
    assert p_value(replace(scores, repetitions=np.array([2])), full_batch(4)) > 0.02


def test_secrets_are_a_second_test_that_is_paid_for() -> None:
    n = 30
    scores = Scores.from_matrix(np.zeros((n, n)), np.eye(n, dtype=bool), randomised="model")
    secrets = replace(scores, space=np.full(n, 1e6), evidence={"guessed": np.eye(n, dtype=bool)})
    assert p_value(secrets, Claim(8, DELTA)) < 1e-6
    member = np.random.default_rng(0).random((n, n)) < 0.5
    both = Scores.from_matrix(np.zeros((n, n)), member, randomised="canary")
    both = replace(both, space=np.full(n, 1e6), evidence={"guessed": member})
    test = claim_test(both, Claim(8, DELTA))
    assert test is not None
    assert "one of 2 tests" in test.method


def test_what_claims_nothing_is_never_refuted() -> None:
    assert p_value(arms(9.0), Claim(math.inf, DELTA)) == 1.0


def test_scores_that_cannot_test_are_refused_in_words() -> None:
    scores = Scores.from_matrix(np.zeros((4, 3)), np.repeat([[True], [False]] * 2, 3, axis=1), randomised="model")
    assert claim_test(scores, Claim(1, DELTA)) is None
    with pytest.raises(InputError, match="whole models were randomised"):
        p_value(scores, Claim(1, DELTA))
