"""The claim itself under test: how likely are such scores, at most, if what is claimed is true?

What an accountant claims for DP-SGD is a whole trade-off curve, of which (epsilon, delta) is one point. Where a claim
names its mechanism, scores are held against that curve and that point; otherwise against (epsilon, delta) alone.
Nothing is assumed about the mechanism that was really run: a small p-value refutes what was claimed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from attacks.scores import Scores
from audit.claim import Claim
from audit.estimators.base import LEAVE_ONE_OUT
from audit.estimators.calibrated import calibrated_p_value, draws_for, epsilon_delta_statistic, gaussian_statistic
from audit.estimators.calibrated_epsilon_delta import invert_epsilon_delta
from audit.estimators.coins import FAIR_COINS, needs_coins, ordered_coins, right_guesses
from audit.estimators.group import group_privacy
from audit.estimators.independent import INDEPENDENT_RUNS, needs_one_canary
from audit.estimators.one_run_calibrated import CoinTest, leak
from audit.estimators.one_run_fdp import fdp_p_value
from audit.estimators.secret_guess import SecretGuess
from audit.estimators.threshold import Floats
from audit.loss_curve import curve_of
from canaries.errors import InputError

GUESSES = 0.15
"""Share of the coins that are guessed against a trade-off curve; named in advance, as `OneRunFDP` does."""


@dataclass(frozen=True)
class ClaimTest:
    """A test of a claim.

    Attributes:
        p_value: the probability of scores that speak as strongly against the claim, at most, if it is true.
        against: what the scores were held against, in words.
        method: how, in words.
        assumptions: what the test needs of the audit; of the mechanism it needs nothing.
    """

    p_value: float
    against: str
    method: str
    assumptions: tuple[str, ...]


def p_value(scores: Scores, claim: Claim, *, seed: int = 0, level: float = 0.05) -> float:
    """P-value of the claim; see `claim_test`.

    Raises:
        InputError: for scores that cannot test a claim.
    """
    test = claim_test(scores, claim, seed=seed, level=level)
    if test is None:
        raise InputError("These scores cannot test a claim: whole models were randomised, with several canaries each.")
    return test.p_value


def claim_test(scores: Scores, claim: Claim, *, seed: int = 0, level: float = 0.05) -> ClaimTest | None:
    """Hold scores against a claim; None where no test fits them.

    One canary (independent models): all ranks, calibrated on the claim's least favourable mechanism. Coins for each
    canary: right guesses in one run, by Mahloujifar, Melis, Chaudhuri (2024) against a curve and calibrated against
    (epsilon, delta). Guessed secrets are a second test of the same scores, and both are then paid for.

    Args:
        scores: of one attack; references are left out.
        claim: a claim that claims nothing has p-value 1.
        seed: of ties and of the simulation.
        level: what the p-value will be compared with; the simulation is made fine enough for it.

    Raises:
        InputError: for scores that were made from each other's coins.
    """
    if not isinstance(scores, Scores):
        raise InputError(f"Expected Scores, got {type(scores).__name__}; make them by Scores.from_arms or from_matrix.")
    if scores.calibrated == "leave-one-out":
        raise InputError(LEAVE_ONE_OUT)
    scores = scores.select(~scores.reference)
    if not scores.ids:
        return None
    tests = [test for test in (_membership(scores, claim, seed, level), _secrets(scores, claim)) if test]
    if not tests:
        return None
    best = min(tests, key=lambda test: test.p_value)
    method = best.method if len(tests) == 1 else f"{best.method}, paid for as one of {len(tests)} tests"
    return ClaimTest(min(1.0, len(tests) * best.p_value), best.against, method, best.assumptions)


def perfect_scores(scores: Scores, guessing: bool = False) -> Scores:
    """The same coins as a perfect attack would have scored them; `guessing` has it guess the secrets of members too."""
    guessed = guessing and "guessed" in scores.evidence
    evidence = {**scores.evidence, "guessed": scores.member} if guessed else scores.evidence
    return replace(scores, score=np.where(scores.member, np.inf, -np.inf), evidence=evidence)


def could_refute(scores: Scores, claim: Claim, guessing: bool, *, seed: int = 0, level: float = 0.05) -> bool:
    """Whether the claim's test would refute it, at this level, if the attack were perfect.

    Args:
        scores: of one attack; their coins count, and what was guessed unless `guessing`.
        claim: a claim that claims nothing is never refuted.
        guessing: whether the attack was seen to guess secrets where it could. One that guesses none even without noise
            would guess none from any pipeline: then what it guessed is left as it is, and is paid for all the same.
        seed: of ties and of the simulation.
        level: of the test.
    """
    test = claim_test(perfect_scores(scores, guessing), claim, seed=seed, level=level)
    return test is not None and test.p_value <= level


def _membership(scores: Scores, claim: Claim, seed: int, level: float) -> ClaimTest | None:
    if needs_one_canary(scores) is None:
        return _many_runs(scores, claim, seed, level)
    return _one_run(scores, claim, seed, level) if needs_coins(scores) is None else None


def _many_runs(scores: Scores, claim: Claim, seed: int, level: float) -> ClaimTest:
    copies, method = int(scores.repetitions.max()), "all ranks of independent models, calibrated"
    if claim.is_control:
        return ClaimTest(1.0, str(claim), method, INDEPENDENT_RUNS)
    if claim.has_curve:
        invert, against = all_claimed(claim, copies)
        p = calibrated_p_value(scores, gaussian_statistic, invert, draws_for(level), seed)
        return ClaimTest(p, against, method, INDEPENDENT_RUNS)
    epsilon, delta = group_privacy(claim.epsilon, claim.delta, copies)
    p = calibrated_p_value(
        scores,
        lambda ranks: epsilon_delta_statistic(ranks, claim.delta),
        lambda tpr: invert_epsilon_delta(tpr, epsilon, delta),
        draws_for(level),
        seed,
    )
    return ClaimTest(p, str(claim), method, INDEPENDENT_RUNS)


def _one_run(scores: Scores, claim: Claim, seed: int, level: float) -> ClaimTest:
    copies = int(scores.repetitions.max())
    if claim.is_control:
        return ClaimTest(1.0, str(claim), "coins", FAIR_COINS)
    if claim.has_curve:
        invert, against = all_claimed(claim, copies)
        p = fdp_p_value(invert, *right_guesses(scores, GUESSES, True, seed))
        return ClaimTest(p, against, "right guesses about fair coins", FAIR_COINS)
    said = ordered_coins(scores, True, seed)
    spent = leak(said.size, claim.epsilon, claim.delta, copies)
    p = 1.0
    if said.size > 1 and spent < 1:
        p = min(1.0, CoinTest.of(said, draws_for(level), seed).p_value(copies * claim.epsilon) + spent)
    return ClaimTest(p, str(claim), "right guesses about fair coins, all numbers of guesses, calibrated", FAIR_COINS)


def all_claimed(claim: Claim, copies: int) -> tuple[Callable[[Floats], Floats], str]:
    """The least FPR at each TPR under the mechanism's curve and (epsilon, delta) together, and in words what counts.

    An accountant that is right claims the point on the curve; one that is wrong may claim less, and that is a claim
    too. The larger of two convex trade-off functions is one again.
    """
    assert claim.mechanism is not None
    curve = curve_of(claim.mechanism, copies, claim.adjacency)
    epsilon, delta = group_privacy(claim.epsilon, claim.delta, copies)

    def invert(tpr: Floats) -> Floats:
        return np.maximum(curve.invert(tpr), invert_epsilon_delta(tpr, epsilon, delta))

    grid = np.linspace(0, 1, 1001)
    below = (invert(grid) > curve.invert(grid) + 1e-4).any()
    return invert, f"the trade-off curve of {claim.mechanism}" + (f" and {claim}" if below else "")


def _secrets(scores: Scores, claim: Claim) -> ClaimTest | None:
    """Of the right guesses of secrets, by (epsilon, delta) alone."""
    estimator = SecretGuess()
    if estimator.inapplicable(scores) is not None:
        return None
    log_p = None if claim.is_control else estimator.log_p(scores)
    p = 1.0 if log_p is None else math.exp(log_p(claim.epsilon, claim.delta))
    return ClaimTest(p, str(claim), "guessed secrets", estimator.assumptions)
