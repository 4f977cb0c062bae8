"""The gate: policies, findings and exit codes."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from attacks.scores import Scores
from audit.claim import Claim
from audit.config import parse
from audit.gate import check, choose_policy, exit_code, load_policy
from audit.metrics import extraction, wilson
from audit.policy import Policy
from audit.results import AttackResult, CellResult, Extraction, Interval, Outcome, RunResult, Verdict
from audit.runs import load_result
from audit.sweeping import sweep
from audit.verdict import overall
from canaries.errors import InputError

NO_SCORES = Scores.from_arms(np.zeros(2), np.zeros(2))


FAR = Scores.from_arms(np.arange(60.0) + 1000, np.arange(60.0))


def secrets(extracted, of):
    return Extraction(16, of, wilson(extracted, of), 10.0, 20.0, 0.9)


def cell(outcome=Outcome.NOT_REFUTED, lower=0.5, epsilon=4.0, extraction=(), scores=NO_SCORES, alarmed=False):
    attack = AttackResult("a", "extraction", "loss", 1, scores, Interval(0.5, 0.5, 0.5), (), 0.5, 0.5, extraction)
    verdict = None if math.isinf(epsilon) else Verdict(outcome, f"because {outcome}.", lower, 3.0, alarmed=alarmed)
    return CellResult("digits", Claim(epsilon, 1e-5), 1.0, 2, 2, {}, (attack,), verdict)


def result(*cells, failures=()):
    judged = [(f"{c.audit} at {c.claim.epsilon:g}", c.verdict) for c in cells if c.verdict]
    return RunResult("run", cells, overall(judged), 0.95, {}, {}, dict.fromkeys(failures, "Traceback"))


@pytest.mark.parametrize(
    ("outcome", "failures", "code"),
    [
        (Outcome.NOT_REFUTED, (), 0),
        (Outcome.REFUTED, (), 1),
        (Outcome.INCONCLUSIVE, (), 3),
        (Outcome.NOT_REFUTED, ("u",), 4),
        (Outcome.INCONCLUSIVE, ("u",), 4),
        (Outcome.REFUTED, ("u",), 1),
    ],
)
def test_exit_codes(outcome, failures, code):
    run = result(cell(outcome), failures=failures)
    assert exit_code(run) == code
    found = check(run, Policy())
    assert (found.exit_code, found.passed) == (code, code == 0)
    assert found.verdict == run.verdict


def test_no_budget_is_held_against_a_cell_whose_models_are_missing():
    leaky = replace(cell(Outcome.INCONCLUSIVE, lower=9.0, extraction=(secrets(90, 100),)), models_done=1)
    found = check(result(leaky, failures=("u",)), Policy(max_lower_bound=1.0, max_extraction_rate=0.1))
    assert (found.exit_code, found.passed, found.findings) == (4, False, ())


def test_a_refuted_claim_is_a_finding():
    (finding,) = check(result(cell(), cell(Outcome.REFUTED, 9.0, 8.0)), Policy()).findings
    assert (finding.rule, finding.where, finding.message) == (
        "refute_claims",
        "digits at epsilon 8",
        "because REFUTED.",
    )


@pytest.mark.parametrize(
    ("cells", "failures", "code"),
    [
        ([cell(Outcome.REFUTED)], (), 0),
        ([cell(Outcome.REFUTED)], ("u",), 4),
        ([cell(Outcome.REFUTED), cell(Outcome.INCONCLUSIVE)], (), 3),
    ],
)
def test_a_policy_may_not_mind_refuted_claims(cells, failures, code):
    found = check(result(*cells, failures=failures), Policy(refute_claims=False))
    assert (found.findings, found.exit_code) == ((), code)


@pytest.mark.parametrize(("lower", "fails"), [(1.9, False), (2.0, False), (2.1, True)])
def test_a_budget_on_the_lower_bound(lower, fails):
    found = check(result(cell(lower=lower)), Policy(max_lower_bound=2.0))
    assert found.exit_code == (1 if fails else 0)
    if fails:
        (finding,) = found.findings
        assert finding.rule == "max_lower_bound"
        assert "Epsilon is at least 2.10; at most 2 is allowed." in finding.message


def test_a_budget_outweighs_an_inconclusive_verdict():
    assert check(result(cell(Outcome.INCONCLUSIVE, lower=2.5)), Policy(max_lower_bound=2.0)).exit_code == 1


@pytest.mark.parametrize(
    ("extracted", "of", "limit", "fails"),
    [
        (0, 100, 0.0, False),
        (1, 2, 0.1, False),  # the rate is 50%, but two secrets prove no more than 9%
        (50, 100, 0.1, True),
        (10, 100, 0.1, False),
    ],
)
def test_a_budget_on_extraction_counts_what_is_proven(extracted, of, limit, fails):
    found = check(result(cell(extraction=(secrets(extracted, of),))), Policy(max_extraction_rate=limit))
    assert found.exit_code == (1 if fails else 0)
    if fails:
        (finding,) = found.findings
        assert finding.rule == "max_extraction_rate"
        assert "50% of the secrets inserted 16 times were extracted by decoding (at least 41.3%" in finding.message
        assert "at most 10% is allowed" in finding.message


def test_secrets_that_models_share_are_no_trials_of_their_own():
    """Eight secrets in 100 models, the first always extracted: 100 of 800 pairs, and one secret of eight."""
    matrix = Scores.from_matrix(np.zeros((100, 8)), np.ones((100, 8), dtype=bool), "canary")
    given = np.tile(np.arange(8.0) == 0, (100, 1))
    shared = replace(matrix, space=np.full(8, 1e6), evidence={"extracted": given})
    (group,) = extraction(shared)
    run = replace(result(cell(extraction=(group,))), confidence=0.999)
    assert check(run, Policy(max_extraction_rate=0.05)).findings == ()
    assert check(run, Policy(max_extraction_rate=0.5)).exit_code == 3  # 0.001 ** (1 / 8) = 0.42
    independent = replace(run, cells=(cell(extraction=(replace(group, effects={}),)),))
    assert check(independent, Policy(max_extraction_rate=0.05)).exit_code == 1


def test_never_inserted_secrets_are_held_against_no_budget():
    reference = replace(secrets(50, 100), repetitions=0)
    found = check(result(cell(extraction=(reference, secrets(0, 100)))), Policy(max_extraction_rate=0.1))
    assert (found.passed, found.findings) == (True, ())


@pytest.mark.parametrize(("decoded", "first", "how"), [(0, 95, "likeliest of all values"), (95, 0, "by decoding")])
def test_a_budget_on_extraction_holds_the_larger_of_decoding_and_top_1(decoded, first, how):
    group = replace(secrets(decoded, 100), top=((1, wilson(first, 100)), (10, wilson(100, 100))))
    (finding,) = check(result(cell(extraction=(group,))), Policy(max_extraction_rate=0.1)).findings
    assert how in finding.message
    assert "95% of the secrets" in finding.message


def test_only_the_first_of_the_likeliest_values_is_an_extraction():
    group = replace(secrets(0, 100), top=((1, wilson(0, 100)), (10, wilson(100, 100))))
    assert check(result(cell(extraction=(group,))), Policy(max_extraction_rate=0.1)).passed


def test_a_control_is_held_against_nothing():
    sound = cell(extraction=(secrets(0, 100),))
    leaky = cell(epsilon=math.inf, extraction=(secrets(100, 100),))
    found = check(result(sound, leaky), Policy(max_extraction_rate=0.0, max_lower_bound=1.0))
    assert found.passed


def test_every_finding_is_listed():
    cells = [cell(Outcome.REFUTED, 5.0, 4.0, (secrets(9, 9),)), cell(Outcome.REFUTED, 5.0, 2.0)]
    found = check(result(*cells), Policy(max_lower_bound=1.0, max_extraction_rate=0.1))
    assert [(finding.rule, finding.where) for finding in found.findings] == [
        ("refute_claims", "digits at epsilon 4"),
        ("max_lower_bound", "digits at epsilon 4"),
        ("refute_claims", "digits at epsilon 2"),
        ("max_lower_bound", "digits at epsilon 2"),
        ("max_extraction_rate", "digits at epsilon 4"),
    ]


@pytest.mark.parametrize("text", ["max_lower_bound = 2.5\n", "name = 'x'\n[gate]\nmax_lower_bound = 2.5\n"])
def test_a_policy_from_a_file_or_its_table(tmp_path, text):
    (tmp_path / "policy.toml").write_text(text)
    assert load_policy(tmp_path / "policy.toml") == Policy(max_lower_bound=2.5)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "max_bound = 1",
            r"Unknown key 'max_bound' in the policy \(did you mean 'max_lower_bound'\?\); allowed: baseline,",
        ),
        ("max_lower_bound = 'x'", "Key 'max_lower_bound.limit': expected a valid number, got 'x'"),
        ("least_power = 2.0", "Key 'least_power': expected less than or equal to 1, got 2.0"),
        ("gate = 3", "Key 'gate': expected a table, got 3"),
        ("= 3", "Cannot read the policy"),
        ("", "Expected a policy, got none; allowed keys: baseline,"),
        ("[tool.firedamp.gate]", "Expected a policy, got none"),
        ("[tool.ruff]\nline-length = 9", "Expected a policy, got none"),
        ("[tool.firedamp.gates]\nleast_power = 0.5", r"Unknown key 'gates' in \[tool.firedamp\] \(did you mean 'gate'"),
        ("[tool]\nfiredamp = 3", "Key 'tool.firedamp': expected a table, got 3"),
    ],
)
def test_a_bad_policy_is_one_sentence(tmp_path, text, sentence):
    (tmp_path / "policy.toml").write_text(text)
    with pytest.raises(InputError, match=sentence):
        load_policy(tmp_path / "policy.toml")


def test_a_missing_policy(tmp_path):
    with pytest.raises(InputError, match="Cannot read the policy"):
        load_policy(tmp_path / "none.toml")


BUDGETS = {
    "max_lower_bound": 1.0,
    "max_extraction_rate": 0.1,
    "max_tpr": {"fpr": 0.1, "limit": 0.2},
}


def leaky(**changes):
    scores = Scores.from_arms(np.arange(200.0) + 1000, np.arange(200.0))
    return cell(Outcome.INCONCLUSIVE, 2.0, 4.0, (secrets(9, 9),), scores, **changes)


@pytest.mark.parametrize("severity", ["error", "warning"])
@pytest.mark.parametrize("rule", BUDGETS)
def test_each_budget_has_its_severity(rule, severity):
    value = BUDGETS[rule] if isinstance(BUDGETS[rule], dict) else {"limit": BUDGETS[rule]}
    found = check(result(leaky()), Policy.model_validate({rule: value | {"severity": severity}}))
    assert [(finding.rule, finding.severity) for finding in found.findings] == [(rule, severity)]
    assert found.exit_code == (1 if severity == "error" else 3)


def test_a_warning_alone_passes():
    refuted = check(result(cell(Outcome.REFUTED)), Policy(refute_claims="warning"))
    assert (refuted.passed, refuted.exit_code) == (True, 0)
    assert refuted.findings[0].severity == "warning"


@pytest.mark.parametrize("refute_claims", [False, "warning"])
def test_looking_away_from_a_refutation_does_not_hide_what_the_audit_lacks(refute_claims):
    gap = "800 of 1000 models are missing; run the sweep again."
    full = cell(Outcome.REFUTED)
    lacking = replace(full, verdict=replace(full.verdict, gaps=(gap,)))
    found = check(result(lacking), Policy(refute_claims=refute_claims))
    assert (found.passed, found.exit_code) == (False, 3)
    assert [finding.message for finding in found.unclear] == [gap]
    assert check(result(lacking), Policy()).exit_code == 1


MANY = Scores.from_arms(np.arange(200.0), np.arange(200.0))
UNMEASURED = [
    ({"max_extraction_rate": 0.1}, cell(), "No attack tried to extract"),
    ({"max_extraction_rate": 0.1}, cell(extraction=(secrets(0, 0),)), "No attack tried to extract"),
    ({"max_extraction_rate": 0.5}, cell(extraction=(secrets(0, 2),)), "extraction rate of 22.3% at most"),
    ({"max_tpr": {"fpr": 0.001, "limit": 0.1}}, cell(scores=MANY), "could prove 0% at most"),
    ({"max_lower_bound": 3.0}, cell(), "could have shown epsilon 3"),
]


@pytest.mark.parametrize(("policy", "found", "sentence"), UNMEASURED)
def test_a_budget_that_nothing_could_break_is_inconclusive(policy, found, sentence):
    gate = check(result(found), Policy.model_validate(policy))
    assert (gate.passed, gate.exit_code, gate.findings) == (False, 3, ())
    (unclear,) = gate.unclear
    assert (unclear.rule, sentence in unclear.message) == (next(iter(policy)), True)


def test_an_unmeasured_warning_is_told_and_an_allowed_rate_is_not_asked_for():
    gate = check(result(cell()), Policy.model_validate({"max_lower_bound": {"limit": 9.0, "severity": "warning"}}))
    assert (gate.passed, len(gate.unclear)) == (True, 1)
    everything = {"max_extraction_rate": 1.0, "max_tpr": {"fpr": 0.001, "limit": 1.0}}
    assert check(result(cell()), Policy.model_validate(everything)).unclear == ()
    measured = {"max_lower_bound": 2.0, "max_tpr": {"fpr": 0.1, "limit": 0.4}, "max_extraction_rate": 0.1}
    full = cell(scores=MANY, extraction=(secrets(0, 100),))
    assert check(result(full, cell(scores=MANY)), Policy.model_validate(measured)).passed


def test_nothing_counts_where_the_negative_control_alarmed():
    broken = result(leaky(alarmed=True))
    found = check(broken, Policy.model_validate(BUDGETS | {"baseline": "b"}), result(cell(scores=NO_SCORES)))
    assert (found.findings, found.exit_code) == ((), 3)


def test_a_regression_fails_and_noise_does_not():
    rng = np.random.default_rng(0)
    weak, strong = (Scores.from_arms(rng.normal(shift, 1, 300), rng.normal(0, 1, 300)) for shift in (0.2, 1.0))
    before, again = result(cell(scores=weak)), result(cell(scores=weak))
    assert check(again, Policy(baseline="b"), before).passed
    (finding,) = check(result(cell(scores=strong)), Policy(baseline="b"), before).findings
    assert finding.rule == "baseline"
    assert "in 'b' it had 0.5" in finding.message
    assert check(before, Policy(baseline="b"), result(cell(scores=strong))).passed  # better is no regression


@pytest.mark.parametrize(
    ("now", "before", "sentence"),
    [
        ([cell(scores=NO_SCORES)], [cell(scores=NO_SCORES)], "too few scores of attack a"),
        ([cell(scores=Scores.from_arms(np.ones(9), np.ones(0)))], [cell(scores=FAR)], "too few scores of attack a"),
        ([cell(scores=FAR), cell(epsilon=2.0)], [cell(scores=FAR)], "Attack a is not in 'b'"),
        ([cell(scores=FAR)], [cell(scores=FAR), cell(epsilon=2.0)], "Attack a is in 'b' and not in this run"),
        ([cell(scores=FAR)], [cell(scores=FAR, alarmed=True)], "In 'b' a negative control alarmed"),
    ],
)
@pytest.mark.parametrize("severity", ["error", "warning"])
def test_a_baseline_that_can_tell_nothing_is_no_pass(now, before, sentence, severity):
    policy = Policy.model_validate({"baseline": {"run": "b", "severity": severity}})
    found = check(replace(result(*now), confidence=0.999), policy, result(*before))
    (unclear,) = found.unclear
    assert (unclear.rule, sentence in unclear.message) == ("baseline", True)
    assert (found.passed, found.exit_code) == ((True, 0) if severity == "warning" else (False, 3))


def test_a_baseline_as_strong_as_can_be_is_clear():
    assert check(result(cell(scores=FAR)), Policy(baseline="b"), result(cell(scores=FAR))).passed


def test_a_baseline_of_something_else_is_bad_input():
    with pytest.raises(InputError, match="shares no pipeline, epsilon and attack"):
        check(result(cell()), Policy(baseline="b"), result(cell(epsilon=2.0)))
    with pytest.raises(InputError, match="it was not read"):
        check(result(cell()), Policy(baseline="b"))


def test_where_the_policy_comes_from(tmp_path):
    project, file = tmp_path / "pyproject.toml", tmp_path / "policy.toml"
    project.write_text("[tool.firedamp.gate]\nmax_lower_bound = { limit = 2, severity = 'warning' }\n")
    file.write_text("max_lower_bound = 3\n")
    own = Policy(max_lower_bound=1.0)
    assert choose_policy(None, own, project) == (own, f"{project}, and of the experiment max_lower_bound")
    assert choose_policy(file, own, project) == (Policy(max_lower_bound=3.0), str(file))
    found, source = choose_policy(None, Policy(), project)
    assert (found.max_lower_bound.limit, found.max_lower_bound.severity, source) == (2.0, "warning", str(project))
    assert choose_policy(None, Policy(), tmp_path / "none.toml") == (Policy(), "the experiment")
    project.write_text("[tool.firedamp.gates]\nmax_lower_bound = 2\n")
    with pytest.raises(InputError, match="Unknown key 'gates'"):
        choose_policy(None, Policy(), project)
    project.write_text("[project]\nname = 'x'\n")
    assert choose_policy(None, Policy(), project) == (Policy(), "the experiment")


PIPELINE = {
    "name": "a",
    "models": 2,
    "attacks": ["loss"],
    "estimators": ["one-run"],
    "data": {"name": "digits", "train": 40, "pool": 30, "test": 5},
    "canaries": {"design": "uniform-noise", "count": 8},
    "trainer": {"name": "ensemble", "model": "mlp", "steps": 1, "sample_rate": 1.0},
}
EXPERIMENT = {"name": "e", "epsilons": [4.0], "delta": 1e-5, "confidence": 0.9, "audits": [PIPELINE]}


@pytest.mark.parametrize(
    ("policy", "share"),
    [
        ({}, 1),
        ({"max_lower_bound": 1.0}, 1),
        ({"max_extraction_rate": 0.1}, 2),
        (BUDGETS, 2),
        ({"baseline": "b"}, 2),
        (BUDGETS | {"baseline": "b"}, 3),
    ],
)
def test_claims_rates_and_the_baseline_share_the_error(tmp_path, policy, share):
    sweep(parse(EXPERIMENT), tmp_path)
    found = load_result(tmp_path, Policy.model_validate(policy))
    assert found.confidence == pytest.approx(1 - 0.1 / share, abs=1e-12)
    assert found.cells[0].attacks[0].bounds[0].confidence > found.confidence


def test_the_policy_s_confidence_and_power_stand_in_for_the_experiment_s(tmp_path):
    audit = PIPELINE | {"models": 8, "canaries": PIPELINE["canaries"] | {"references": 8}}
    audit["trainer"] = audit["trainer"] | {"steps": 20, "learning_rate": 4.0}
    sweep(parse(EXPERIMENT | {"audits": [audit]}), tmp_path)
    assert load_result(tmp_path, Policy(confidence=0.999)).confidence == 0.999
    lenient, strict = (load_result(tmp_path, Policy(least_power=share)).verdict for share in (0.0, 1.0))
    assert lenient.outcome is Outcome.NOT_REFUTED
    assert strict.outcome is Outcome.INCONCLUSIVE
    assert "below 100% of the claimed 4" in strict.reason


def test_the_experiment_wins_key_by_key(tmp_path):
    project = tmp_path / "pyproject.toml"
    project.write_text("[tool.firedamp.gate]\nmax_lower_bound = 2\nleast_power = 0.5\nconfidence = 0.999\n")
    written = parse(EXPERIMENT | {"gate": {"least_power": 0.25, "max_extraction_rate": 0.1}}).plain()["gate"]
    own = Policy.model_validate(json.loads(json.dumps(written)))
    found, source = choose_policy(None, own, project)
    assert found == Policy(max_lower_bound=2.0, least_power=0.25, confidence=0.999, max_extraction_rate=0.1)
    assert source == f"{project}, and of the experiment least_power, max_extraction_rate"
    silent = Policy.model_validate(parse(EXPERIMENT).plain()["gate"])
    assert choose_policy(None, silent, project) == (load_policy(project), str(project))


def test_a_policy_survives_the_run_directory():
    policy = Policy.model_validate(BUDGETS | {"baseline": "b", "confidence": 0.999, "refute_claims": "warning"})
    assert Policy.model_validate(json.loads(json.dumps(policy.model_dump()))) == policy
