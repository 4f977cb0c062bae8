"""Scores made elsewhere: bounds, and a verdict where something is claimed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from attacks.scores import Scores
from audit import registry
from audit.auc import auc_interval
from audit.bounds import ADD_OR_REMOVE_ONE, Bound, Estimate
from audit.claim import Claim
from audit.claim_test import ClaimTest, claim_test, could_refute, perfect_scores
from audit.combine import simultaneous_confidence
from audit.defaults import default_estimators, why_default
from audit.estimates import GaussianFit, JointBeta
from audit.estimators.base import Estimator
from audit.estimators.calibrated_loss_curve import CalibratedLossCurve
from audit.estimators.independent import needs_one_canary
from audit.evidence_control import evidence_p_values, guesses_prove, unproven
from audit.formatting import confidence as shown_confidence
from audit.formatting import lower, upper
from audit.mechanism import DPSGD
from audit.metrics import association_p_value
from audit.pld import pld_epsilon
from audit.policy import Policy
from audit.results import AttackResult, Interval, Outcome, Verdict
from audit.verdict import CONTROL_ALARM, Controls, judge, read_controls
from canaries.errors import InputError


@dataclass(frozen=True, eq=False)
class ScoreAudit:
    """What scores prove.

    Attributes:
        bounds: the headline first; each holds at its own confidence.
        chosen_because: why these estimators.
        auc: membership AUC with its interval.
        verdict: None where nothing was claimed.
        estimates: of epsilon; they prove nothing.
        claim_test: the claim held against the scores; None where nothing was claimed, or an estimator asked for.
    """

    bounds: tuple[Bound, ...]
    chosen_because: str
    auc: Interval
    verdict: Verdict | None
    estimates: tuple[Estimate, ...] = ()
    claim_test: ClaimTest | None = None

    def document(self) -> dict[str, Any]:
        """Plain data; the headline's fields stand at the top."""
        return asdict(self.bounds[0]) | {
            "others": [asdict(bound) for bound in self.bounds[1:]],
            "chosen_because": self.chosen_because,
            "auc": asdict(self.auc),
            "verdict": None if self.verdict is None else asdict(self.verdict),
            "estimates": [asdict(estimate) for estimate in self.estimates],
            "claim_test": None if self.claim_test is None else asdict(self.claim_test),
        }

    def text(self) -> str:
        """For the terminal."""
        lines = []
        for bound in self.bounds:
            mark = f" (only if {bound.assumptions[-1]}; no verdict rests on it)" if bound.parametric else ""
            lines.append(
                f"epsilon >= {lower(bound.epsilon)} at delta {bound.delta:g}, confidence {bound.confidence:g}: "
                f"{bound.estimator}{mark}; a perfect attack could have shown {upper(bound.ceiling)} at most"
            )
            if bound.whole is not None:
                lines[-1] += f"; of a whole secret, all its records at once, epsilon >= {lower(bound.whole)}"
        headline = self.bounds[0]
        lines += [self.chosen_because, "assumes: " + "; ".join(headline.assumptions)]
        if headline.corrected_for:
            lines.append("paid for: " + "; ".join(headline.corrected_for))
        lines.append(f"membership AUC {self.auc.value:.3f} [{self.auc.low:.3f}, {self.auc.high:.3f}]")
        for estimate in self.estimates:
            lines.append(
                f"estimate, no bound: epsilon {estimate.epsilon:.4g} [{estimate.low:.4g}, {estimate.high:.4g}] "
                f"by {estimate.estimator} ({estimate.caveat})"
            )
        if self.claim_test is not None:
            lines.append(f"p = {self.claim_test.p_value:.3g} against {self.claim_test.against}")
        return "\n".join(lines + ([] if self.verdict is None else [str(self.verdict)]))


