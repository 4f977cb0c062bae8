from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

from attacks.scores import Scores
from audit.estimators.gaussian_dp import GaussianDP
from audit.gaussian import delta_of, epsilon_of, mu_of
from canaries.errors import InputError

ANY = st.floats(allow_nan=False)


def test_epsilon_is_that_of_the_mu_between_the_limits() -> None:
    ins, outs = np.arange(400) >= 30, np.arange(400) < 20
    bound = GaussianDP(threshold=0.5).bound(Scores.from_arms(ins.astype(float), outs.astype(float)), delta=1e-5)
    fnr = binomtest(30, 400).proportion_ci(0.95, method="exact").high
    fpr = binomtest(20, 400).proportion_ci(0.95, method="exact").high
    mu = norm.ppf(1 - fpr) - norm.ppf(fnr)
    assert delta_of(bound.epsilon, mu) == pytest.approx(1e-5, rel=1e-6)
    assert bound.parametric
    assert "the mechanism's trade-off curve is Gaussian" in bound.assumptions


def test_close_to_the_truth_for_an_ideal_attack() -> None:
    # FACTS.md: mean 8.44 at epsilon 10, 500 models in each arm, threshold named in advance.
    rng = np.random.default_rng(0)
    mu = mu_of(10, 1e-5)
    found = [
        GaussianDP(threshold=mu / 2)
        .bound(Scores.from_arms(rng.normal(mu, 1, 500), rng.normal(0, 1, 500)), delta=1e-5)
        .epsilon
        for _ in range(40)
    ]
    assert np.mean(found) == pytest.approx(8.44, abs=0.3)


def test_copies_divide_mu() -> None:
    scores = Scores.from_arms(np.ones(300), np.zeros(300))
    estimator = GaussianDP(threshold=0.5)
    single = mu_of(estimator.bound(scores, delta=1e-5).epsilon, 1e-5)
    many = estimator.bound(replace(scores, repetitions=np.array([3])), delta=1e-5).epsilon
    assert many == pytest.approx(epsilon_of(single / 3, 1e-5), rel=1e-6)


def test_pure_privacy_and_a_gaussian_curve_exclude_each_other() -> None:
    bound = GaussianDP().bound(Scores.from_arms(np.ones(50), np.zeros(50)), delta=0.0)
    assert (bound.epsilon, bound.ceiling) == (0.0, 0.0)


@given(st.lists(ANY, max_size=30), st.lists(ANY, max_size=30), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_any_scores_give_a_bound_below_the_ceiling(ins: list[float], outs: list[float], seed: int) -> None:
    bound = GaussianDP().bound(Scores.from_arms(np.array(ins), np.array(outs)), delta=1e-5, seed=seed)
    assert 0 <= bound.epsilon <= bound.ceiling


@given(st.lists(ANY, min_size=5, max_size=30), st.data())
@settings(max_examples=40, deadline=None)
def test_bound_never_falls_when_an_in_score_rises(ins: list[float], data: st.DataObject) -> None:
    outs = np.linspace(-1, 1, 30)
    which = data.draw(st.integers(0, len(ins) - 1))
    raised = list(ins)
    raised[which] = data.draw(st.floats(min_value=ins[which], allow_nan=False))
    estimator = GaussianDP(threshold=0.9)
    before = estimator.epsilon(Scores.from_arms(np.array(ins), outs), 1e-5, 0.95, 0)
    assert estimator.epsilon(Scores.from_arms(np.array(raised), outs), 1e-5, 0.95, 0) >= before


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_only_the_order_of_scores_counts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ins, outs = rng.normal(3, 1, 60).round(1), rng.normal(0, 1, 60).round(1)
    plain = GaussianDP().bound(Scores.from_arms(ins, outs), delta=1e-5, seed=seed)
    assert plain == GaussianDP().bound(Scores.from_arms(ins**3, outs**3), delta=1e-5, seed=seed)


def test_several_canaries_are_refused_in_words() -> None:
    scores = Scores.from_matrix(np.zeros((4, 3)), np.ones((4, 3), dtype=bool), randomised="canary")
    with pytest.raises(InputError, match="exactly one canary, got 3"):
        GaussianDP().bound(scores, delta=1e-5)
