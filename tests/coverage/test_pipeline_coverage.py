"""The whole pipeline on models that know nothing of the canaries: how often does it accuse them?

Everything is as in a real audit: canaries are planted and coins flipped, models are "trained", several attacks look,
every estimator that fits bounds epsilon, and the best of all of them is held against the claim. What is returned as a
model depends on its seed alone, so epsilon is 0 and any bound above 0 is wrong: at confidence c, at most a share 1 - c
of all audits may have one. A sound pipeline fails a test here with probability at most FALSE_ALARM; seeds are fixed.
"""

import numpy as np
import pytest
from scipy.stats import binom

import attacks
import audit
import canaries
from audit.estimators import ClopperPearson, OneRun
from audit.results import Outcome
from canaries.records import ArrayRecords, Dataset

AUDITS = 50
CONFIDENCE = 0.8
FALSE_ALARM = 1e-4
MOST = int(binom.ppf(1 - FALSE_ALARM, AUDITS, 1 - CONFIDENCE))

RNG = np.random.default_rng(0)
DATA = Dataset("null", *(ArrayRecords(RNG.random((n, 3)), np.arange(n) % 2, 2) for n in (8, 20, 4)))
TINY_CLAIM = audit.Claim(epsilon=1e-6, delta=0.0)
NOISE = attacks.NoiseRobustness(copies=2, scales=(0.1, 0.3))


def ignorant(x, y, seed):
    """A random linear classifier, of its seed alone."""
    direction, shift = np.random.default_rng(seed).normal(size=3), np.random.default_rng([seed, 1]).normal()

    def predict(asked):
        p = 1 / (1 + np.exp(-(asked @ direction - shift)))
        return np.column_stack([1 - p, p])

    return predict


def accused(seed, **design):
    result = audit.run(
        ignorant,
        DATA,
        canaries.Mislabelled(),
        attacks=[attacks.Loss(), NOISE],
        claim=TINY_CLAIM,
        seed=seed,
        confidence=CONFIDENCE,
        **design,
    )
    (cell,) = result.run.cells
    assert len(cell.attacks) == 2
    refuted = result.verdict.outcome is Outcome.REFUTED
    # What is printed as proven must be true as well: no bound above 0 on models of epsilon 0.
    return refuted, max(bound.epsilon for bound in result.bounds) > 0


@pytest.mark.parametrize(
    "design",
    [
        {"models": 4, "count": 12, "references": 0, "estimators": [OneRun()]},
        {"models": 1, "count": 20, "references": 0, "estimators": [OneRun(), OneRun(guesses=1.0)]},
        {"models": 4, "count": 12, "references": 8},
        {"models": 20, "count": 1, "references": 0, "randomise": "model", "estimators": [ClopperPearson()]},
    ],
    ids=["canaries of four models", "canaries of one model", "with the default estimators", "whole models"],
)
def test_claims_that_are_true_are_refuted_no_more_often_than_stated(design):
    found = np.array([accused(seed, **design) for seed in range(AUDITS)])
    refuted, above = found.sum(axis=0)
    assert refuted <= MOST, f"{refuted} of {AUDITS} true claims were refuted"
    assert above <= MOST, f"{above} of {AUDITS} bounds lie above the truth"


def test_the_same_pipeline_does_refute_what_is_false():
    """Otherwise the test above would pass for a pipeline that never accuses anybody."""

    def memorises(x, y, seed):
        seen = {row.tobytes(): label for row, label in zip(x, y, strict=True)}
        return lambda asked: np.array(
            [np.eye(2)[seen[r.tobytes()]] if r.tobytes() in seen else [0.5, 0.5] for r in asked]
        )

    result = audit.run(
        memorises, DATA, canaries.Mislabelled(), [attacks.Loss(), NOISE], 4, TINY_CLAIM, count=12, references=8
    )
    assert result.verdict.outcome is Outcome.REFUTED
