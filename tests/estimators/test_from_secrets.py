"""Bounds for one record and for a whole secret, from one test: they agree, and both hold together."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from attacks.scores import Scores
from audit.bounds import Bound
from audit.estimators import ClopperPearson, ExposureRank, Reconstruction, SecretGuess
from audit.estimators.from_secrets import FromSecrets
from audit.formatting import lower
from audit.score_audit import audit_scores

K = 10**6
ALL: list[FromSecrets] = [SecretGuess(), ExposureRank(), Reconstruction(prior=1 / K)]
each = pytest.mark.parametrize("estimator", ALL, ids=lambda e: e.name)


def found(right: NDArray[np.bool_], copies: NDArray[np.int64] | int) -> Scores:
    """Models with secrets of their own, all inserted; a right one is guessed, first in rank and rebuilt."""
    models, n = right.shape
    scores = Scores.from_matrix(np.zeros((models, n)), np.ones((models, n), dtype=bool), "canary")
    return replace(
        scores,
        repetitions=np.broadcast_to(np.asarray(copies, dtype=np.int64), n),
        space=np.full(n, float(K)),
        secret_set=np.arange(models),
        evidence={"guessed": right, "exposure": np.where(right, math.log2(K), 0.0), "reconstructed": right},
    )


@each
def test_a_secret_in_r_records_leaks_r_times_as_much_as_one_of_them(estimator: FromSecrets) -> None:
    right = np.random.default_rng(0).random((12, 3)) < 0.6
    bound, alone = (estimator.bound(found(right, copies), 0.0) for copies in (5, 1))
    assert alone.whole is None
    assert bound.whole == pytest.approx(alone.epsilon, rel=1e-9)
    assert bound.whole == pytest.approx(5 * bound.epsilon, rel=1e-9)
    assert bound.epsilon > 1


@each
def test_with_delta_a_whole_secret_is_held_against_delta_itself(estimator: FromSecrets) -> None:
    right = np.ones((12, 3), dtype=bool)
    bound = estimator.bound(found(right, 16), 1e-5)
    assert bound.whole == pytest.approx(estimator.bound(found(right, 1), 1e-5).epsilon)
    assert bound.whole > 10 * bound.epsilon > 0


def test_other_estimators_have_no_such_bound() -> None:
    arms = Scores.from_arms(np.ones(30), np.zeros(30))
    assert ClopperPearson().bound(replace(arms, repetitions=np.array([4])), 0.0).whole is None


@pytest.mark.parametrize("estimator", ALL[:2], ids=lambda e: e.name)
def test_both_bounds_hold_together(estimator: FromSecrets) -> None:
    """Secrets in 1 and in 3 records of a mechanism that is epsilon-DP for one record, and 3 epsilon for a whole one."""
    rng, epsilon, copies, audits = np.random.default_rng(3), 3.0, np.array([1, 3]), 120
    p = np.minimum(np.exp(copies * epsilon) / K, 1 - np.exp(-copies * epsilon) * (1 - 1 / K))
    above = 0
    for _ in range(audits):
        bound = estimator.bound(found(rng.random((60, 2)) < p, copies), 0.0, 0.9)
        above += bound.epsilon > epsilon + 1e-9 or bound.whole > 3 * epsilon + 1e-9
    assert binom.sf(above - 1, audits, 0.1) > 1e-4


def test_both_are_printed_and_labelled() -> None:
    scores = found(np.ones((12, 3), dtype=bool), 4)
    member = np.arange(3) < 2
    scores = replace(scores, member=np.tile(member, (12, 1)))
    audit = audit_scores(scores, 1e-5, 0.95, SecretGuess(), None, 0)
    bound: Bound = audit.bounds[0]
    assert f"epsilon >= {lower(bound.epsilon)} at delta 1e-05" in audit.text()
    assert f"of a whole secret, all its records at once, epsilon >= {lower(bound.whole)}" in audit.text()
    assert audit.document()["whole"] == bound.whole
