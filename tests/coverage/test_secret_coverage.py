"""Are bounds from exposure ranks above the truth no more often than stated? And intervals of rates narrower?

The mechanisms are simulated, and their epsilon is known: null models, k-ary randomised response, and one that puts a
secret among the likeliest t values without ever naming it.
"""

import math

import numpy as np
import pytest
from scipy.stats import binom

from attacks.scores import Scores
from audit.estimators import ExposureRank, SecretGuess
from audit.metrics import clustered_rate, extraction

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


def measure(estimator, draw, truth):
    """The mean bound; fails where the bound lies above the truth significantly too often."""
    rng = np.random.default_rng(11)
    bounds = np.array([estimator.bound(draw(rng), 0.0, CONFIDENCE).epsilon for _ in range(AUDITS)])
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


@pytest.mark.parametrize(("truth", "between_models", "between_secrets"), [(0.5, 0, 0), (0.4, 1.0, 0), (0.5, 0, 1.0)])
def test_intervals_of_rates_allow_for_clusters(truth, between_models, between_secrets):
    """Coverage of the 95% interval where models, or secrets that models share, differ in their luck."""
    rng, models, n, hits, width = np.random.default_rng(2), 12, 12, 0, []
    for _ in range(AUDITS):
        logit = math.log(truth / (1 - truth)) + between_models * rng.normal(size=(models, 1))
        p = 1 / (1 + np.exp(-(logit + between_secrets * rng.normal(size=(1, n)))))
        success = rng.random((models, n)) < p
        row, column = np.indices((models, n)).reshape(2, -1)
        found = clustered_rate(success.ravel(), row, column)
        average = np.mean(
            1 / (1 + np.exp(-(math.log(truth / (1 - truth)) + (between_models + between_secrets) * GRID)))
        )
        hits += found.low <= average <= found.high
        width.append(found.high - found.low)
    assert hits / AUDITS > 0.9
    plain = 2 * 1.96 * math.sqrt(truth * (1 - truth) / (models * n))
    assert np.mean(width) > (0.95 if between_models + between_secrets == 0 else 1.5) * plain


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
