"""AUC against scikit-learn's, its interval against DeLong's and against its own limits."""

import math

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score

from attacks.scores import Scores
from audit.auc import auc, auc_interval, auc_limits
from canaries.errors import InputError


@pytest.mark.parametrize("decimals", [0, 1, 8])
@pytest.mark.parametrize("shape", [(40,), (6, 30)])
def test_auc_is_scikit_learn_s(shape, decimals):
    rng = np.random.default_rng(1)
    member = rng.random(shape) < 0.3
    score = (rng.normal(size=shape) + member).round(decimals)
    assert auc(score, member) == pytest.approx(roc_auc_score(member.ravel(), score.ravel()))


def test_auc_at_its_ends():
    member = np.array([True, True, False, False])
    assert auc(np.array([np.inf, 1, 0, -np.inf]), member) == 1.0
    assert auc(np.array([0.0, 0, 1, 1]), member) == 0.0
    assert auc(np.zeros(4), member) == 0.5
    assert math.isnan(auc(np.zeros(4), np.ones(4, dtype=bool)))


def delong(ins, outs):
    """AUC and its standard error, straight from the definition of DeLong et al. (1988)."""
    above = (ins[:, None] > outs) + 0.5 * (ins[:, None] == outs)
    variance = above.mean(axis=1).var(ddof=1) / len(ins) + above.mean(axis=0).var(ddof=1) / len(outs)
    return above.mean(), math.sqrt(variance)


@pytest.mark.parametrize("decimals", [0, 8])
@pytest.mark.parametrize(("shift", "spread"), [(0.0, 1.0), (0.2, 1.0), (1.0, 1.0), (1.0, 2.5), (2.0, 1.0)])
def test_of_many_models_of_one_canary_the_interval_is_delong_s(shift, spread, decimals):
    rng = np.random.default_rng(0)
    ins, outs = rng.normal(shift, spread, 500).round(decimals), rng.normal(0, 1, 500).round(decimals)
    value, error = delong(ins, outs)
    found = auc_interval(Scores.from_arms(ins, outs))
    assert found.value == pytest.approx(value)
    assert (found.low, found.high) == pytest.approx((value - 1.96 * error, value + 1.96 * error), abs=0.004)
    assert (found.high - found.low) / (2 * 1.96 * error) == pytest.approx(1, abs=0.03)


def test_models_that_differ_widen_it_as_leaving_each_out_does():
    rng = np.random.default_rng(1)
    member = rng.random((60, 40)) < 0.5
    score = rng.normal(size=(60, 40)) + rng.normal(1.5, 1.0, (60, 1)) * member
    scores = Scores(**{**vars(Scores.from_matrix(score, member, "canary")), "secret_set": np.arange(60)})
    found = auc_interval(scores, centre=False)
    without = [auc(np.delete(score, i, 0), np.delete(member, i, 0)) for i in range(60)]
    jackknife = math.sqrt(59 / 60 * np.sum((np.array(without) - np.mean(without)) ** 2))
    assert found.high - found.low == pytest.approx(2 * student.isf(0.025, 59) * jackknife, rel=0.03)
    assert jackknife > 2 * delong(score[member], score[~member])[1]


@pytest.mark.parametrize(("models", "canaries"), [(1, 40), (5, 8), (40, 1), (2, 20)])
def test_an_auc_of_one_has_limits_all_the_same(models, canaries):
    """Newcombe's for members and non-members, and nothing is taken for a pair but what is one secret or one model."""
    member = (np.arange(models * canaries) % 2 == 0).reshape(models, canaries)
    fresh = Scores.from_matrix(member.astype(float), member, "canary")
    fresh = Scores(**{**vars(fresh), "secret_set": np.arange(models)})
    found = auc_interval(fresh)
    (low,), _ = auc_limits(np.array([1.0]), np.array([20]), np.array([20]), norm.isf(0.025))
    assert (found.value, found.low, found.high) == (1.0, pytest.approx(low), 1.0)
    assert 0.85 < found.low < 0.95
    (mirrored,) = auc_limits(np.array([0.0]), np.array([20]), np.array([20]), norm.isf(0.025))[1]
    turned = auc_interval(Scores(**{**vars(fresh), "score": -fresh.score}))
    assert (turned.value, turned.low, turned.high) == (0.0, 0.0, pytest.approx(mirrored))


