"""Metrics against references: scipy, and the uniform law of a p-value."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom, binomtest, kstest
from scipy.stats import t as student

from attacks.scores import Scores
from audit.clustered import unseen
from audit.metrics import association_p_value, clustered_mean, extraction, wilson

FALSE_ALARM = 1e-4
"""How often a sound p-value fails a test of its law; seeds are fixed."""


def coins(rng, shape, shift=0.0, randomised="canary", offsets=0.0):
    models, canaries = shape
    if randomised == "canary":
        member = rng.random(shape) < 0.5
    else:
        member = np.repeat(rng.permutation(np.arange(models) % 2 == 0)[:, None], canaries, axis=1)
    score = rng.normal(shift * member, 1) + offsets * rng.normal(size=canaries)
    return Scores.from_matrix(score, member, randomised=randomised)


NULLS = {
    "one model": ((1, 60), "canary", 0.0),
    "many models": ((12, 10), "canary", 0.0),
    "canaries of their own level": ((12, 10), "canary", 20.0),
    "whole models": ((40, 1), "model", 0.0),
    "whole models of several canaries": ((40, 5), "model", 20.0),
}


@pytest.mark.parametrize(("shape", "randomised", "offsets"), NULLS.values(), ids=NULLS)
def test_the_p_value_is_uniform_where_scores_know_nothing(shape, randomised, offsets):
    p = [
        association_p_value(coins(np.random.default_rng([3, i]), shape, 0.0, randomised, offsets)) for i in range(1000)
    ]
    # Discrete, and normal by approximation: the distance of a perfect law, and 0.02 for the approximation.
    assert kstest(p, "uniform").statistic < 0.07 + 0.02  # kstest: P(D > 0.07) = 1e-4 at n = 1000
    for level in (0.05, 0.01):
        assert np.sum(np.array(p) < level) <= binom.ppf(1 - FALSE_ALARM, 1000, 1.2 * level)


def test_correlated_scores_of_whole_models_raise_no_alarm():
    # All canaries of a model rise and fall together: 40 models are 40 draws, not 200.
    p = []
    for i in range(1000):
        rng = np.random.default_rng([4, i])
        scores = coins(rng, (40, 5), 0.0, "model")
        p.append(association_p_value(replace(scores, score=scores.score + 5 * rng.normal(size=(40, 1)))))
    assert np.sum(np.array(p) < 0.01) <= binom.ppf(1 - FALSE_ALARM, 1000, 0.012)


@pytest.mark.parametrize(("shape", "randomised", "offsets"), NULLS.values(), ids=NULLS)
def test_the_p_value_is_small_where_scores_know_much(shape, randomised, offsets):
    assert association_p_value(coins(np.random.default_rng(5), shape, 3.0, randomised, offsets)) < 1e-5
    assert association_p_value(coins(np.random.default_rng(5), shape, -3.0, randomised, offsets)) > 0.99


def test_equal_scores_and_no_canaries_have_p_value_one():
    member = np.array([[True, False], [False, True]])
    assert association_p_value(Scores.from_matrix(np.zeros((2, 2)), member, "canary")) == 1.0
    assert association_p_value(Scores.from_matrix(np.zeros((2, 0)), member[:, :0], "canary")) == 1.0


@pytest.mark.parametrize(("k", "n"), [(0, 1), (0, 10), (3, 10), (10, 10), (77, 200), (1, 10_000)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.999])
def test_wilson_is_scipy_s(k, n, confidence):
    expected = binomtest(k, n).proportion_ci(confidence, method="wilson")
    found = wilson(k, n, confidence)
    assert found.value == k / n
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_is_exact_at_its_ends():
    assert [wilson(0, n).low for n in range(1, 200)] == [0.0] * 199
    assert [wilson(n, n).high for n in range(1, 200)] == [1.0] * 199


def test_wilson_of_nothing_knows_nothing():
    found = wilson(0, 0)
    assert math.isnan(found.value)
    assert (found.low, found.high) == (0.0, 1.0)


def test_extraction_by_repetitions():
    member = np.array([[1, 0, 1, 1, 1, 0], [1, 1, 0, 1, 0, 1]], dtype=bool)
    extracted = np.array([[0, 0, 1, 1, 0, 0], [0, 0, 1, 0, 0, 0]], dtype=bool)
    exposure = np.array([[1, 9, 8, 10, 2, 4], [3, 5, 9, 6, 4, 2.0]])
    scores = replace(
        Scores.from_matrix(exposure, member, "canary"),
        repetitions=np.array([1, 1, 4, 4, 4, 1]),
        reference=np.array([0, 0, 0, 0, 1, 1], dtype=bool),
        space=np.full(6, 1024.0),
        evidence={"extracted": extracted, "exposure": exposure, "exposure_floor": exposure / 2},
    )
    never, once, four = extraction(scores)
    assert [group.repetitions for group in (never, once, four)] == [0, 1, 4]
    assert [group.secrets for group in (never, once, four)] == [4, 3, 3]  # every reference, and members elsewhere
    assert [group.exposure for group in (never, once, four)] == pytest.approx([3.0, 3.0, 8.0])
    assert [group.exposure_floor for group in (never, once, four)] == pytest.approx([1.5, 1.5, 4.0])
    assert all(math.isnan(group.exposure_cap) for group in (never, once, four))  # the attack does not tell
    assert [group.rate.value for group in (never, once, four)] == pytest.approx([0.0, 0.0, 2 / 3])
    assert four.rate.low <= wilson(2, 3).low  # of three pairs two share a secret, which cannot make it narrower
    assert four.rate.high >= wilson(2, 3).high
    assert {group.exposure_max for group in (never, once, four)} == {10.0}
    # Columns 4 and 5 are references: model means 3 and 3, and what two secrets in two models show is more.
    assert never.exposure_interval.value == never.exposure
    assert (never.exposure_interval.low, never.exposure_interval.high) == (0.0, 10.0)
    assert never.exposure_interval.of_these == "canaries"  # two secrets tell nothing of others
    assert never.auc is None
    assert 0 <= four.auc <= 1


def test_no_extraction_without_its_evidence():
    assert extraction(Scores.from_arms(np.zeros(2), np.zeros(2))) == ()


def test_a_mean_s_interval_is_student_s_over_models():
    means = np.array([2.0, 4.0, 5.0, 9.0])
    values = (means[:, None] + [-0.1, 0.0, 0.1]).ravel()
    models = np.repeat(np.arange(4), 3)
    found = clustered_mean(values, models, np.arange(12), 20.0)
    half = student.isf(0.025, 3) * means.std(ddof=1) / 2
    assert (found.value, found.low, found.high) == pytest.approx((5.0, 5 - half, 5 + half))
    # Two models tell next to nothing of others, and no limit is beyond what is possible.
    two = clustered_mean(values[:6], models[:6], np.arange(6), 20.0)
    assert (two.low, two.high) == (0.0, pytest.approx(3 + student.isf(0.025, 1)))


def test_a_mean_s_interval_allows_for_secrets_within_models_that_look_alike():
    values, models = np.tile([1.0, 3.0, 8.0], 5), np.repeat(np.arange(5), 3)  # equal means of models
    found = clustered_mean(values, models, np.arange(15), 9.0)
    half = student.isf(0.025, 4) * values.std(ddof=1) / math.sqrt(15)
    assert (found.low, found.high) == pytest.approx((4 - half, 4 + half))


def test_a_mean_s_interval_allows_for_shared_secrets_that_differ():
    values, models = np.tile(np.arange(1.0, 7.0), 5), np.repeat(np.arange(5), 6)
    found = clustered_mean(values, models, np.tile(np.arange(6), 5), 7.0)
    between = np.std(np.arange(1, 7), ddof=1) / math.sqrt(6)
    assert found.high - found.value > student.isf(0.025, 5) * between
    assert found.of_these == ""


def test_the_mean_of_one_to_four_shared_secrets_is_of_these():
    """As many models tell it as well of two as of one, and it says that it speaks of no other secrets."""
    rng = np.random.default_rng(0)
    luck, models = np.array([3.0, 9.0, 9.0, 3.0, 1.0]), 200
    widths = []
    for shared in (1, 2, 3, 4, 5):
        values = np.clip(luck[:shared] + rng.normal(size=(models, shared)), 0, 20)
        row, column = np.indices(values.shape).reshape(2, -1)
        found = clustered_mean(values.ravel(), row, column, 20.0)
        assert found.of_these == ("canaries" if shared < 5 else "")
        assert found.low < luck[:shared].mean() < found.high
        widths.append(found.high - found.low)
    assert max(widths[:4]) < 0.7 < 5 < widths[4]


def test_a_mean_s_limits_allow_for_values_that_were_not_seen():
    """For 5% of secrets of which 58 would show none with probability 5%; the more there are, the less."""
    values, models = np.tile([1.0, 2.0], 29), np.repeat(np.arange(2), 29)
    found = clustered_mean(values, np.zeros(58, dtype=int), np.arange(58), 21.5)
    assert unseen(58, 0.95) == pytest.approx(0.0503, abs=1e-4)
    assert (found.value, found.high) == pytest.approx((1.5, 1.5 + 20 * unseen(58, 0.95)))
    assert found.of_these == "models"
    assert clustered_mean(values, models, np.arange(58), 21.5).of_these == ""


def test_a_mean_s_interval_does_not_jump_where_values_become_alike():
    models, secrets = np.array([0, 0, 1, 1]), np.arange(4)
    alike = clustered_mean(np.full(4, 3.0), models, secrets, 20.0)
    nearly = clustered_mean(np.array([3, 3, 3, 3 + 1e-9]), models, secrets, 20.0)
    assert (nearly.low, nearly.high) == pytest.approx((alike.low, alike.high), abs=1e-6)
    assert alike.high - alike.low > 10


def test_the_mean_of_equal_values_has_limits_all_the_same():
    models = np.repeat(np.arange(4), 5)
    found = clustered_mean(np.full(20, 8.0), models, np.arange(20), 8.0)
    assert (found.value, found.high, found.of_these) == (8.0, 8.0, "models")
    assert found.low == pytest.approx(8 * 0.05 ** (1 / 20))
    middle = clustered_mean(np.full(20, 2.0), models, np.tile(np.arange(5), 4), 8.0)
    assert (middle.low, middle.high) == pytest.approx((2 * 0.05**0.2, 2 + 6 * (1 - 0.05**0.2)))
    nothing = clustered_mean(np.zeros(0), models[:0], models[:0], 8.0)
    assert math.isnan(nothing.value)
    assert (nothing.low, nothing.high) == (0.0, 8.0)
