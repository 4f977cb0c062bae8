"""The verdict on a file of scores: estimators that read evidence are judged by the evidence, others by the scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from attacks.scores import Scores
from audit.claim import Claim
from audit.estimators import ExposureRank, OneRun, Reconstruction, SecretGuess
from audit.estimators.base import Estimator
from audit.results import Outcome, Verdict
from audit.score_audit import audit_scores

READING: dict[str, tuple[Estimator, str]] = {
    "guessed": (SecretGuess(), "secret-guess"),
    "reconstructed": (Reconstruction(prior=1e-6), "reconstruction"),
    "exposure": (ExposureRank(), "exposure-rank"),
}


def silent(found: float, space: float = 1e6, canaries: int = 10) -> Scores:
    """One model whose scores are all alike; of the secrets in it this share is found."""
    member = np.arange(canaries)[None] % 2 == 1
    said = member & (np.arange(canaries) // 2 < found * canaries / 2)
    evidence = {"guessed": said, "reconstructed": said, "exposure": np.where(said, np.log2(space), 0.0)}
    scores = Scores.from_matrix(np.ones((1, canaries)), member, "canary")
    return replace(scores, space=np.full(canaries, space), evidence=evidence)


def verdict(scores: Scores, epsilon: float, estimator: Estimator | None) -> Verdict:
    found = audit_scores(scores, 1e-7, 0.95, estimator, Claim(epsilon, 1e-7), 0).verdict
    assert found is not None
    return found


@pytest.mark.parametrize("read", sorted(READING))
def test_found_secrets_speak_where_the_scores_are_all_alike(read: str) -> None:
    estimator, name = READING[read]
    bound = audit_scores(silent(1.0), 1e-7, 0.95, estimator, None, 0).bounds[0].epsilon
    assert bound > 5
    found = verdict(silent(1.0), bound - 0.1, estimator)
    assert found.outcome is Outcome.REFUTED
    assert f"estimator {name}" in found.reason
    found = verdict(silent(1.0), bound + 0.1, estimator)
    assert found.outcome is Outcome.NOT_REFUTED
    assert found.lower_bound == bound


@pytest.mark.parametrize("read", sorted(READING))
def test_secrets_that_are_not_found_say_nothing_whatever_the_scores_tell(read: str) -> None:
    estimator, name = READING[read]
    scores = silent(0.0, canaries=60)
    telling = replace(scores, score=scores.member.astype(float))
    for one in (scores, telling):
        found = verdict(one, 4.0, estimator)
        assert found.outcome is Outcome.INCONCLUSIVE
        assert found.reason == (
            f"The evidence '{read}', which {name} reads, shows nothing at confidence 99.9%, so nothing follows from it."
        )
    assert verdict(telling, 1.0, OneRun()).outcome is Outcome.NOT_REFUTED


def test_a_small_space_cannot_show_that_the_attack_works_but_its_bound_holds() -> None:
    found = verdict(silent(1.0, space=100.0), 1.0, SecretGuess())
    assert found.outcome is Outcome.REFUTED
    found = verdict(silent(1.0, space=100.0), 2.0, SecretGuess())
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.reason == (
        "Epsilon is at least 1.60 by secret-guess (confidence 95%). There is too little of the evidence 'guessed', "
        "which secret-guess reads, to tell whether the attack works: not even a perfect one would show anything at "
        "confidence 99.9%."
    )


def test_evidence_that_shows_something_but_too_little_is_told_with_its_bound() -> None:
    fresh = replace(silent(0.5, 2000.0, 4), score=np.ones((1, 4)))  # One of two, in one cluster: half of what all show.
    bound = audit_scores(fresh, 1e-7, 0.95, SecretGuess(), None, 0).bounds[0].epsilon
    assert 0 < bound < np.log(0.05 * 2000)
    found = verdict(fresh, 30.0, SecretGuess())
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.reason == (
        "Epsilon is at least 3.91 by secret-guess (confidence 95%). The evidence 'guessed', which secret-guess reads, "
        "shows nothing at confidence 99.9%, so nothing more follows from it."
    )


def test_scores_that_are_all_alike_beside_guesses_deny_no_bound() -> None:
    found = verdict(silent(1.0, canaries=60), 30.0, None)
    assert found.outcome is Outcome.INCONCLUSIVE
    # Of two bounds at 95% that were chosen from, each is taken at 97.5%: ln 2 less than by secret-guess alone.
    assert found.reason.startswith(
        "Epsilon is at least 10.1 by secret-guess (confidence 95%, the largest of 2 bounds that hold together). The "
        "scores do not show membership (p"
    )
    assert found.reason.endswith("so nothing more follows from them.")
    found = verdict(silent(0.0, canaries=60), 30.0, None)
    assert found.reason == "The scores do not show membership (p = 1, not below 0.001), so nothing follows from them."
    few = verdict(silent(0.0, canaries=4), 30.0, None)
    assert few.reason == "There are too few scores to tell anything of membership: not even a perfect attack's would."


def test_an_alarm_is_not_hidden_by_silence() -> None:
    scores = silent(0.0, canaries=60)
    reference = np.arange(60) >= 40
    member = scores.member & ~reference
    leaked = reference[None] & (np.arange(60) % 2 == 0)
    broken = replace(scores, reference=reference, member=member, evidence={"guessed": leaked})
    found = verdict(broken, 4.0, SecretGuess())
    assert found.alarmed
    assert found.reason.startswith("Secrets were found more often than chance allows in models that never saw them")
