"""The verdict's truth table: what bounds, tests and controls together allow to conclude."""

import dataclasses
import itertools
import math

import numpy as np
import pytest

from attacks.scores import Scores
from audit.bounds import ADD_OR_REMOVE_ONE, Bound
from audit.claim import Claim
from audit.claim_test import ClaimTest
from audit.results import AttackResult, Interval, Outcome, Verdict
from audit.verdict import Controls, judge, overall, read_controls

CLAIM = Claim(4.0, 1e-5)
SEEN = Controls(frozenset({"loss"}), frozenset(), 1e-3)


def bound(epsilon=0.5, ceiling=3.0, parametric=False):
    return Bound(epsilon, 1e-5, 0.99, ADD_OR_REMOVE_ONE, "one-run", ("coins",), (), ceiling, parametric, {})


def attack(*bounds, name="loss", seen_p=0.5, reference_p=0.5, p_value=None):
    return AttackResult(
        attack=name,
        family="membership",
        access="loss",
        queries=1,
        scores=Scores.from_arms(np.zeros(2), np.zeros(2)),
        auc=Interval(0.5, 0.4, 0.6),
        bounds=bounds,
        seen_p=seen_p,
        reference_p=reference_p,
        claim_test=None if p_value is None else ClaimTest(p_value, "the claim", "a test", ()),
    )


def judged(*attacks, controls=SEEN, done=8, planned=8, least_power=0.25, **options):
    return judge(CLAIM, attacks, controls, done, planned, least_power, **options)


def test_a_bound_above_the_claim_refutes_it():
    verdict = judged(attack(bound(4.5, 6.0)))
    assert verdict.outcome is Outcome.REFUTED
    assert (verdict.lower_bound, verdict.ceiling) == (4.5, 6.0)
    for part in ("attack loss", "estimator one-run", "confidence 99%", "4 is claimed"):
        assert part in verdict.reason


@pytest.mark.parametrize("epsilon", [3.9, 4.0])
def test_a_bound_at_most_the_claim_does_not(epsilon):
    verdict = judged(attack(bound(epsilon, 6.0)))
    assert verdict.outcome is Outcome.NOT_REFUTED
    assert verdict.lower_bound == epsilon


def test_a_bound_that_assumes_a_curve_refutes_nothing():
    verdict = judged(attack(bound(0.5, 3.0), bound(9.0, 9.0, parametric=True)))
    assert verdict.outcome is Outcome.NOT_REFUTED
    assert (verdict.lower_bound, verdict.ceiling) == (0.5, 3.0)


def test_only_curve_bounds_are_inconclusive():
    verdict = judged(attack(bound(9.0, 9.0, parametric=True)))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "free of curve assumptions" in verdict.reason


@pytest.mark.parametrize(
    ("p", "outcome"), [(0.01, Outcome.REFUTED), (0.05, Outcome.REFUTED), (0.051, Outcome.NOT_REFUTED)]
)
def test_the_claim_s_own_test_refutes_it_at_its_level(p, outcome):
    assert judged(attack(bound(), p_value=p)).outcome is outcome


def test_bounds_may_stand_aside_for_the_test():
    assert judged(attack(bound(4.5, 6.0), p_value=0.2), bounds_refute=False).outcome is Outcome.NOT_REFUTED


def test_the_largest_bound_of_all_attacks_counts():
    verdict = judged(attack(bound(1.0)), attack(bound(2.0), bound(1.5), name="other"))
    assert verdict.lower_bound == 2.0


def test_an_attack_that_saw_nothing_without_noise_proves_nothing_by_its_silence():
    blind = Controls(frozenset({"other"}), frozenset(), 1e-3)
    verdict = judged(attack(bound()), controls=blind)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "No attack saw the canaries even without noise" in verdict.reason


def test_too_few_models_for_any_attack_to_be_seen_are_called_so():
    few = [dataclasses.replace(attack(name=name), visible=False) for name in ("loss", "other")]
    reason = judged(attack(bound()), controls=read_controls(few, few, 1e-3)).reason
    assert reason.startswith("There were too few models and canaries to tell whether an attack sees the canaries")
    enough = [*few, attack(name="loss")]
    assert read_controls(enough, enough, 1e-3).telling


def test_the_attack_that_saw_must_have_the_power():
    controls = Controls(frozenset({"weak"}), frozenset(), 1e-3)
    verdict = judged(attack(bound(0.1, 9.0)), attack(bound(0.1, 0.9), name="weak"), controls=controls)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "below 25% of the claimed 4" in verdict.reason


def test_an_attack_that_saw_and_has_curve_bounds_alone_has_no_power():
    controls = Controls(frozenset({"curved"}), frozenset(), 1e-3)
    curved = attack(bound(0.1, 9.0, parametric=True), name="curved")
    assert judged(attack(bound(0.1, 9.0)), curved, controls=controls).outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(("ceiling", "outcome"), [(1.0, Outcome.NOT_REFUTED), (0.99, Outcome.INCONCLUSIVE)])
