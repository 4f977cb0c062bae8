"""Planted secrets that a model's coin left out: the control on what attacks say of them, and how often it is wrong."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from attacks.scores import Scores
from audit.bounds import REPLACE_ONE
from audit.claim import Claim
from audit.estimators import ExposureRank, Reconstruction, SecretGuess
from audit.estimators.base import Estimator
from audit.estimators.from_secrets import FromSecrets
from audit.estimators.secret_guess import success_ceiling
from audit.evidence_control import LEFT_OUT, evidence_p_values
from audit.results import Outcome
from audit.score_audit import audit_scores
from audit.verdict import CONTROL_ALARM
from canaries.errors import InputError

READING: dict[str, Estimator] = {
    "guessed": SecretGuess(),
    "exposure": ExposureRank(),
    "reconstructed": Reconstruction(prior=1e-6),
}
reading = pytest.mark.parametrize("read", sorted(READING))


def planted(found: NDArray[np.bool_], space: float = 1e6, reference: NDArray[np.bool_] | None = None) -> Scores:
    """Models with fresh secrets, every second canary in; found at bool[models, canaries], scores that tell members."""
    models, canaries = found.shape
    reference = np.zeros(canaries, dtype=bool) if reference is None else reference
    member = np.broadcast_to(np.arange(canaries) % 2 == 0, found.shape) & ~reference
    scores = Scores.from_matrix(member + np.random.default_rng(0).normal(0, 0.3, found.shape), member, "canary")
    evidence = {"guessed": found, "reconstructed": found, "exposure": np.where(found, np.log2(space), 0.0)}
    return replace(
        scores, reference=reference, space=np.full(canaries, space), evidence=evidence, secret_set=np.arange(models)
    )


def only(scores: Scores, read: str) -> Scores:
    return replace(scores, evidence={read: scores.evidence[read]})


@reading
@pytest.mark.parametrize("space", [1e6, 1024.0])
def test_secrets_that_are_found_whether_they_are_in_or_not_refute_nothing(read: str, space: float) -> None:
    estimator = Reconstruction(prior=1 / space) if read == "reconstructed" else READING[read]
    everywhere = only(planted(np.ones((1, 60), dtype=bool), space), read)
    inside = only(planted(np.broadcast_to(np.arange(60) % 2 == 0, (1, 60)), space), read)
    for scores, outcome in ((inside, Outcome.REFUTED), (everywhere, Outcome.INCONCLUSIVE)):
        verdict = audit_scores(scores, 1e-5, 0.95, estimator, Claim(1.0, 1e-5), 0).verdict
        assert verdict is not None
        assert verdict.outcome is outcome
        assert verdict.alarmed is (scores is everywhere)
    assert LEFT_OUT in verdict.reason


def test_so_it_is_where_nothing_was_asked_for_or_the_references_are_as_they_should_be() -> None:
    reference = np.arange(60) >= 58
    for scores, estimator in (
        (planted(np.ones((40, 10), dtype=bool)), None),
        (planted(np.broadcast_to(~reference, (1, 60)), reference=reference), SecretGuess()),
    ):
        verdict = audit_scores(only(scores, "guessed"), 1e-5, 0.95, estimator, Claim(4.0, 1e-5), 0).verdict
        assert verdict is not None
        assert verdict.outcome is Outcome.INCONCLUSIVE
        assert f"scores: guessed{LEFT_OUT}" in verdict.reason


def test_one_secret_of_a_large_space_that_a_model_never_saw_is_enough() -> None:
    found = np.broadcast_to(np.arange(16) % 2 == 0, (3, 16)).copy()
    scores = planted(found, 1e8)
    assert evidence_p_values(scores, ())["guessed" + LEFT_OUT] == 1.0
    found[1, 3] = True  # left out
    p = evidence_p_values(planted(found, 1e8), ())
    assert p["guessed" + LEFT_OUT] < 1e-5
    assert p["exposure" + LEFT_OUT] < 1e-5


def test_scores_that_were_calibrated_on_models_with_the_secret_are_not_tested() -> None:
    scores = planted(np.ones((2, 8), dtype=bool), reference=np.arange(8) >= 6)
    assert {name for name in evidence_p_values(scores, ()) if name.endswith(LEFT_OUT)} == {
        "exposure" + LEFT_OUT,
        "guessed" + LEFT_OUT,
    }
    assert set(evidence_p_values(replace(scores, calibrated="held-out"), ())) == {"exposure", "guessed"}


@pytest.mark.parametrize("estimator", [SecretGuess(), ExposureRank(), Reconstruction(prior=1 / 20)])
def test_a_secret_that_was_never_seen_is_worth_one_at_most(estimator: FromSecrets) -> None:
    """Over all ranks of a space, each as likely; and a single pair is worth what the bound's own test gives it."""
    for k in (2, 3, 20, 1000):
        rank = np.arange(1, k + 1)[None]
        scores = planted(rank == 1, float(k))
        scores = replace(scores, evidence={**scores.evidence, "exposure": math.log2(k) - np.log2(rank)})
        values = estimator.e_values(scores)
        prior = 20 if isinstance(estimator, Reconstruction) else k
        assert values.sum() == pytest.approx(prior) if not isinstance(estimator, ExposureRank) else values.mean() <= 1
        if isinstance(estimator, ExposureRank):
            one = scores.select(np.arange(k) == 0)
            test = estimator.log_p(replace(one, member=np.ones((1, 1), dtype=bool)))
            assert test is not None
            assert values[0, 0] == pytest.approx(math.exp(-test(0.0, 0.0)))


