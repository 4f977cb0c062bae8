import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import binom

from attacks.scores import Scores
from audit.estimators import OneRun, OneRunCalibrated
from audit.estimators.one_run_calibrated import CoinTest, _binomial, _numbers, leak
from audit.gaussian import mu_of


def coins(score: np.ndarray, member: np.ndarray) -> Scores:
    return Scores.from_matrix(np.atleast_2d(score), np.atleast_2d(member), randomised="canary")


def test_what_delta_can_do_to_one_coin_is_attained() -> None:
    # The worst (eps, delta) mechanism says the bit outright with probability delta, else flips it with 1 - q. The
    # excess of the posterior over q, in the mean, is then exactly (1 - q) delta.
    for epsilon, delta in ((0.0, 0.1), (1.0, 0.01), (4.0, 1e-3)):
        q = expit(epsilon)
        assert leak(1, epsilon, delta, 1) == pytest.approx(delta * (1 - q))


@given(st.floats(0, 6), st.integers(1, 6))
def test_the_leak_falls_with_epsilon(epsilon: float, copies: int) -> None:
    assert leak(100, epsilon + 0.1, 1e-4, copies) <= leak(100, epsilon, 1e-4, copies) * (1 + 1e-12)


def test_inversion_gives_binomial_counts_that_never_fall_with_q() -> None:
    uniform = np.random.default_rng(0).random(2000)
    for size, q in ((1, 0.5), (37, 0.9), (5000, 0.73)):
        np.testing.assert_array_equal(_binomial(size, q, uniform), binom.ppf(uniform, size, q))
    grown = [_binomial(60, q, uniform) for q in (0.5, 0.6, 0.8, 0.99, 1.0)]
    assert all((b >= a).all() for a, b in pairwise(grown))
    assert (grown[-1] == 60).all()


@pytest.mark.parametrize("half", [1, 3, 4, 5, 100, 12_345])
def test_numbers_of_guesses_end_with_all(half: int) -> None:
    numbers = _numbers(half)
    assert numbers[-1] == half
    assert (np.diff(numbers, prepend=0) > 0).all()


def test_tight_where_the_best_number_of_guesses_is_unknown() -> None:
    rng = np.random.default_rng(0)
    member = rng.random((1, 1000)) < 0.5
    few = coins(np.where(member & (rng.random(member.shape) < 0.1), 9.0, 0.0) + rng.normal(0, 1, member.shape), member)
    best = OneRunCalibrated().bound(few, 1e-5).epsilon
    assert best > 1.5
    assert best > OneRun().bound(few, 1e-5).epsilon + 0.5


def test_figures_of_the_issue_for_a_gaussian_attack() -> None:
    rng = np.random.default_rng(1)
    mu, found = mu_of(4, 1e-5), []
    for i in range(12):
        member = rng.random((1, 1000)) < 0.5
        found.append(OneRunCalibrated().bound(coins(rng.normal(mu * member, 1), member), 1e-5, seed=i).epsilon)
    assert np.mean(found) == pytest.approx(1.47, abs=0.2)


def test_a_large_m_delta_costs_small_bounds_only() -> None:
    member = np.random.default_rng(2).random((1, 20_000)) < 0.5
    perfect = coins(member.astype(float), member)
    assert 20_000 * 1e-4 > 1  # Steinke's correction, and alpha - m delta, leave nothing here
    assert OneRunCalibrated().bound(perfect, 1e-4).epsilon > 6
    weak = coins(member + np.random.default_rng(3).normal(0, 2, member.shape), member)
    assert OneRunCalibrated().bound(weak, 1e-4).epsilon == 0


def test_the_catastrophe_that_delta_allows_is_paid_for() -> None:
    # With probability delta all coins are shown: each is (0, delta)-private. Bounds above 0 must stay rare.
    delta, audits, above = 0.04, 300, 0
    for i in range(audits):
        rng = np.random.default_rng([7, i])
        member = rng.random((1, 60)) < 0.5
        score = member.astype(float) if rng.random() < delta else rng.normal(0, 1, member.shape)
        above += OneRunCalibrated().epsilon(coins(score, member), delta, 0.95, i) > 0
    assert above <= binom.ppf(1 - 1e-4, audits, 0.05)


def test_p_value_and_bound_agree() -> None:
    rng = np.random.default_rng(4)
    member = rng.random((1, 300)) < 0.5
    scores = coins(rng.normal(1.5 * member, 1), member)
    epsilon = OneRunCalibrated().epsilon(scores, 0.0, 0.95, 0)
    said = member[0][np.argsort(scores.score[0])]
    test = CoinTest.of(said, 999, 0)
    assert test.p_value(epsilon * 0.999) <= 0.05 < test.p_value(epsilon * 1.001 + 1e-6)


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=20, max_size=60), st.data())
@settings(max_examples=30, deadline=None)
def test_bound_never_falls_when_an_in_score_rises(pairs: list[tuple[int, bool]], data: st.DataObject) -> None:
    score, member = (np.array(column) for column in zip(*pairs, strict=True))
    score, member = score.astype(float), member.astype(bool)
    which = data.draw(st.integers(0, len(score) - 1))
    raised = score.copy()
    raised[which] += data.draw(st.floats(0, 20)) * (1 if member[which] else -1)
    estimator = OneRunCalibrated()
    before = estimator.epsilon(coins(score, member), 0.0, 0.7, 0)
    assert estimator.epsilon(coins(raised, member), 0.0, 0.7, 0) >= before


def test_copies_share_the_group() -> None:
    member = np.arange(200) % 2 == 0
    scores = coins(member.astype(float), member)
    single = OneRunCalibrated().bound(scores, 0.0).epsilon
    many = OneRunCalibrated().bound(replace(scores, repetitions=np.full(200, 4)), 0.0).epsilon
    assert many == pytest.approx(single / 4, rel=1e-4)
    assert math.isfinite(single)