def test_the_least_power_is_a_share_of_the_claim(ceiling, outcome):
    assert judged(attack(bound(0.1, ceiling))).outcome is outcome
    assert judged(attack(bound(0.1, ceiling)), least_power=0.0).outcome is Outcome.NOT_REFUTED


TABLE = list(itertools.product([False, True], repeat=5))


@pytest.mark.parametrize(("alarm", "above", "missing", "uncontrolled", "weak"), TABLE)
def test_what_outweighs_what(alarm, above, missing, uncontrolled, weak):
    controls = Controls(
        None if uncontrolled else frozenset({"loss"}), frozenset({"loss"}) if alarm else frozenset(), 1e-3
    )
    found = bound(4.5 if above else 0.5, 0.9 if weak else 5.0)
    verdict = judged(attack(found), controls=controls, done=6 if missing else 8)
    if alarm:
        expected = Outcome.INCONCLUSIVE, "never inserted"
    elif missing:
        expected = Outcome.INCONCLUSIVE, "2 of 8 models are missing; run the sweep again"
    elif above:
        expected = Outcome.REFUTED, "4 is claimed"
    elif uncontrolled:
        expected = Outcome.INCONCLUSIVE, "no positive control"
    elif weak:
        expected = Outcome.INCONCLUSIVE, "a perfect attack could have shown"
    else:
        expected = Outcome.NOT_REFUTED, "4 is claimed"
    assert verdict.outcome is expected[0]
    assert expected[1] in verdict.reason
    assert verdict.alarmed is alarm
    assert "\n" not in verdict.reason


FACTS = (
    *("alarm", "bound above", "test rejects", "models missing", "no references", "no control", "control unseen"),
    *("too little power", "perfect attack could refute", "look"),
)


def by_the_book(facts):
    """The verdict as docs/gate.md words it, row by row: what comes first wins."""
    if "alarm" in facts:
        return Outcome.INCONCLUSIVE
    if "models missing" in facts:
        return Outcome.INCONCLUSIVE
    if facts & {"bound above", "test rejects"}:
        return Outcome.REFUTED
    if facts & {"look", "no references", "no control", "control unseen"}:
        return Outcome.INCONCLUSIVE
    if "too little power" in facts and "perfect attack could refute" not in facts:
        return Outcome.INCONCLUSIVE
    return Outcome.NOT_REFUTED


def test_every_combination_of_facts_is_judged_by_the_book():
    for present in itertools.product([False, True], repeat=len(FACTS)):
        facts = {fact for fact, there in zip(FACTS, present, strict=True) if there}
        found = attack(
            bound(4.5 if "bound above" in facts else 0.5, 0.9 if "too little power" in facts else 5.0),
            reference_p=None if "no references" in facts else 0.5,
            p_value=0.01 if "test rejects" in facts else 0.5,
        )
        found = dataclasses.replace(found, could_refute="perfect attack could refute" in facts)
        seen = frozenset() if "control unseen" in facts else frozenset({"loss"})
        controls = Controls(
            None if "no control" in facts else seen, frozenset({"loss"} if "alarm" in facts else ()), 1e-3
        )
        verdict = judged(
            found,
            controls=controls,
            done=6 if "models missing" in facts else 8,
            level=0.05,
            needs_references=True,
            models_wanted=64 if "look" in facts else None,
        )
        assert verdict.outcome is by_the_book(facts), facts
        assert verdict.alarmed == ("alarm" in facts)
        unfinished = bool(facts & {"models missing", "look"})
        assert len(verdict.gaps) == unfinished + len(facts & {"no references", "no control"})
        assert any(character.isdigit() for character in verdict.reason) or "control" in verdict.reason


def test_no_attack_at_all_is_inconclusive():
    verdict = judged(done=0)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert (verdict.lower_bound, verdict.ceiling) == (0.0, 0.0)


def test_controls_are_read_by_attack():
    positive = [attack(name="loss", seen_p=1e-9), attack(name="blind", seen_p=0.01)]
    everything = [*positive, attack(name="leaky", reference_p=1e-9), attack(name="bare", reference_p=None)]
    controls = read_controls(positive, everything, 1e-3)
    assert controls == Controls(frozenset({"loss"}), frozenset({"leaky"}), 1e-3)
    assert read_controls(None, everything, 1e-3).seen is None


def verdict(outcome, lower=1.0, ceiling=2.0):
    return Verdict(outcome, f"because {outcome}.", lower, ceiling)


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        (["NOT_REFUTED", "NOT_REFUTED"], "NOT_REFUTED"),
        (["NOT_REFUTED", "INCONCLUSIVE"], "INCONCLUSIVE"),
        (["INCONCLUSIVE", "REFUTED", "NOT_REFUTED"], "REFUTED"),
        (["REFUTED"], "REFUTED"),
        ([], "INCONCLUSIVE"),
    ],
)
def test_the_run_s_verdict_is_that_of_its_worst_cell(outcomes, expected):
    named = [(f"cell {i}", verdict(Outcome(outcome))) for i, outcome in enumerate(outcomes)]
    assert overall(named).outcome is Outcome(expected)


