import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from attacks.scores import Scores
from audit.estimators.clopper_pearson import ClopperPearson
from audit.estimators.threshold import upper_limit
from canaries.errors import InputError

ANY = st.floats(allow_nan=False)
ARM = st.lists(ANY, min_size=0, max_size=30)


@pytest.mark.parametrize(("n", "epsilon"), [(100, 3.28), (500, 4.91), (1000, 5.60)])
def test_golden_ceiling_at_a_threshold_named_in_advance(n: int, epsilon: float) -> None:
    bound = ClopperPearson(threshold=0.5).bound(Scores.from_arms(np.ones(n), np.zeros(n)), delta=0.0)
    assert bound.epsilon == pytest.approx(epsilon, abs=0.005)
    assert bound.ceiling == bound.epsilon


@pytest.mark.parametrize(("errors", "trials"), [(0, 1), (0, 50), (3, 50), (49, 50), (50, 50)])
def test_limits_agree_with_scipy(errors: int, trials: int) -> None:
    reference = binomtest(errors, trials).proportion_ci(0.95, method="exact").high
    assert upper_limit(errors, trials, 0.975) == pytest.approx(reference, rel=1e-9)


def test_limit_without_trials_is_one() -> None:
    assert upper_limit(0, 0, 0.975) == 1.0


def test_both_sides_are_looked_at() -> None:
    n = 200
    few_false_positives = Scores.from_arms(np.arange(n) % 2, np.zeros(n))
    few_false_negatives = Scores.from_arms(np.ones(n), np.arange(n) % 2)
    one = ClopperPearson(threshold=0.5).bound(few_false_positives, delta=1e-5)
    two = ClopperPearson(threshold=0.5).bound(few_false_negatives, delta=1e-5)
    high = binomtest(n // 2, n).proportion_ci(0.95, method="exact").high
    zero = binomtest(0, n).proportion_ci(0.95, method="exact").high
    assert one.epsilon == pytest.approx(two.epsilon, rel=1e-9)
    assert one.epsilon == pytest.approx(math.log((1 - 1e-5 - high) / zero), rel=1e-8)


def test_copies_share_the_group_bound() -> None:
    scores = Scores.from_arms(np.ones(500), np.zeros(500))
    estimator = ClopperPearson(threshold=0.5)
    single = estimator.bound(scores, delta=0.0).epsilon
    many = estimator.bound(replace(scores, repetitions=np.array([4])), delta=0.0).epsilon
    assert many == pytest.approx(single / 4, rel=1e-8)
    assert estimator.bound(replace(scores, repetitions=np.array([4])), delta=1e-3).epsilon < many


def test_the_threshold_is_never_chosen_on_what_the_limits_see() -> None:
    # Models that were not held out change the limits only: move all of them across and nothing is left.
    rng = np.random.default_rng(0)
    ins, outs = rng.normal(4, 1, 200), rng.normal(0, 1, 200)
    bound = ClopperPearson().bound(Scores.from_arms(ins, outs), delta=1e-5)
    assert 1 < bound.epsilon <= bound.ceiling
    assert any("held-out" in word for word in bound.corrected_for)
    assert bound.ceiling == pytest.approx(
        ClopperPearson(threshold=0.5).bound(Scores.from_arms(np.ones(160), np.zeros(160)), delta=1e-5).epsilon
    )


@given(ARM, ARM, st.integers(0, 3), st.sampled_from([None, 0.0, 3.5]))
@settings(max_examples=60, deadline=None)
def test_any_scores_give_a_bound_below_the_ceiling(
    ins: list[float], outs: list[float], seed: int, threshold: float | None
) -> None:
    scores = Scores.from_arms(np.array(ins), np.array(outs))
    bound = ClopperPearson(threshold=threshold).bound(scores, delta=1e-5, seed=seed)
    assert 0 <= bound.epsilon <= bound.ceiling


@given(st.lists(ANY, min_size=10, max_size=30), st.data())
@settings(max_examples=40, deadline=None)
def test_bound_never_falls_when_an_in_score_rises(ins: list[float], data: st.DataObject) -> None:
    outs = np.linspace(-1, 1, 30)
    which = data.draw(st.integers(0, len(ins) - 1))
    raised = list(ins)
    raised[which] = data.draw(st.floats(min_value=ins[which], allow_nan=False))
    estimator = ClopperPearson(threshold=0.9)
    before = estimator.epsilon(Scores.from_arms(np.array(ins), outs), 1e-5, 0.95, 0)
    assert estimator.epsilon(Scores.from_arms(np.array(raised), outs), 1e-5, 0.95, 0) >= before - 1e-9


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_only_the_order_of_scores_counts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ins, outs = rng.normal(3, 1, 60).round(1), rng.normal(0, 1, 60).round(1)
    plain = ClopperPearson().bound(Scores.from_arms(ins, outs), delta=1e-5, seed=seed)
    bent = ClopperPearson().bound(Scores.from_arms(np.exp(ins) - 7, np.exp(outs) - 7), delta=1e-5, seed=seed)
    assert plain == bent


def test_several_canaries_are_refused_in_words() -> None:
    scores = Scores.from_matrix(np.zeros((4, 3)), np.ones((4, 3), dtype=bool), randomised="canary")
    with pytest.raises(InputError, match="exactly one canary, got 3"):
        ClopperPearson().bound(scores, delta=0.0)


@pytest.mark.parametrize("fields", [{"held_out": 0.0}, {"held_out": 1.0}, {"threshold": math.inf}])
def test_bad_fields_are_named(fields: dict[str, float]) -> None:
    with pytest.raises(InputError, match=str(next(iter(fields.values())))):
        ClopperPearson(**fields)