def audit_scores(
    scores: Scores,
    delta: float,
    confidence: float,
    estimator: Estimator | str | None,
    claim: Claim | None,
    seed: int,
) -> ScoreAudit:
    """Bound epsilon from scores, by the named estimator or by what fits them.

    The verdict rests on the test of the claim itself; on the headline where an estimator was asked for by name.
    There is no model without noise to show that the attack works, so what the verdict rests on has to show it itself:
    where the scores tell nothing of membership, or an estimator that was asked for and reads evidence in their place
    shows nothing at the confidence of a control, the verdict is INCONCLUSIVE.

    Raises:
        InputError: for scores of one side only, or that the estimator cannot use.
    """
    if not 0.5 <= confidence <= 0.9999:
        raise InputError(f"Expected confidence in [0.5, 0.9999], got {confidence}.")
    planted = scores.select(~scores.reference)
    if planted.member.all() or not planted.member.any():
        side = "members" if planted.member.size and planted.member.all() else "non-members"
        raise InputError(f"Expected scores of members and of non-members, got {planted.member.size} of {side} alone.")
    estimators = (
        default_estimators(planted, delta, confidence)
        if estimator is None
        else (registry.build(registry.ESTIMATORS, estimator),)
    )
    bounds = tuple(
        chosen.bound(planted, delta, confidence, chosen.only_for or ADD_OR_REMOVE_ONE, seed) for chosen in estimators
    )
    because = (
        why_default(planted, delta, confidence)
        if estimator is None
        else f"Estimator {estimators[0].name} was asked for."
    )
    auc = auc_interval(planted)
    verdict = test = None
    if claim is not None:
        if estimator is None:
            test = claim_test(planted, claim, seed=seed, level=1 - confidence)
        references = scores.select(scores.reference)
        attack = AttackResult(
            attack="scores",
            family="membership",
            access="unknown",
            queries=float("nan"),
            scores=planted,
            auc=auc,
            bounds=bounds[:1],
            seen_p=association_p_value(planted),
            reference_p=association_p_value(references) if references.ids else None,
            claim_test=test,
            could_refute=estimator is None
            and could_refute(
                planted, claim, guesses_prove(planted, delta, 1 - CONTROL_ALARM), seed=seed, level=1 - confidence
            ),
            chance_p=evidence_p_values(scores, estimators),
            unproven=unproven(bounds[:1], estimators),
        )
        strict = _strict(estimators[0], planted, delta, seed) if estimator is not None else None
        controls = _controls(attack)
        if strict is not None:
            controls = replace(controls, seen=frozenset({attack.attack} if strict.epsilon > 0 else ()))
        verdict = judge(
            claim,
            [attack],
            controls,
            planted.models,
            planted.models,
            Policy().least_power,
            1 - confidence,
            bounds_refute=attack.claim_test is None,
        )
        if not controls.seen and not verdict.alarmed and verdict.outcome is Outcome.INCONCLUSIVE:
            proven = _all_the_same(estimators, bounds, planted, seed)
            more = " more" if proven else ""
            verdict = replace(
                verdict,
                reason=proven
                + (
                    _score_silence(attack.seen_p, planted, more)
                    if strict is None
                    else _evidence_silence(estimators[0], strict, more)
                ),
            )
    return ScoreAudit(bounds, because, auc, verdict, _estimates(planted, delta, confidence, seed), test)


def _strict(chosen: Estimator, planted: Scores, delta: float, seed: int) -> Bound | None:
    """The bound of an estimator of evidence at the confidence of a control; None of one that reads scores."""
    if not chosen.needs:
        return None
    return chosen.bound(planted, delta, 1 - CONTROL_ALARM, chosen.only_for or ADD_OR_REMOVE_ONE, seed)


def _score_silence(seen_p: float, planted: Scores, more: str) -> str:
    """Why scores that show too little show nothing, or nothing more."""
    if association_p_value(perfect_scores(planted)) >= CONTROL_ALARM:
        return "There are too few scores to tell anything of membership: not even a perfect attack's would."
    return (
        f"The scores do not show membership (p = {seen_p:.2g}, not below {CONTROL_ALARM:g}), so nothing{more} follows "
        "from them."
    )


def _evidence_silence(chosen: Estimator, strict: Bound, more: str) -> str:
    """Why evidence that shows too little shows nothing, or nothing more."""
    read = f"evidence {' and '.join(map(repr, chosen.needs))}, which {chosen.name} reads,"
    level = shown_confidence(strict.confidence)
    if not strict.ceiling > 0:
        return (
            f"There is too little of the {read} to tell whether the attack works: not even a perfect one would show "
            f"anything at confidence {level}."
        )
    return f"The {read} shows nothing at confidence {level}, so nothing{more} follows from it."


