"""The negative control on what attacks say of secrets: silent under the null, loud where the audit errs."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from attacks.scores import Scores
from audit.analysis import AttackKind, CellScores, RunScores, analyse
from audit.claim import Claim
from audit.defaults import default_estimators
from audit.estimators import OneRun, Reconstruction, SecretGuess
from audit.estimators.base import Estimator
from audit.evidence_control import evidence_p_values, unproven
from audit.policy import Policy
from audit.results import Outcome
from audit.score_audit import audit_scores
from canaries.errors import InputError

KIND = AttackKind("extraction", "extraction", "token-log-probabilities")


def null(rng: np.random.Generator, k: int, shared: bool, draws: int = 3) -> Scores:
    """Never-inserted secrets of 6 models; where models share secrets they share their guesses too."""
    models, n = 6, 8
    rank = rng.integers(1, k + 1, (1 if shared else models, n)).repeat(models if shared else 1, axis=0)
    several = (rng.integers(1, k + 1, (draws, models, n)) == rank).any(axis=0)
    return Scores(
        tuple(f"c{i}" for i in range(n)), np.zeros((models, n)), np.zeros((models, n), dtype=bool),
        np.ones(n, dtype=bool), np.full(n, 16), "canary", np.full(n, float(k)),
        {
            "guessed": rank == 1, "top_1": rank == 1, "top_4": rank <= 4, "extracted": several,
            "guesses": np.full((models, n), float(draws)), "exposure": math.log2(k) - np.log2(rank),
            "reconstructed": rank == 1,
        },
        secret_set=None if shared else np.arange(models),
    )  # fmt: skip


@pytest.mark.parametrize("shared", [False, True])
def test_under_the_null_small_p_values_are_rare(shared: bool) -> None:
    rng, audits, level = np.random.default_rng(1), 200, 0.1
    low = dict.fromkeys(evidence_p_values(null(rng, 20, shared), [Reconstruction(prior=1 / 20)]), 0)
    assert set(low) == {"guessed", "top_1", "top_4", "extracted", "exposure", "reconstruction by its prior"}
    for _ in range(audits):
        for name, p in evidence_p_values(null(rng, 20, shared), [Reconstruction(prior=1 / 20)]).items():
            low[name] += p <= level
    for name, count in low.items():
        assert binom.sf(count - 1, audits, level) > 1e-4, f"{name}: {count} of {audits}"


@pytest.mark.parametrize("name", ["guessed", "top_4", "extracted", "exposure"])
def test_one_secret_of_a_large_space_that_is_found_is_enough(name: str) -> None:
    scores = null(np.random.default_rng(2), 10**8, False)
    sound = evidence_p_values(scores, ())
    assert min(sound.values()) > 0.05
    leaked = scores.evidence[name].astype(float)
    leaked[2, 3] = math.log2(10**8) if name == "exposure" else 1.0
    p = evidence_p_values(replace(scores, evidence={**scores.evidence, name: leaked}), ())
    assert p[name] < 1e-4
    assert {other: p[other] for other in p if other != name} == {o: sound[o] for o in sound if o != name}


def test_several_draws_are_allowed_more_than_one() -> None:
    rng = np.random.default_rng(3)
    scores = null(rng, 100, False, draws=50)
    assert scores.evidence["extracted"].mean() > 0.3
    assert evidence_p_values(scores, ())["extracted"] > 1e-3
    alone = {name: array for name, array in scores.evidence.items() if name != "guesses"}
    assert evidence_p_values(replace(scores, evidence=alone), ())["extracted"] < 1e-3


def test_evidence_that_is_not_a_number_is_refused() -> None:
    scores = null(np.random.default_rng(9), 100, False)
    exposure = scores.evidence["exposure"].copy()
    exposure[1, 2] = math.nan
    with pytest.raises(InputError, match="Evidence 'exposure' must not be NaN: model 1, canary 'c2' is"):
        replace(scores, evidence={"exposure": exposure})


def test_no_draws_are_allowed_as_much_as_one() -> None:
    scores = null(np.random.default_rng(8), 100, False, draws=1)
    none = {**scores.evidence, "guesses": np.zeros(scores.score.shape)}
    assert evidence_p_values(replace(scores, evidence=none), ()) == evidence_p_values(scores, ())


def test_a_prior_that_is_too_small_shows() -> None:
    scores = null(np.random.default_rng(4), 2, False)
    assert evidence_p_values(scores, [Reconstruction(prior=0.5)])["reconstruction by its prior"] > 1e-3
    assert evidence_p_values(scores, [Reconstruction(prior=0.01)])["reconstruction by its prior"] < 1e-3
    assert evidence_p_values(replace(scores, space=np.ones(8), evidence={}), [SecretGuess()]) == {}


def planted(seed: int, leak: bool, right: float) -> Scores:
    """Half of the canaries are references; `leak` guesses one of those, whose scores say nothing."""
    rng, models, n = np.random.default_rng(seed), 6, 32
    reference = np.arange(n) >= n // 2
    member = (rng.random((models, n)) < 0.5) & ~reference
    guessed = member & (rng.random((models, n)) < right)
    guessed[1, -1] = leak
    return Scores(
        tuple(f"c{i}" for i in range(n)), rng.normal(3.0 * right * member), member, reference,
        np.ones(n, dtype=np.int64), "canary", np.full(n, 1e8), {"guessed": guessed}, secret_set=np.arange(models),
    )  # fmt: skip


def judge(leak: bool, estimators: tuple[Estimator, ...] = (SecretGuess(),)) -> RunScores:
    cells = tuple(
        CellScores("text", Claim(epsilon, 1e-5), 1.0, 6, {KIND: planted(seed, leak and math.isinf(epsilon), right)},
                   {}, {}, estimators)
        for seed, epsilon, right in ((0, 30.0, 0.2), (1, math.inf, 1.0))
    )  # fmt: skip
    return RunScores("run", cells, 1e-5, 0.95, 0, Policy(least_power=0.1))


def test_a_run_whose_never_inserted_secrets_are_found_is_inconclusive() -> None:
    assert analyse(judge(leak=False)).verdict.outcome is Outcome.NOT_REFUTED
    verdict = analyse(judge(leak=True)).verdict
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "Secrets were found more often than chance allows in models that never saw them" in verdict.reason
    assert "extraction: guessed" in verdict.reason
    cell = analyse(judge(leak=True)).cells[0]
    assert cell.verdict is not None
    assert cell.verdict.alarmed


def test_a_claim_is_not_refuted_by_scores_whose_references_were_guessed() -> None:
    for leak, outcome in ((False, Outcome.REFUTED), (True, Outcome.INCONCLUSIVE)):
        audit = audit_scores(planted(5, leak, 1.0), 1e-5, 0.95, SecretGuess(), Claim(2.0, 1e-5), 0)
        assert audit.verdict is not None
        assert audit.verdict.outcome is outcome


def silent(guessed: float, estimators: tuple[Estimator, ...], claimed: float = 30.0) -> RunScores:
    """A run whose scores tell members, less so with noise, and whose guesses are right in this share without noise."""

    def cell(seed: int, epsilon: float) -> CellScores:
        share = 1.0 if math.isinf(epsilon) else 0.0
        scores = planted(seed, False, max(share, 0.3))
        said = scores.member & (np.random.default_rng(seed).random(scores.member.shape) < share * guessed)
        return CellScores(
            "text", Claim(epsilon, 1e-5), 1.0, 6, {KIND: replace(scores, evidence={"guessed": said})},
            {}, {}, estimators,
        )  # fmt: skip

    return RunScores("run", (cell(0, claimed), cell(1, math.inf)), 1e-5, 0.95, 0, Policy(least_power=0.05))


def test_an_attack_that_never_guesses_without_noise_gives_no_green_light() -> None:
    blind, sighted = (analyse(silent(share, (SecretGuess(),))).verdict for share in (0.0, 0.7))
    assert sighted.outcome is Outcome.NOT_REFUTED
    assert blind.outcome is Outcome.INCONCLUSIVE
    assert "proves nothing even without noise, so it does not count: secret-guess of attack extraction" in blind.reason
    (tested,) = analyse(silent(0.0, (SecretGuess(),), 2.0)).cells[:1]  # coins enough for the claim's own test
    assert tested.verdict is not None
    assert tested.verdict.outcome is Outcome.NOT_REFUTED
    assert "the test of the claim itself: that is the power this verdict rests on" in tested.verdict.reason


def test_the_verdict_names_the_test_that_carries_its_power() -> None:
    both = (SecretGuess(), OneRun())
    found = analyse(silent(0.0, both, 15.0)).cells[0].verdict
    alone = analyse(silent(0.0, (OneRun(),), 15.0)).cells[0].verdict
    assert found is not None
    assert alone is not None
    assert found.outcome is alone.outcome is Outcome.NOT_REFUTED
    assert "The verdict rests on estimator one-run of attack extraction." in found.reason
    assert found.ceiling == pytest.approx(alone.ceiling, rel=0.2)  # as if the blind one were not there
    assert "rests on" not in alone.reason


def test_scores_whose_guesses_prove_nothing_are_inconclusive() -> None:
    scores = planted(6, False, 1.0)
    none = replace(scores, evidence={"guessed": np.zeros_like(scores.member)})
    audit = audit_scores(none, 1e-5, 0.95, SecretGuess(), Claim(8.0, 1e-5), 0)
    assert audit.verdict is not None
    assert audit.verdict.outcome is Outcome.INCONCLUSIVE


def test_unproven_are_estimators_from_secrets_whose_bounds_are_all_zero() -> None:
    scores = planted(7, False, 1.0)
    none = replace(scores, evidence={"guessed": np.zeros_like(scores.member)})
    estimators = (SecretGuess(), SecretGuess(bet=0.25), OneRun())
    some, zero = ([e.bound(s, 1e-5) for e in estimators] for s in (scores, none))
    assert unproven(some, estimators) == frozenset()
    assert unproven(zero, estimators) == {"secret-guess"}
    assert unproven([zero[0], some[1]], estimators) == frozenset()


def cell(epsilon: float, shift: float, guessed: NDArray[np.bool_] | None) -> CellScores:
    """One model with 20 canaries, half of them in, and 20 references; their secrets have 1e8 values."""
    rng = np.random.default_rng(0)
    reference = np.arange(40) >= 20
    member = np.where(reference, rng.random(40) < 0.5, np.arange(40) % 2 == 0)[None]
    scores = Scores.from_matrix(rng.normal(size=(1, 40)) + shift * (member & ~reference), member, "canary")
    scores = replace(
        scores,
        reference=reference,
        space=np.full(40, 1e8),
        evidence={} if guessed is None else {"guessed": guessed & member & ~reference},
    )
    estimators = default_estimators(scores.select(~reference), 1e-5, 0.95)
    return CellScores("text", Claim(epsilon, 1e-5), None, 1, {KIND: scores}, {}, {}, estimators)


def test_guesses_that_prove_nothing_without_noise_lend_the_claims_test_no_power() -> None:
    """The power that a perfect attack would have by guesses in the claim's test counts where their bound does."""
    none, all_of_them = np.zeros(40, dtype=bool), np.ones(40, dtype=bool)
    found = {}
    for name, without_noise in (("no guesses", None), ("blind", none), ("guessing", all_of_them)):
        cells = (cell(8.0, 0.2, None if without_noise is None else none), cell(math.inf, 6.0, without_noise))
        found[name] = analyse(RunScores("run", cells, 1e-5, 0.95, 0, Policy())).verdict
    assert {name: verdict.outcome for name, verdict in found.items()} == {
        "no guesses": Outcome.INCONCLUSIVE,
        "blind": Outcome.INCONCLUSIVE,
        "guessing": Outcome.NOT_REFUTED,
    }
    assert "below 25% of the claimed 8" in found["blind"].reason


def test_nor_do_guesses_of_a_file_of_scores() -> None:
    member = (np.arange(20) % 2 == 0)[None]
    scores = Scores.from_matrix(np.random.default_rng(0).normal(size=(1, 20)) + 3 * member, member, "canary")
    scores = replace(scores, space=np.full(20, 1e8))
    for evidence, outcome in (
        ({}, Outcome.INCONCLUSIVE),
        ({"guessed": 0 * member}, Outcome.INCONCLUSIVE),
        ({"guessed": member & (np.arange(20) < 4)}, Outcome.NOT_REFUTED),
    ):
        verdict = audit_scores(replace(scores, evidence=evidence), 1e-5, 0.95, None, Claim(14.0, 1e-5), 0).verdict
        assert verdict is not None
        assert verdict.outcome is outcome, verdict.reason


def test_evidence_that_the_control_lacks_is_not_taken_for_proven() -> None:
    guessing = np.ones(40, dtype=bool)
    cells = (cell(8.0, 0.2, ~guessing), replace(cell(math.inf, 6.0, None), estimators=(OneRun(), SecretGuess())))
    verdict = analyse(RunScores("run", cells, 1e-5, 0.95, 0, Policy())).verdict
    assert verdict.outcome is Outcome.INCONCLUSIVE
