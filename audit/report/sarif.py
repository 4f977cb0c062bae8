"""A gate's result as SARIF 2.1.0 (OASIS 2020): what code hosts show as findings."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

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


FINGERPRINT = "firedamp/v1"


def sarif_json(result: RunResult, gate: GateResult, artifact: Path) -> dict[str, Any]:
    """One run with a result for each finding, each inconclusive cell and failed units, ready for `json.dumps`.

    Args:
        result: the run.
        gate: what the gate found.
        artifact: the file that results point to: the policy or the run's manifest.
    """
    location = artifact_location(artifact)
    unclear = [replace(f, severity="warning", detail=f"{f.detail}, unclear") for f in gate.unclear]
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
                                    "artifactLocation": location,
                                    "region": {"startLine": 1},
                                },
                                "logicalLocations": [{"fullyQualifiedName": finding.where, "kind": "module"}],
                            }
                        ],
                        "partialFingerprints": {FINGERPRINT: mark},
                    }
                    for finding, mark in zip(findings, fingerprints(findings), strict=True)
                ],
                "invocations": [
                    {"executionSuccessful": gate.exit_code != exit_codes.UNITS_FAILED, "exitCode": gate.exit_code}
                ],
                "properties": {"verdict": gate.verdict.outcome.value, "reason": gate.verdict.reason},
            }
        ],
    }


def artifact_location(path: Path, root: Path | None = None) -> dict[str, str]:
    """Where a file is, as `artifactLocation`: relative to the repository, or absolute where it is outside of it.

    Args:
        path: the file, relative to the working directory or absolute.
        root: the repository's root; by default the nearest folder from here up that holds `.git`, else the working
            directory.
    """
    here, whole = Path.cwd(), Path(path).resolve()
    root = root or next((folder for folder in (here, *here.parents) if (folder / ".git").exists()), here)
    if whole.is_relative_to(root.resolve()):
        return {"uri": quote(whole.relative_to(root.resolve()).as_posix()), "uriBaseId": "%SRCROOT%"}
    return {"uri": whole.as_uri()}


def fingerprints(findings: list[Finding]) -> list[str]:
    """One for each, distinct: of rule, place, attack and limit, so the same in every run, whatever the numbers.

    Several alike are told apart by a count behind the hash.
    """
    seen: Counter[str] = Counter()
    marks = []
    for finding in findings:
        text = json.dumps([finding.rule, finding.where, finding.detail])
        mark = hashlib.sha256(text.encode()).hexdigest()[:32]
        seen[mark] += 1
        marks.append(f"{mark}:{seen[mark]}")
    return marks


def _unclear(result: RunResult) -> list[Finding]:
    return [
        Finding("inconclusive", f"{cell.audit} at epsilon {cell.claim.epsilon:g}", cell.verdict.reason, "warning")
        for cell in result.cells
        if cell.verdict is not None and cell.verdict.outcome is Outcome.INCONCLUSIVE
    ]
