"""Limits on rates of pairs that depend on each other: true as often as they say, and as before where none does."""

import numpy as np
import pytest
from scipy.stats import binom, norm

from attacks.scores import Scores
from audit.design_effect import INDEPENDENT, DesignEffect, design_effect
from audit.rates import rate_at_least, tpr_at_least

AUDITS, CONFIDENCE, FALSE_ALARM = 600, 0.95, 1e-4


def pairs(models, secrets):
    return tuple(np.indices((models, secrets)).reshape(2, -1))


def test_independent_pairs_are_worth_what_they_count():
    assert design_effect(np.arange(9) % 2 == 0, np.arange(9), np.zeros(9)) == INDEPENDENT
    assert design_effect(np.zeros(0, dtype=bool), np.zeros(0)) == INDEPENDENT
    assert rate_at_least(3, 10, 0.99) == rate_at_least(3, 10, 0.99, INDEPENDENT)


def test_copies_are_worth_one_trial_each():
    """Eight secrets in a hundred models, one of them always extracted: the rate of secrets is known from eight."""
    models, secrets = pairs(100, 8)
    effect = design_effect(secrets == 0, models, secrets)
    assert effect == DesignEffect(pytest.approx(100 * 8 / 7, rel=1e-9), 8)
    assert rate_at_least(100, 800, 0.999, effect) < 0.001 < 0.09 < rate_at_least(100, 800, 0.999)


def test_no_rate_proves_more_than_all_clusters_would():
    models, secrets = pairs(5, 40)
    success = np.arange(200) > 0
    effect = design_effect(success, models, secrets)
    everything = rate_at_least(200, 200, 0.99, design_effect(np.ones(200, dtype=bool), models, secrets))
    assert rate_at_least(199, 200, 0.99, effect) <= everything == pytest.approx(0.01 ** (1 / 5))


@pytest.mark.parametrize(("models", "secrets"), [(8, 6), (40, 8)])
@pytest.mark.parametrize(("by_model", "by_secret"), [(0, 0), (2, 0), (0, 2), (1.5, 1.5)])
def test_coverage_of_a_rate_s_limit(models, secrets, by_model, by_secret):
    rng, (row, column) = np.random.default_rng(0), pairs(models, secrets)
    truth = norm.sf(1 / np.sqrt(1 + by_model**2 + by_secret**2))
    above = 0
    for _ in range(AUDITS):
        level = by_model * rng.normal(size=models)[row] + by_secret * rng.normal(size=secrets)[column]
        success = level + rng.normal(size=row.size) > 1
        found = rate_at_least(int(success.sum()), row.size, CONFIDENCE, design_effect(success, row, column))
        above += found > truth
    assert above <= binom.isf(FALSE_ALARM, AUDITS, 1 - CONFIDENCE)


@pytest.mark.parametrize("randomised", ["model", "canary"])
@pytest.mark.parametrize(("models", "canaries"), [(40, 10), (120, 5)])
def test_coverage_of_the_true_positive_rate_s_limit_where_models_have_a_level(randomised, models, canaries):
    rng, above = np.random.default_rng(1), 0
    for _ in range(AUDITS):
        if randomised == "model":
            member = np.tile(rng.permutation(models)[:, None] < models // 2, (1, canaries))
        else:
            member = rng.random((models, canaries)) < 0.5
        score = rng.normal(size=(models, canaries)) + rng.normal(size=(models, 1))
        above += tpr_at_least(Scores.from_matrix(score, member, randomised), 0.2, CONFIDENCE) > 0.2
    assert above <= binom.isf(FALSE_ALARM, AUDITS, 1 - CONFIDENCE)


def test_the_limit_of_many_models_is_of_use():
    rng = np.random.default_rng(2)
    member = rng.random((64, 40)) < 0.5
    score = rng.normal(size=member.shape) + 0.3 * rng.normal(size=(64, 1)) + 4 * member
    assert tpr_at_least(Scores.from_matrix(score, member, "canary"), 0.1, 0.999) > 0.8
