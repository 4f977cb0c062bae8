"""From scores to a run's results: what is paid for, and how controls reach the verdict."""

import math
from dataclasses import replace

import numpy as np
import pytest

from attacks.scores import Scores
from audit.analysis import AttackKind, CellScores, RunScores, analyse, scores_from_frame
from audit.claim import Claim
from audit.estimators import ClopperPearson, GaussianDP, OneRun
from audit.policy import Policy
from audit.results import Outcome

LOSS = AttackKind("loss", "membership", "loss")
LABELS = AttackKind("labels", "label-only", "labels")
ONE_RUN = (OneRun(),)


def scores(shift, seed=0, models=16, canaries=24, references=8, leak=False):
    """Normal scores, members `shift` higher; `leak`: so are the members among the references."""
    rng = np.random.default_rng(seed)
    total = canaries + references
    member, reference = rng.random((models, total)) < 0.5, np.arange(total) >= canaries
    seen = member & (~reference | leak)
    return replace(Scores.from_matrix(rng.normal(shift * seen, 1), member, "canary"), reference=reference)


def cell(epsilon, found, planned=16, audit="digits", estimators=ONE_RUN):
    return CellScores(
        audit=audit,
        claim=Claim(epsilon, 1e-5),
        noise_multiplier=1.0,
        models_planned=planned,
        scores=found,
        queries={kind.name: 32.0 for kind in found},
        utility={"test accuracy": [0.5, 0.75]},
        estimators=estimators,
    )


def run(*cells, least_power=0.1, confidence=0.95):
    return analyse(RunScores("run", cells, 1e-5, confidence, 0, Policy(least_power=least_power)))


def sound(epsilon=4.0):
    """A cell that leaks little beside a control that leaks much, both with references."""
    return cell(epsilon, {LOSS: scores(0.3, 1)}), cell(math.inf, {LOSS: scores(6.0, 2)})


def test_a_sound_run_is_not_refuted():
    result = run(*sound())
    private, control = result.cells
    assert result.verdict.outcome is private.verdict.outcome is Outcome.NOT_REFUTED
    assert control.verdict is None
    assert control.attacks[0].seen_p < 1e-9
    assert private.attacks[0].reference_p > 1e-3
    assert private.attacks[0].queries == 32.0
    assert (private.utility["test accuracy"].value, private.utility["test accuracy"].high) == (0.625, 0.75)


def test_a_claim_that_is_exceeded_is_refuted():
    result = run(cell(0.5, {LOSS: scores(6.0, 1)}), cell(math.inf, {LOSS: scores(6.0, 2)}))
    assert result.verdict.outcome is Outcome.REFUTED
    assert result.verdict.reason.startswith("digits at epsilon 0.5: ")
    assert result.cells[0].verdict.lower_bound > 0.5


def test_every_bound_of_the_run_shares_the_confidence():
    both = {LOSS: scores(0.3, 1), LABELS: scores(0.3, 2)}
    many = Scores.from_arms(np.arange(10.0), np.arange(10.0))
    result = run(
        cell(2.0, both),
        cell(4.0, {LOSS: scores(0.3, 3)}),
        cell(math.inf, {LOSS: scores(6.0, 4)}),
        cell(4.0, {LOSS: many}, 20, "other", (ClopperPearson(), GaussianDP(), OneRun())),
        confidence=0.9,
    )
    bounds = [bound for c in result.cells for attack in c.attacks for bound in attack.bounds]
    tests = [attack for c in result.cells for attack in c.attacks if attack.claim_test is not None]
    assert len(bounds) == 2 + 1 + 1 + 2  # one-run does not apply where whole models were randomised
    assert len(tests) == 2 + 1 + 1  # a control claims nothing
    family = len(bounds) + len(tests)
    for bound in bounds:
        assert bound.confidence == pytest.approx(1 - 0.1 / family)
        assert str(family) in bound.corrected_for[0]
        assert "Bonferroni" in bound.corrected_for[0]


def test_more_bounds_make_each_of_them_smaller():
    alone = run(cell(1.0, {LOSS: scores(2.0, 1)})).cells[0].attacks[0].bounds[0]
    others = [cell(float(i), {LOSS: scores(0.3, i)}) for i in range(2, 8)]
    among = run(cell(1.0, {LOSS: scores(2.0, 1)}), *others).cells[0].attacks[0].bounds[0]
    assert 0 < among.epsilon < alone.epsilon
    assert among.confidence > alone.confidence


def test_bounds_know_nothing_of_references():
    private, control = sound()
    without = replace(private, scores={LOSS: private.scores[LOSS].select(~private.scores[LOSS].reference)})
    # The bounds are the same; the family is the same; only the negative control is gone.
    assert run(private, control).cells[0].attacks[0].bounds == run(without, control).cells[0].attacks[0].bounds
    assert run(without, control).cells[0].attacks[0].reference_p is None