def test_secrets_that_models_share_count_once_at_an_auc_of_one():
    member = np.random.default_rng(0).random((5, 8)) < 0.5
    scores = Scores.from_matrix(member.astype(float), member, "canary")
    shared, fresh = auc_interval(scores), auc_interval(Scores(**{**vars(scores), "secret_set": np.arange(5)}))
    assert shared.value == fresh.value == 1.0
    assert shared.low < fresh.low - 0.05


def test_scores_that_are_all_equal_have_an_interval():
    for shape in ((1, 20), (5, 8), (40, 1)):
        member = (np.arange(math.prod(shape)) % 2 == 0).reshape(shape)
        found = auc_interval(Scores.from_matrix(np.zeros(shape), member, "canary"))
        assert found.value == 0.5
        assert 0.5 - found.low == pytest.approx(found.high - 0.5)
        assert 0.05 < found.high - found.low < 0.4


def test_the_interval_is_wider_for_more_confidence_and_says_nothing_of_one_side():
    rng = np.random.default_rng(0)
    member = rng.random((10, 8)) < 0.5
    scores = Scores.from_matrix(rng.normal(size=(10, 8)) + member, member, "canary")
    narrow, wide = auc_interval(scores, 0.9), auc_interval(scores, 0.99)
    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high
    one_side = Scores.from_matrix(np.zeros((2, 3)), np.ones((2, 3), dtype=bool), "canary")
    assert math.isnan(auc_interval(one_side).value)
    with pytest.raises(InputError, match=r"confidence in \(0, 1\), got 1"):
        auc_interval(scores, 1)


def arms(models, inside, level, canaries=40, seed=0):
    """Members and non-members alike, whole models randomised, and levels that differ between models."""
    rng = np.random.default_rng(seed)
    member = np.broadcast_to((np.arange(models) < inside)[:, None], (models, canaries))
    return Scores.from_matrix(
        rng.normal(size=(models, canaries)) + level * rng.normal(size=(models, 1)), member, "model"
    )


@pytest.mark.parametrize(("models", "inside"), [(2, 1), (3, 1), (3, 2), (10, 1), (5, 4)])
def test_one_model_on_a_side_tells_nothing_and_is_marked(models, inside):
    for level in (0.0, 1.0, 50.0):  # at 50 the AUC is 0 or 1 with some of them
        found = auc_interval(arms(models, inside, level))
        assert (found.low, found.high, found.of_these) == (0.0, 1.0, "models")


def test_an_auc_of_one_of_whole_models_counts_models_not_secrets():
    for models, low in ((4, 0.4), (10, 0.7), (60, 0.9)):
        scores = arms(models, models // 2, 0.0)
        found = auc_interval(Scores(**{**vars(scores), "score": scores.member.astype(float)}))
        assert (found.value, found.of_these) == (1.0, "models")
        assert low - 0.1 < found.low < low + 0.1


def test_of_one_to_four_shared_canaries_the_interval_is_of_these():
    """The question is the same of two canaries as of one, and the answer says which it is."""
    rng, widths = np.random.default_rng(3), []
    shift = np.array([0.2, 1.8, 1.0, 0.5, 1.5])
    for canaries in (1, 2, 4, 5):
        member = rng.random((500, canaries)) < 0.5
        found = auc_interval(
            Scores.from_matrix(rng.normal(size=member.shape) + member * shift[:canaries], member, "canary")
        )
        assert found.of_these == ("canaries" if canaries < 5 else "")
        widths.append(found.high - found.low)
    assert max(widths[:3]) < 0.12
    assert widths[3] > 0.25
    alone = Scores.from_matrix(rng.normal(size=(1, 4)), np.array([[True, False, True, False]]), "canary")
    assert auc_interval(alone).of_these == "models"
    perfect = auc_interval(Scores.from_arms(np.ones(30), np.zeros(30)))
    assert (perfect.value, perfect.of_these) == (1.0, "canaries")


def test_near_one_models_that_differ_widen_it_towards_chance():
    """As some of them may be at 1/2: a share that five would miss, times what of their differences is not chance."""
    rng = np.random.default_rng(0)
    member = rng.random((5, 40)) < 0.5

    def interval(shifts):
        scores = Scores.from_matrix(noise + member * np.array(shifts)[:, None], member, "canary")
        return auc_interval(Scores(**{**vars(scores), "secret_set": np.arange(5)}))

    noise = rng.normal(size=(5, 40))
    alike, differ = interval([4.0] * 5), interval([9.0, 9.0, 9.0, 9.0, 2.5])
    assert 0.99 < alike.value < differ.value < 1
    assert alike.low > 0.94
    assert 0.75 < differ.low < 0.9
