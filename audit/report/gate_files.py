"""Everything that a gate leaves for CI systems, written into the run directory."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from audit.gate import GateResult
from audit.report.junit import junit_xml
from audit.report.markdown import markdown
from audit.report.sarif import sarif_json
from audit.results import RunResult
from audit.store import RunDirectory


def gate_document(result: RunResult, gate: GateResult, policy: str) -> dict[str, Any]:
    """The gate's result as plain data."""
    return {
        "passed": gate.passed,
        "exit_code": gate.exit_code,
        "verdict": asdict(gate.verdict),
        "findings": [asdict(finding) for finding in gate.findings],
        "unclear": [asdict(finding) for finding in gate.unclear],
        "failed_units": sorted(result.failures),
        "confidence": result.confidence,
        "policy": policy,
    }


def write_gate_files(result: RunResult, gate: GateResult, policy: str, run: RunDirectory) -> dict[str, Path]:
    """Write gate.json, gate.junit.xml, gate.sarif and gate.md; their paths by kind.

    Args:
        result: the run.
        gate: what the gate found.
        policy: the policy's file, or what to call where it is from; SARIF points there, or to run.json.
        run: the run directory.
    """
    artifact = Path(policy) if Path(policy).is_file() else run.path / "run.json"
    return {
        "json": run.write_json("gate.json", gate_document(result, gate, policy)),
        "junit": run.write_text("gate.junit.xml", junit_xml(result, gate)),
        "sarif": run.write_json("gate.sarif", sarif_json(result, gate, artifact)),
        "markdown": run.write_text("gate.md", markdown(result, gate, policy)),
    }
