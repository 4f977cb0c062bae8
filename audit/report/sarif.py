"""A gate's result as SARIF 2.1.0 (OASIS 2020): what code hosts show as findings."""

from __future__ import annotations

import importlib.metadata
from dataclasses import replace
from typing import Any

from audit import exit_codes
from audit.gate import Finding, GateResult
from audit.results import Outcome, RunResult

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

RULES = {
    "refute_claims": "A claimed epsilon is refuted.",
    "max_lower_bound": "Epsilon is proven to be above its budget.",
    "max_extraction_rate": "More secrets are extracted than the budget allows.",
    "max_tpr": "An attack finds more members at a false positive rate than the budget allows.",
    "baseline": "An attack does significantly better than in the baseline.",
    "inconclusive": "The audit could not conclude; that is no pass.",
    "units_failed": "Models failed to train or could not be attacked.",
}


def sarif_json(result: RunResult, gate: GateResult, artifact: str) -> dict[str, Any]:
    """One run with a result for each finding, each inconclusive cell and failed units, ready for `json.dumps`.

    Args:
        result: the run.
        gate: what the gate found.
        artifact: the file that results point to, relative to the repository: the policy or the experiment.
    """
    unclear = [replace(finding, severity="warning") for finding in gate.unclear]
    findings = [*gate.findings, *unclear, *_unclear(result)]
    if result.failures:
        message = f"{len(result.failures)} models failed: {', '.join(sorted(result.failures))}."
        findings.append(Finding("units_failed", result.name, message))
    order = list(RULES)
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "Firedamp",
                        "semanticVersion": importlib.metadata.version("firedamp"),
                        "rules": [{"id": rule, "shortDescription": {"text": text}} for rule, text in RULES.items()],
                    }
                },
                "results": [
                    {
                        "ruleId": finding.rule,
                        "ruleIndex": order.index(finding.rule),
                        "level": finding.severity,
                        "message": {"text": f"{finding.where}: {finding.message}"},
                        "locations": [
                            {
                                "physicalLocation": {
                                    "artifactLocation": {"uri": artifact},
                                    "region": {"startLine": 1},
                                },
                                "logicalLocations": [{"fullyQualifiedName": finding.where, "kind": "module"}],
                            }
                        ],
                    }
                    for finding in findings
                ],
                "invocations": [
                    {"executionSuccessful": gate.exit_code != exit_codes.UNITS_FAILED, "exitCode": gate.exit_code}
                ],
                "properties": {"verdict": gate.verdict.outcome.value, "reason": gate.verdict.reason},
            }
        ],
    }


def _unclear(result: RunResult) -> list[Finding]:
    return [
        Finding("inconclusive", f"{cell.audit} at epsilon {cell.claim.epsilon:g}", cell.verdict.reason, "warning")
        for cell in result.cells
        if cell.verdict is not None and cell.verdict.outcome is Outcome.INCONCLUSIVE
    ]