@pytest.mark.parametrize("where", [0, 1], ids=["in the private cell", "in the control"])
def test_an_attack_that_reads_the_coins_of_references_breaks_the_audit(where):
    cells = list(sound())
    cells[where] = replace(cells[where], scores={LOSS: scores(6.0, 5, leak=True)})
    result = run(*cells)
    assert result.verdict.outcome is Outcome.INCONCLUSIVE
    assert "Attack 'loss' saw canaries that were never inserted" in result.verdict.reason
    assert result.cells[0].verdict.outcome is Outcome.INCONCLUSIVE


def test_a_broken_audit_leaves_others_alone():
    broken = cell(4.0, {LOSS: scores(6.0, 5, leak=True)}, audit="broken")
    result = run(*sound(), broken)
    assert [c.verdict.outcome for c in result.cells if c.verdict] == [Outcome.NOT_REFUTED, Outcome.INCONCLUSIVE]
    assert result.verdict.reason.startswith("broken at epsilon 4: ")


def test_sound_controls_raise_no_alarm():
    # Each of 60 runs may raise an alarm with probability 1e-3, so three or more have probability 4e-5.
    alarms = 0
    for seed in range(60):
        cells = cell(4.0, {LOSS: scores(0.3, 2 * seed, 8, 4)}), cell(math.inf, {LOSS: scores(6.0, 2 * seed + 1, 8, 4)})
        verdict = run(*cells, least_power=0.0).verdict
        alarms += "never inserted" in verdict.reason
    assert alarms < 3


def test_without_a_positive_control_nothing_is_concluded():
    result = run(cell(4.0, {LOSS: scores(0.3, 1)}))
    assert result.verdict.outcome is Outcome.INCONCLUSIVE
    assert "no positive control" in result.verdict.reason


def test_a_positive_control_that_sees_nothing_concludes_nothing():
    result = run(cell(4.0, {LOSS: scores(0.3, 1)}), cell(math.inf, {LOSS: scores(0.0, 2)}))
    assert result.verdict.outcome is Outcome.INCONCLUSIVE
    assert "even without noise" in result.verdict.reason


def test_the_control_of_another_pipeline_does_not_count():
    result = run(cell(4.0, {LOSS: scores(0.3, 1)}), cell(math.inf, {LOSS: scores(6.0, 2)}, audit="other"))
    assert "no positive control" in result.verdict.reason


@pytest.mark.parametrize("done", [0, 10])
def test_missing_models_are_inconclusive(done):
    private, control = sound()
    kept = {LOSS: private.scores[LOSS].take_models(slice(0, done))} if done else {}
    result = run(replace(private, scores=kept), control)
    assert result.verdict.outcome is Outcome.INCONCLUSIVE
    assert f"{16 - done} of 16 models are missing" in result.verdict.reason
    assert (result.cells[0].models_done, result.cells[0].models_planned) == (done, 16)


def test_missing_models_refute_nothing():
    leaky = cell(0.5, {LOSS: scores(6.0, 1).take_models(slice(0, 10))})
    assert run(leaky, sound()[1]).verdict.outcome is Outcome.INCONCLUSIVE


def test_no_record_is_at_risk_where_models_hold_different_canaries():
    found = scores(1.0)
    sets = np.arange(found.models) % 2
    for secret_set, records in ((None, 10), (np.zeros_like(sets), 10), (sets, 0)):
        (private,) = run(cell(4.0, {LOSS: replace(found, secret_set=secret_set)})).cells
        assert len(private.attacks[0].risks) == records


def test_a_run_without_claims_is_inconclusive():
    result = run(cell(math.inf, {LOSS: scores(6.0)}))
    assert result.verdict.outcome is Outcome.INCONCLUSIVE
    assert "Nothing claims a finite epsilon" in result.verdict.reason


def test_scores_come_back_from_the_store_s_frame():
    before = replace(scores(1.0), evidence={"exposure": np.random.default_rng(0).random((16, 32))})
    frame = before.frame().assign(audit="digits", epsilon=4.0, attack="loss")
    after = scores_from_frame(frame, "canary")
    assert (after.ids, after.randomised) == (before.ids, before.randomised)
    for name in ("score", "member", "reference", "repetitions", "space"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
    np.testing.assert_array_equal(after.evidence["exposure"], before.evidence["exposure"])


@pytest.mark.parametrize(("models", "canaries", "visible"), [(2, 2, False), (8, 8, True)])
def test_whether_a_perfect_attack_could_have_been_seen_is_told(models, canaries, visible):
    rng = np.random.default_rng(0)
    member = np.tile(np.arange(models) % 2 == 0, (canaries, 1)).T ^ (rng.random((1, canaries)) < 0.5)
    scores = Scores.from_matrix(rng.normal(size=member.shape), member, "canary")
    claim = Claim(math.inf, 1e-5)
    cell = CellScores("digits", claim, None, models, {LOSS: scores}, {}, {}, (OneRun(),))
    (found,) = analyse(RunScores("run", (cell,), 1e-5, 0.95, 0, Policy())).cells[0].attacks
    assert found.visible is visible
