import math
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attacks.scores import Scores
from audit.estimators.one_run import OneRun, one_run_epsilon, one_run_p_value
from canaries.errors import InputError

ANY = st.floats(allow_nan=False)


def coins(score: np.ndarray, member: np.ndarray) -> Scores:
    return Scores.from_matrix(np.atleast_2d(score), np.atleast_2d(member), randomised="canary")


def slow_p_value(m: int, r: int, v: int, epsilon: float, delta: float) -> float:
    q = math.exp(epsilon) / (1 + math.exp(epsilon))
    pmf = [math.comb(r, w) * q**w * (1 - q) ** (r - w) for w in range(r + 1)]
    beta = sum(pmf[v:])
    alpha = max((sum(pmf[w] for w in range(r + 1) if v > w >= v - i) / i for i in range(1, v + 1)), default=0.0)
    return min(1.0, beta + 2 * m * delta * alpha)


@pytest.mark.parametrize(
    ("m", "r", "v", "confidence", "epsilon"),
    [
        (500, 100, 100, 0.95, 3.479195),
        (500, 100, 100, 0.99, 3.023198),
        (1000, 600, 600, 0.95, 5.2704),
        (100, 100, 100, 0.95, 3.4902),
    ],
)
def test_golden_values(m: int, r: int, v: int, confidence: float, epsilon: float) -> None:
    assert one_run_epsilon(m, r, v, 1e-5, confidence) == pytest.approx(epsilon, abs=1e-4)


@given(st.integers(1, 40), st.data(), st.floats(0, 6), st.sampled_from([0.0, 1e-5, 0.01]))
@settings(max_examples=80, deadline=None)
def test_p_value_is_the_naive_sum(r: int, data: st.DataObject, epsilon: float, delta: float) -> None:
    v = data.draw(st.integers(0, r))
    assert one_run_p_value(r + 10, r, v, epsilon, delta) == pytest.approx(
        slow_p_value(r + 10, r, v, epsilon, delta), rel=1e-9
    )


def test_a_hundred_thousand_coins_take_well_under_a_second() -> None:
    start = time.perf_counter()
    assert 1.0 < one_run_epsilon(100_000, 25_000, 20_000, 1e-7, 0.95) < 1.4
    assert time.perf_counter() - start < 2


def test_all_models_are_pooled_and_abstentions_count() -> None:
    member = np.random.default_rng(0).random((4, 100)) < 0.5
    bound = OneRun(guesses=0.2).bound(coins(member.astype(float), member), delta=1e-5)
    assert bound.samples["guesses"] == 80
    assert bound.epsilon <= bound.ceiling == pytest.approx(one_run_epsilon(400, 80, 80, 1e-5, 0.95))


def test_centring_takes_out_what_belongs_to_the_canary() -> None:
    rng = np.random.default_rng(0)
    member = rng.random((8, 100)) < 0.5
    score = member + rng.normal(0, 0.2, member.shape) + rng.normal(0, 50, 100)
    centred = OneRun().bound(coins(score, member), delta=1e-5).epsilon
    assert centred > 3
    assert OneRun(centre=False).bound(coins(score, member), delta=1e-5).epsilon < 0.5


@pytest.mark.parametrize("big", [1.7e308, math.inf])
def test_centring_survives_infinite_and_huge_scores(big: float) -> None:
    member = np.random.default_rng(0).random((3, 60)) < 0.5
    bound = OneRun().bound(coins(np.where(member, big, -big), member), delta=1e-5)
    assert bound.epsilon > 2
    assert bound.epsilon <= bound.ceiling


def test_ties_break_by_the_seed_and_not_by_the_coins() -> None:
    # Members first and all scores equal: taking ties in order of storage would guess every coin.
    scores = coins(np.zeros(400), np.arange(400) >= 200)
    assert all(OneRun(guesses=1.0).bound(scores, delta=0.0, seed=seed).epsilon < 0.6 for seed in range(5))


def test_unequal_copies_take_the_largest_group() -> None:
    member = np.arange(200) % 2 == 0
    scores = coins(member.astype(float), member)
    single = OneRun().bound(scores, delta=0.0).epsilon
    mixed = replace(scores, repetitions=np.where(np.arange(200) < 5, 4, 1))
    assert OneRun().bound(mixed, delta=0.0).epsilon == pytest.approx(single / 4, rel=1e-8)


@given(st.lists(st.tuples(ANY, st.booleans()), min_size=1, max_size=40), st.integers(1, 3), st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_scores_give_a_bound_below_the_ceiling(pairs: list[tuple[float, bool]], models: int, centre: bool) -> None:
    score, member = (np.tile(np.array(column), (models, 1)) for column in zip(*pairs, strict=True))
    scores = coins(score.astype(float), member.astype(bool))
    for guesses in (0.25, 1.0):
        bound = OneRun(guesses=guesses, centre=centre).bound(scores, delta=1e-5)
        assert 0 <= bound.epsilon <= bound.ceiling


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=20, max_size=60), st.data())
@settings(max_examples=60, deadline=None)
def test_bound_never_falls_when_an_in_score_rises(pairs: list[tuple[int, bool]], data: st.DataObject) -> None:
    score, member = (np.array(column) for column in zip(*pairs, strict=True))
    score, member = score.astype(float), member.astype(bool)
    which = data.draw(st.integers(0, len(score) - 1))
    raised = score.copy()
    raised[which] += data.draw(st.floats(0, 20)) * (1 if member[which] else -1)
    estimator = OneRun(guesses=0.6, centre=False)
    before = estimator.epsilon(coins(score, member), 0.0, 0.7, 0)
    assert estimator.epsilon(coins(raised, member), 0.0, 0.7, 0) >= before


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_only_the_order_of_scores_counts_without_centring(seed: int) -> None:
    rng = np.random.default_rng(seed)
    member = rng.random((2, 80)) < 0.5
    score = (member + rng.normal(0, 1, member.shape)).round(1)
    estimator = OneRun(centre=False)
    assert estimator.bound(coins(score, member), delta=1e-5) == estimator.bound(coins(score**3, member), delta=1e-5)


def test_randomised_models_are_refused_in_words() -> None:
    with pytest.raises(InputError, match="whole models were randomised"):
        OneRun().bound(Scores.from_arms(np.ones(3), np.zeros(3)), delta=0.0)


def test_bad_values_are_named() -> None:
    with pytest.raises(InputError, match=r"guesses in \(0, 1\], got 0"):
        OneRun(guesses=0)
    with pytest.raises(InputError, match="v = 7, r = 6, m = 10"):
        one_run_epsilon(10, 6, 7, 0.0, 0.95)