def _all_the_same(estimators: tuple[Estimator, ...], bounds: tuple[Bound, ...], planted: Scores, seed: int) -> str:
    """What is proven even where the attack is not seen to work, as a sentence; empty if nothing.

    The largest of several bounds, which are taken anew at a confidence at which all of them hold together.
    """
    free = [(chosen, bound) for chosen, bound in zip(estimators, bounds, strict=True) if not bound.parametric]
    if not any(bound.epsilon > 0 for _, bound in free):
        return ""
    confidence = free[0][1].confidence
    if len(free) > 1:
        single = simultaneous_confidence(confidence, len(free))
        free = [(c, c.bound(planted, b.delta, single, b.adjacency, seed)) for c, b in free]
    best = max((bound for _, bound in free), key=lambda bound: bound.epsilon)
    if not best.epsilon > 0:
        return ""
    paid = f", the largest of {len(free)} bounds that hold together" if len(free) > 1 else ""
    level = shown_confidence(confidence)
    return f"Epsilon is at least {lower(best.epsilon)} by {best.estimator} (confidence {level}{paid}). "


def named_estimator(
    name: str | None, fields: Mapping[str, Any], sample_rate: float | None, steps: int | None
) -> Estimator | None:
    """The estimator that a command line names, with its fields; one for DP-SGD takes the claimed rate and steps.

    Raises:
        InputError: for fields without a name, or what the estimator does not have.
    """
    if name is None:
        if fields:
            raise InputError(f"Expected an estimator to set '{next(iter(fields))}' of, got none.")
        return None
    claimed = {"sample_rate": sample_rate, "steps": steps} if name == CalibratedLossCurve.name else {}
    given = {key: value for key, value in claimed.items() if value is not None}
    return registry.build(registry.ESTIMATORS, {"name": name, **given, **fields})


def stated_claim(
    delta: float, epsilon: float | None, noise_multiplier: float | None, sample_rate: float | None, steps: int | None
) -> Claim | None:
    """What a command line claims: an epsilon, DP-SGD by its parameters, or nothing.

    Raises:
        InputError: where both are claimed, or parameters are missing.
    """
    if epsilon is not None and math.isinf(epsilon):
        raise InputError(f"Expected a finite epsilon as the claim, got {epsilon}: infinity claims nothing.")
    if noise_multiplier is None and sample_rate is None and steps is None:
        return None if epsilon is None else Claim(epsilon, delta)
    if epsilon is not None:
        raise InputError("Expected an epsilon or the parameters of DP-SGD as the claim, got both.")
    if noise_multiplier is None or steps is None:
        missing = "noise multiplier" if noise_multiplier is None else "number of steps"
        raise InputError(f"Expected a noise multiplier and a number of steps of DP-SGD, got no {missing}.")
    mechanism = DPSGD(1.0 if sample_rate is None else sample_rate, steps, noise_multiplier)
    if not 0 < delta < 1:
        raise InputError(f"Expected delta in (0, 1) for Gaussian noise, got {delta}.")
    return Claim(
        pld_epsilon(mechanism, delta), delta, sampling=mechanism.sampling, accountant="pld", mechanism=mechanism
    )


def _estimates(scores: Scores, delta: float, confidence: float, seed: int) -> tuple[Estimate, ...]:
    """What may be estimated from scores of independent models."""
    finite = np.isfinite(scores.score).all()
    fewest = min(int(scores.member.sum()), int((~scores.member).sum()))
    if needs_one_canary(scores) is not None or not finite or fewest < 2 or not delta > 0:
        return ()
    return tuple(heuristic.estimate(scores, delta, confidence, seed) for heuristic in (GaussianFit(), JointBeta()))


def _controls(attack: AttackResult) -> Controls:
    tests = (attack.reference_p is not None) + len(attack.chance_p)
    return read_controls([attack], [attack], CONTROL_ALARM / max(1, tests))