def test_the_run_s_verdict_names_the_cell_and_counts_the_others():
    named = [("a", verdict(Outcome.REFUTED, 3.0)), ("b", verdict(Outcome.NOT_REFUTED)), ("c", verdict(Outcome.REFUTED))]
    found = overall(named)
    assert found.reason == "a: because REFUTED. 1 more cell(s) alike."
    assert (found.lower_bound, found.ceiling) == (3.0, 2.0)


def test_a_verdict_is_plain_frozen_data():
    found = verdict(Outcome.NOT_REFUTED)
    assert str(found) == "NOT_REFUTED: because NOT_REFUTED."
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.outcome = Outcome.REFUTED
    assert Claim(math.inf, 0.0).is_control


def test_without_a_negative_control_nothing_but_a_refutation_is_concluded():
    lacking = {"needs_references": True}
    assert judged(attack(bound(), reference_p=None), **lacking).outcome is Outcome.INCONCLUSIVE
    assert "no negative control" in judged(attack(bound(), reference_p=None), **lacking).reason
    assert judged(attack(bound(), reference_p=0.4), **lacking).outcome is Outcome.NOT_REFUTED
    assert judged(attack(bound(4.5, 6.0), reference_p=None), **lacking).outcome is Outcome.REFUTED


def test_a_refuted_verdict_keeps_what_the_audit_lacks():
    bare = attack(bound(4.5, 6.0), reference_p=None)
    verdict = judged(bare, controls=Controls(None, frozenset(), 1e-3), needs_references=True)
    assert verdict.outcome is Outcome.REFUTED
    for gap, part in zip(verdict.gaps, ("no negative control", "no positive control"), strict=True):
        assert part in gap
    assert judged(attack(bound(4.5, 6.0)), needs_references=True).gaps == ()


def test_power_counts_the_test_of_the_claim_too():
    weak = attack(bound(0.1, 0.5))
    able = dataclasses.replace(weak, could_refute=True)
    assert judged(weak).outcome is Outcome.INCONCLUSIVE
    assert judged(able).outcome is Outcome.NOT_REFUTED
    assert judged(able).refutable
    assert "below 25% of the claim, but could have refuted it by the test of the claim itself" in judged(able).reason
    assert not judged(attack(bound(0.5, 3.0))).refutable
    assert "could not have refuted the claim" in judged(attack(bound(0.5, 3.0))).reason


def test_the_overall_verdict_names_what_no_attack_could_have_refuted():
    verdict = overall([("a", judged(attack(bound(0.5, 3.0)))), ("b", judged(attack(bound(0.5, 9.0))))])
    assert verdict.outcome is Outcome.NOT_REFUTED
    assert "could have refuted a with so few models" in verdict.reason
    assert not verdict.refutable


def test_numbers_of_an_alarmed_cell_do_not_lead_the_overall_verdict():
    broken = dataclasses.replace(verdict(Outcome.INCONCLUSIVE, 9.0, 9.0), alarmed=True)
    assert overall([("a", broken), ("b", verdict(Outcome.NOT_REFUTED, 1.0, 2.0))]).lower_bound == 1.0


@pytest.mark.parametrize("speaks", [{"p_value": 1e-9}, {}])
def test_models_that_are_missing_refute_nothing(speaks):
    """Training that fails where the canary is in, or a judge who looks too early, picks the models that are there."""
    found = attack(bound(0.5 if speaks else 4.5, 6.0), **speaks)
    assert judged(found).outcome is Outcome.REFUTED
    verdict = judged(found, done=7)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.reason.startswith("1 of 8 models are missing; run the sweep again. Those that are there speak")


def test_a_look_at_a_growing_run_refutes_and_concludes_nothing_else():
    assert judged(attack(bound(4.5, 6.0)), models_wanted=64).outcome is Outcome.REFUTED
    verdict = judged(attack(bound()), models_wanted=64)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "So far the run has 8 of 64 models" in verdict.reason
    assert judged(attack(bound()), models_wanted=8).outcome is Outcome.NOT_REFUTED


def test_no_confidence_is_rounded_up_to_certainty():
    nearly = dataclasses.replace(bound(4.5, 6.0), confidence=0.99996)
    assert "confidence 1 − 4e-5); 4 is claimed" in judged(attack(nearly)).reason


def test_the_positive_control_is_paid_for_over_the_attacks():
    lucky = [attack(name="loss", seen_p=5e-4), attack(name="other", seen_p=1e-9)]
    assert read_controls(lucky, lucky, 1e-3).seen == {"loss", "other"}
    assert read_controls(lucky, lucky, 1e-3, seen_level=1e-3 / 8).seen == {"other"}
