"""A gate's result as JUnit XML: what CI systems list as tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal
from xml.etree import ElementTree

from audit.formatting import lower, p_value, upper
from audit.gate import Finding, GateResult
from audit.results import CellResult, Outcome, RunResult

State = Literal["passed", "failure", "error", "skipped"]


@dataclass(frozen=True)
class Case:
    """One test case.

    Attributes:
        suite: pipeline and claimed epsilon.
        name: what was tested; unlike every other of its suite, once written.
        state: how it went; an error is an answer that could not be had.
        message: with the numbers.
    """

    suite: str
    name: str
    state: State
    message: str


def junit_xml(result: RunResult, gate: GateResult) -> str:
    """One suite for each claim; in it the verdict, then one case for each attack and estimator, then budgets.

    What the policy asks and the run cannot tell is an error too, or skipped if the policy would only warn.

    A verdict that is INCONCLUSIVE is an error, for it is no pass; what stands behind it is then skipped. So are bounds
    that assume the shape of a curve, whatever they say.
    """
    cells = [cell for cell in result.cells if cell.verdict is not None]
    cases = [case for cell in cells for case in _of_cell(cell, gate, 1 - result.confidence)]
    if not cells:
        cases.append(Case(result.name, "verdict", "error", str(result.verdict)))
    for finding in gate.unclear:
        mark: State = "error" if finding.severity == "error" else "skipped"
        cases.append(Case(finding.where, f"{_named(finding)}, unclear", mark, finding.message))
    cases += [Case("units", unit, "error", text.strip() or "failed") for unit, text in result.failures.items()]
    cases = list(_distinct(cases))
    root = ElementTree.Element("testsuites", {"name": _clean(f"firedamp {result.name}")} | _counts(cases))
    for suite in dict.fromkeys(case.suite for case in cases):
        mine = [case for case in cases if case.suite == suite]
        node = ElementTree.SubElement(root, "testsuite", {"name": _clean(suite)} | _counts(mine))
        node.extend(_element(case) for case in mine)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _of_cell(cell: CellResult, gate: GateResult, level: float) -> Iterator[Case]:
    verdict, suite = cell.verdict, f"{cell.audit} at epsilon {cell.claim.epsilon:g}"
    assert verdict is not None
    found = [finding for finding in gate.findings if finding.where == suite]
    refuted = any(finding.rule == "refute_claims" and finding.severity == "error" for finding in found)
    unclear = verdict.outcome is Outcome.INCONCLUSIVE

    def state(fails: bool, counts: bool = True) -> State:
        return "skipped" if unclear or not counts else "failure" if fails and refuted else "passed"

    yield Case(suite, "verdict", "error" if unclear else state(True), str(verdict))
    for attack in cell.attacks:
        for bound in attack.bounds:
            text = (
                f"Epsilon is at least {lower(bound.epsilon)} at delta {bound.delta:g}, confidence "
                f"{bound.confidence:.6g}; {cell.claim.epsilon:g} is claimed; a perfect attack could have shown "
                f"{upper(bound.ceiling)} at most."
            )
            counts = not bound.parametric
            text += "" if counts else " This assumes the shape of a trade-off curve, and no verdict rests on it."
            yield Case(
                suite, f"{attack.attack} / {bound.estimator}", state(bound.epsilon > cell.claim.epsilon, counts), text
            )
        if (test := attack.claim_test) is not None:
            text = f"The adjusted p-value of {test.against} is {p_value(test.p_value)}, by {test.method}."
            yield Case(suite, f"{attack.attack} / claim-test", state(test.p_value <= level), text)
    for finding in found:
        if finding.rule != "refute_claims":
            text = f"{finding.severity}: {finding.message}"
            yield Case(suite, _named(finding), "failure" if finding.severity == "error" else "passed", text)


def _named(finding: Finding) -> str:
    return f"{finding.rule}: {finding.detail}" if finding.detail else finding.rule


def _distinct(cases: list[Case]) -> Iterator[Case]:
    """The same cases, a name that a suite has already counted: CI systems keep one case of each name."""
    seen: Counter[tuple[str, str]] = Counter()
    for case in cases:
        seen[case.suite, case.name] += 1
        count = seen[case.suite, case.name]
        yield case if count == 1 else replace(case, name=f"{case.name} ({count})")


def _element(case: Case) -> ElementTree.Element:
    node = ElementTree.Element("testcase", {"classname": _clean(case.suite), "name": _clean(case.name), "time": "0"})
    if case.state == "passed":
        ElementTree.SubElement(node, "system-out").text = _clean(case.message)
        return node
    kind = {"failure": "refuted", "error": "inconclusive", "skipped": "skipped"}[case.state]
    child = ElementTree.SubElement(node, case.state, {"message": _clean(case.message)})
    if case.state != "skipped":
        child.set("type", kind)
        child.text = _clean(case.message)
    return node


def _counts(cases: list[Case]) -> dict[str, str]:
    kinds = {"tests": None, "failures": "failure", "errors": "error", "skipped": "skipped"}
    counts = {name: sum(kind in (None, case.state) for case in cases) for name, kind in kinds.items()}
    return {name: str(count) for name, count in counts.items()} | {"time": "0"}


def _clean(text: str) -> str:
    """Without the characters that XML 1.0 cannot hold."""
    return "".join(
        c if c in "\t\n" or (c >= " " and c not in "\ufffe\uffff" and not "\ud800" <= c <= "\udfff") else "?"
        for c in text
    )
