"""Are bounds from exposure ranks above the truth no more often than stated? And intervals of rates narrower?

The mechanisms are simulated, and their epsilon is known: null models, k-ary randomised response, and one that puts a
secret among the likeliest t values without ever naming it.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom, norm
from scipy.stats import t as student

from attacks.scores import Scores
from audit.estimators import ExposureRank, SecretGuess
from audit.estimators.group import group_privacy
from audit.estimators.secret_guess import success_ceiling
from audit.metrics import clustered_rate, extraction, wilson

AUDITS = 120
CONFIDENCE = 0.9
FALSE_ALARM = 1e-4


def ranks(rng, epsilon, k, t, shape):
    """int64[shape]: 1 to k; among the first t with the probability that (epsilon, 0)-DP allows, uniform otherwise."""
    p = min(math.exp(epsilon) * t / k, 1 - math.exp(-epsilon) * (1 - t / k))
    high = rng.random(shape) < p
    return np.where(high, rng.integers(1, t + 1, shape), rng.integers(t + 1, k + 1, shape))


def scores_of(rank, k, sets, member=None):
    """Scores of models that rank their secrets so; `sets` says which models share secrets."""
    models, n = rank.shape
    member = np.ones((models, n), dtype=bool) if member is None else member
    evidence = {"exposure": np.log2(k) - np.log2(rank), "guessed": rank == 1}
    return Scores(
        tuple(f"s{i}" for i in range(n)), np.zeros((models, n)), member, np.zeros(n, dtype=bool),
        np.ones(n, dtype=np.int64), "canary", np.full(n, float(k)), evidence, secret_set=sets,
    )  # fmt: skip


def measure(estimator, draw, truth, delta=0.0):
    """The mean bound; fails where the bound lies above the truth significantly too often."""
    rng = np.random.default_rng(11)
    bounds = np.array([estimator.bound(draw(rng), delta, CONFIDENCE).epsilon for _ in range(AUDITS)])
    above = int((bounds > truth + 1e-9).sum())
    assert binom.sf(above - 1, AUDITS, 1 - CONFIDENCE) > FALSE_ALARM, f"{above} of {AUDITS} above {truth}"
    return bounds.mean()


@pytest.mark.parametrize(
    ("epsilon", "k", "t", "models", "n", "fresh", "least"),
    [
        (0.0, 10**6, 1, 6, 4, True, 0.0),
        (0.0, 100, 10, 1, 20, True, 0.0),
        (0.0, 16, 1, 8, 3, False, 0.0),
        (2.0, 1000, 1, 40, 1, True, 0.0),
        (4.0, 1000, 1, 40, 1, True, 0.0),
        (4.0, 10**6, 10**4, 40, 1, True, 1.5),
        (8.0, 10**6, 100, 12, 2, True, 3.0),
        (8.0, 10**8, 1000, 12, 2, False, 0.3),
    ],
)
def test_bounds_from_ranks(epsilon, k, t, models, n, fresh, least):
    def draw(rng):
        if fresh:
            return scores_of(ranks(rng, epsilon, k, t, (models, n)), k, np.arange(models))
        return scores_of(np.repeat(ranks(rng, epsilon, k, t, (1, n)), models, axis=0), k, None)  # all models alike

    assert measure(ExposureRank(), draw, epsilon) >= least


@pytest.mark.parametrize("estimator", [SecretGuess(), ExposureRank()], ids=lambda e: e.name)
@pytest.mark.parametrize(("epsilon", "delta"), [(0.5, 1e-3), (2.0, 1e-4)])
@pytest.mark.parametrize("shared", ["within models", "between models", "fully"])
def test_bounds_from_dependent_secrets_in_several_records(estimator, epsilon, delta, shared):
    """Each pair is guessed as often as the group guarantee of its own r allows, but all pairs of a cluster at once.

    "within models": one number decides for all secrets of a model, each model with its own; "between models": one for
    each secret, which all models share; "fully": one for everything.
    """
    k, models, repetitions = 1000, 25, np.array([3, 1, 3, 2])
    p = np.array([success_ceiling(*group_privacy(epsilon, delta, int(r)), k) for r in repetitions])

    def draw(rng):
        luck = rng.random({"within models": (models, 1), "between models": (1, 4), "fully": (1, 1)}[shared])
        first = np.broadcast_to(luck < p, (models, 4))
        rank = np.where(first, 1, rng.integers(2, k + 1, (models, 4)))
        drawn = scores_of(rank, k, np.arange(models) if shared == "within models" else None)
        return replace(drawn, repetitions=repetitions)

    mean = measure(estimator, draw, epsilon, delta)
    if epsilon == 2 and shared == "within models":
        assert mean > 0.3


def test_fresh_secrets_show_more_than_shared_ones():
    rng = np.random.default_rng(0)
    rank = ranks(rng, 8.0, 10**4, 1, (20, 2))
    for estimator in (ExposureRank(), SecretGuess()):
        fresh = estimator.bound(scores_of(rank, 10**4, np.arange(20)), 0.0).epsilon
        shared = estimator.bound(scores_of(rank, 10**4, None), 0.0).epsilon
        assert fresh > shared


def test_a_rank_that_is_only_bounded_counts_as_its_worst():
    rank = np.full((6, 2), 1)
    sure = scores_of(rank, 10**6, np.arange(6))
    unsure = scores_of(rank, 10**6, np.arange(6))
    unsure.evidence["exposure_floor"] = np.zeros((6, 2))
    assert ExposureRank().bound(sure, 0.0).epsilon > 5
    assert ExposureRank().bound(unsure, 0.0).epsilon == 0


@pytest.mark.parametrize(
    ("middle", "models", "fresh", "between_models", "between_secrets"),
    [
        (0.5, 12, False, 0.0, 0.0),
        (0.4, 12, False, 1.0, 0.0),
        (0.5, 12, False, 0.0, 1.0),
        (0.5, 2, True, 1.0, 0.0),
        (0.75, 2, True, 2.0, 0.0),
        (0.5, 5, True, 0.5, 0.0),
        (0.5, 5, True, 2.0, 0.0),
        (0.25, 5, False, 1.0, 0.5),
    ],
)
def test_intervals_of_rates_allow_for_clusters(middle, models, fresh, between_models, between_secrets):
    """Coverage of the 95% interval where models, or secrets that models share, differ in their luck; few models too."""
    rng, n, hits, width = np.random.default_rng(2), 12, [], []
    level, spread = math.log(middle / (1 - middle)), math.hypot(between_models, between_secrets)
    truth = np.mean(1 / (1 + np.exp(-(level + spread * GRID))))
    row, column = np.indices((models, n)).reshape(2, -1)
    for _ in range(AUDITS):
        luck = between_models * rng.normal(size=(models, 1)) + between_secrets * rng.normal(size=(1, n))
        success = rng.random((models, n)) < 1 / (1 + np.exp(-(level + luck)))
        found = clustered_rate(success.ravel(), row, np.arange(models * n) if fresh else column)
        if found.value in (0.0, 1.0):
            continue  # Marked as about these models alone.
        hits.append(found.low <= truth <= found.high)
        width.append(found.high - found.low)
    assert len(hits) > 0.9 * AUDITS
    assert sum(hits) >= binom.ppf(FALSE_ALARM, len(hits), 0.95)
    plain = 2 * 1.96 * math.sqrt(middle * (1 - middle) / (models * n))
    assert np.mean(width) > (0.95 if spread == 0 else 1.5) * plain


def test_a_rate_s_interval_widens_by_student_s_law_where_models_are_few():
    success = np.tile([True, False], 12)  # alike in each model: a design effect of 1
    for models in (2, 3, 12):
        row = np.repeat(np.arange(models), 24 // models)
        found = clustered_rate(success, row, np.arange(24))
        trials = 24 * (norm.isf(0.025) / student.isf(0.025, models - 1)) ** 2
        expected = wilson(trials / 2, trials)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


GRID = np.random.default_rng(0).normal(size=20_000)


def test_intervals_that_are_about_these_models_alone_are_marked():
    def row(success, k=100.0):
        models = len(success)
        scores = scores_of(np.where(success, 1, 9), k, np.arange(models))
        scores.evidence["extracted"] = success
        (found,) = extraction(scores)
        assert found.models == models
        return found.of_these_models(found.rate)

    mixed = np.arange(24).reshape(4, 6) % 3 == 0
    assert not row(mixed)
    assert row(mixed[:1])
    assert row(np.zeros((4, 6), dtype=bool))
    assert row(np.ones((4, 6), dtype=bool))


def test_all_alike_counts_each_secret_once():
    models, secrets = np.indices((5, 8)).reshape(2, -1)
    none = np.zeros(40, dtype=bool)
    shared, fresh = clustered_rate(none, models, secrets), clustered_rate(none, models, np.arange(40))
    assert (shared.value, shared.low) == (fresh.value, fresh.low) == (0, 0)
    assert shared.high == pytest.approx(1.96**2 / (8 + 1.96**2), rel=1e-3)
    assert fresh.high == pytest.approx(1.96**2 / (40 + 1.96**2), rel=1e-3)
    assert math.isnan(clustered_rate(none[:0], models[:0], secrets[:0]).value)
