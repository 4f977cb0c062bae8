"""What the gate writes for CI, read by readers that are not ours."""

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
import sarif_pydantic
from junitparser import Error, Failure, JUnitXml, Skipped
from markdown_it import MarkdownIt

from audit.claim_test import ClaimTest
from audit.gate import check
from audit.policy import Policy
from audit.report.gate_files import write_gate_files
from audit.report.junit import junit_xml
from audit.report.markdown import markdown
from audit.report.sarif import RULES, sarif_json
from audit.results import Outcome, Verdict
from audit.store import RunDirectory

SCHEMA = json.loads((Path(__file__).parent / "sarif_subset.schema.json").read_text(encoding="utf-8"))
KINDS = {"failure": Failure, "error": Error, "skipped": Skipped}


def refuted(result):
    """The first claim with a bound above it and a test that refutes it, all else as it was."""
    first, *others = result.cells
    attack = first.attacks[0]
    above = replace(attack.bounds[0], epsilon=1.5)
    attack = replace(
        attack,
        bounds=(above, *attack.bounds[1:]),
        claim_test=ClaimTest(1e-4, "(1, 1e-05)-DP per record", "all ranks", ()),
    )
    cell = replace(
        first, attacks=(attack, *first.attacks[1:]), verdict=Verdict(Outcome.REFUTED, "Above the claim.", 1.5, 3.3)
    )
    return replace(result, cells=(cell, *others), verdict=Verdict(Outcome.REFUTED, "Above.", 1.5, 3.3), failures={})


def read(text):
    """State of each case, by suite and name, as junitparser sees it."""
    found = {}
    for suite in JUnitXml.fromstring(text.encode()):
        for case in suite:
            kinds = [kind for kind, cls in KINDS.items() if any(isinstance(r, cls) for r in case.result)]
            found[suite.name, case.name] = kinds[0] if kinds else "passed"
    return found


def test_one_case_for_each_claim_attack_and_estimator(result):
    found = read(junit_xml(result, check(result, Policy())))
    for cell in result.cells:
        suite = f"{cell.audit} at epsilon {cell.claim.epsilon:g}"
        names = {name for where, name in found if where == suite}
        if cell.claim.is_control:
            assert not names
        else:
            pairs = {f"{attack.attack} / {bound.estimator}" for attack in cell.attacks for bound in attack.bounds}
            assert names == pairs | {"verdict"}


def test_states_of_cases(result):
    run = refuted(result)
    text = junit_xml(run, check(run, Policy()))
    found = read(text)
    assert found["digits at epsilon 1", "verdict"] == "failure"
    assert found["digits at epsilon 1", "loss / clopper-pearson"] == "failure"
    assert found["digits at epsilon 1", "loss / claim-test"] == "failure"
    assert found["digits at epsilon 1", "loss / one-run"] == "passed"
    assert found["digits at epsilon 1", "loss / gdp"] == "skipped"  # assumes a curve: no verdict rests on it
    assert found["pydoc text at epsilon 1", "verdict"] == "error"  # inconclusive is no pass
    assert found["pydoc text at epsilon 1", "exposure / secrets"] == "skipped"
    assert found["digits at epsilon 2", "verdict"] == "passed"
    assert "1.50" in text
    counts = JUnitXml.fromstring(text.encode())
    assert (counts.tests, counts.failures, counts.errors) == (
        len(found),
        list(found.values()).count("failure"),
        list(found.values()).count("error"),
    )


def test_budgets_and_failed_units_are_cases(result):
    policy = Policy.model_validate({"max_lower_bound": {"limit": 0.1, "severity": "warning"}})
    found = read(junit_xml(result, check(result, policy)))
    assert found["digits at epsilon 2", "max_lower_bound"] == "passed"
    assert found["units", "digits/eps=4/model=17"] == "error"
    found = read(junit_xml(result, check(result, Policy(max_lower_bound=0.1))))
    assert found["digits at epsilon 2", "max_lower_bound"] == "failure"


@pytest.mark.parametrize("kind", ["result", "empty", "hostile"])
def test_every_document_is_whatever_it_says_it_is(kind, request):
    run = request.getfixturevalue(kind)
    gate = check(run, Policy(max_lower_bound=0.1, max_extraction_rate=0.01))
    cases = read(junit_xml(run, gate))
    assert cases
    document = json.loads(json.dumps(sarif_json(run, gate, "policy.toml"), allow_nan=False))
    jsonschema.validate(document, SCHEMA)
    parsed = sarif_pydantic.Sarif.model_validate(document)
    assert len(parsed.runs[0].results) >= len(gate.findings)
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown(run, gate, "policy.toml"))
    assert "<script" not in html
    assert "<img" not in html
    assert html.count("<table>") == (2 if gate.findings else 1)


def test_sarif_says_what_was_found(result):
    run = refuted(result)
    document = sarif_json(run, check(run, Policy()), "gate.toml")
    (sarif,) = document["runs"]
    assert [rule["id"] for rule in sarif["tool"]["driver"]["rules"]] == list(RULES)
    errors = [r for r in sarif["results"] if r["level"] == "error"]
    assert [(r["ruleId"], r["message"]["text"]) for r in errors] == [
        ("refute_claims", "digits at epsilon 1: Above the claim.")
    ]
    assert {r["ruleId"] for r in sarif["results"] if r["level"] == "warning"} == {"inconclusive"}
    assert all(list(RULES)[r["ruleIndex"]] == r["ruleId"] for r in sarif["results"])
    assert sarif["invocations"] == [{"executionSuccessful": True, "exitCode": 1}]


def test_the_summary_shows_what_could_have_been_shown(result):
    text = markdown(result, check(result, Policy()), "gate.toml")
    assert "| digits | 8 | NOT_REFUTED | 1.23 | 3.28 | loss, clopper-pearson |" in text
    assert "Policy: gate.toml." in text


def test_all_files_are_written(result, tmp_path):
    run = RunDirectory(tmp_path)
    written = write_gate_files(result, check(result, Policy()), "the experiment", run)
    assert {path.name for path in written.values()} == {"gate.json", "gate.junit.xml", "gate.sarif", "gate.md"}
    document = json.loads((tmp_path / "gate.sarif").read_text())
    location = document["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert location["artifactLocation"]["uri"] == (tmp_path / "run.json").as_posix()
    assert json.loads((tmp_path / "gate.json").read_text())["policy"] == "the experiment"