def test_a_canary_without_a_secret_is_left_aside() -> None:
    scores = planted(np.ones((1, 4), dtype=bool), 1e6)
    mixed = replace(scores, space=np.array([1e6, 1.0, 1e6, 1.0]))
    assert not any(name.endswith(LEFT_OUT) for name in evidence_p_values(mixed, ()))  # All that were left out.
    assert evidence_p_values(replace(mixed, space=np.array([1e6, 1.0, 1e6, 1e6])), ())["guessed" + LEFT_OUT] < 2e-6


def test_models_that_hold_what_the_other_lacks_are_no_two_witnesses() -> None:
    """Each of two models gives away, for the secret that it lacks, the one that it holds: right together or not at all.

    One time in k two of k values agree, so a p-value below 1/k would come too often.
    """
    k = 20
    member = np.array([[True, False], [False, True]])
    scores = replace(
        Scores.from_matrix(np.zeros((2, 2)), member, "canary"),
        space=np.full(2, float(k)),
        evidence={"guessed": ~member},
    )
    p = SecretGuess().chance(scores, ~member)
    assert 1 / k <= p < 2 / k
    apart = SecretGuess().chance(replace(scores, secret_set=np.arange(2)), ~member)
    assert 1 / k**2 <= apart < 1 / k


def test_models_that_share_secrets_are_averaged_and_others_multiplied() -> None:
    found = np.zeros((3, 4), dtype=bool)
    found[0, 1] = found[2, 3] = True  # Each one of the two that its model lacks; the model between finds nothing.
    scores = planted(found, 100.0)
    pairs = ~scores.member

    def worth(models: list[int]) -> float:
        return 1 / SecretGuess().chance(scores.take_models(models), pairs[models])

    assert worth([0, 2]) > 5 * worth([0]) > 5
    shared = SecretGuess().chance(replace(scores, secret_set=np.array([7, 7, 3])), pairs)
    nothing = 0.5 * sum((1 - b) ** 2 for b in (0.5, 0.25)) / 2  # The e-value of two wrong guesses.
    assert 1 / shared == pytest.approx((worth([0, 2]) + nothing) / 2)


def drawn(rng: np.random.Generator, epsilon: float, shared: bool, k: int) -> Scores:
    """Models of which each gives a secret that it holds away as (epsilon, 0)-DP allows, and says anything of others.

    Models that share secrets share what they say of those that they lack.
    """
    models, n = 8, 10
    member = rng.random((models, n)) < 0.5
    first = rng.random((models, n)) < success_ceiling(epsilon, 0.0, k, REPLACE_ONE)
    inside = np.where(first, 1, rng.integers(2, k + 1, (models, n)))
    outside = rng.integers(1, k + 1, (1 if shared else models, n)).repeat(models if shared else 1, axis=0)
    rank = np.where(member, inside, outside)
    scores = Scores.from_matrix(rng.normal(size=(models, n)), member, "canary")
    return replace(
        scores,
        space=np.full(n, float(k)),
        evidence={"guessed": rank == 1, "exposure": math.log2(k) - np.log2(rank), "reconstructed": rank == 1},
        secret_set=None if shared else np.arange(models),
    )


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("epsilon", [0.0, 2.0])
def test_sound_audits_are_seldom_refuted_and_seldom_alarmed(shared: bool, epsilon: float) -> None:
    """Claims are true; REFUTED at most as often as stated, alarms as their level, p-values as they say."""
    audits, tests, k, level = 40, 400, 20, 0.1
    rng, count = np.random.default_rng([5, int(shared), int(epsilon)]), Counter[str]()
    estimators: list[Estimator | None] = [None, SecretGuess(), ExposureRank(), Reconstruction(prior=1 / k)]
    for _ in range(tests):
        scores = drawn(rng, epsilon, shared, k)
        for name, p in evidence_p_values(scores, [Reconstruction(prior=1 / k)]).items():
            count[name] += p <= level
    for _ in range(audits):
        scores = drawn(rng, epsilon, shared, k)
        for number, estimator in enumerate(estimators):
            verdict = audit_scores(scores, 0.0, 1 - level, estimator, Claim(max(epsilon, 0.01), 0.0), 0).verdict
            assert verdict is not None
            count[f"refuted {number}"] += verdict.outcome is Outcome.REFUTED
            count[f"alarmed {number}"] += verdict.alarmed
    assert {name for name in count if name.endswith(LEFT_OUT)} == {
        name + LEFT_OUT for name in ("guessed", "exposure", "reconstruction by its prior")
    }
    for name, often in count.items():
        trials = tests if name.endswith(LEFT_OUT) else audits
        stated = CONTROL_ALARM if name.startswith("alarmed") else level
        assert binom.sf(often - 1, trials, stated) > 1e-4, f"{name}: {often} of {trials}"


def test_estimated_ranks_are_not_taken_for_proven_ones() -> None:
    scores = only(planted(np.broadcast_to(np.arange(10) % 2 == 0, (40, 10))), "exposure")
    ones = np.ones(scores.score.shape)
    floor = scores.evidence["exposure"] / 4
    estimated = replace(scores, evidence={**scores.evidence, "exact": 0 * ones})
    with pytest.raises(InputError, match="some exposures are estimates, by the evidence 'exact', and it counts only"):
        ExposureRank().bound(estimated, 1e-5)
    counted = ExposureRank().bound(replace(scores, evidence={**scores.evidence, "exact": ones}), 1e-5)
    proven = ExposureRank().bound(replace(estimated, evidence={**estimated.evidence, "exposure_floor": floor}), 1e-5)
    assert counted.epsilon == ExposureRank().bound(scores, 1e-5).epsilon > proven.epsilon
