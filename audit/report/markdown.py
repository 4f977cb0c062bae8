"""A gate's result as Markdown: the summary on a CI job's page."""

from __future__ import annotations

from audit.formatting import confidence, lower, p_value, setting, upper
from audit.gate import GateResult
from audit.report.tables import best
from audit.results import CellResult, RunResult


def markdown(result: RunResult, gate: GateResult, policy: str) -> str:
    """The verdict, what the policy does not allow, and each claim with its largest bound beside what could be shown.

    Args:
        result: the run.
        gate: what the gate found.
        policy: where the policy is from.
    """
    lines = [
        f"## Firedamp: {'passed' if gate.passed else 'not passed'}",
        "",
        f"**{gate.verdict.outcome}** {_text(gate.verdict.reason)}",
        "",
    ]
    if gate.findings or gate.unclear:
        lines += ["| | rule | where | what |", "|---|---|---|---|"]
        lines += [f"| {f.severity} | {f.rule} | {_text(f.where)} | {_text(f.message)} |" for f in gate.findings]
        lines += [f"| unclear | {f.rule} | {_text(f.where)} | {_text(f.message)} |" for f in gate.unclear]
        lines.append("")
    lines += [
        "| pipeline | claimed ε | verdict | ε is at least | a perfect attack could have shown | by | claim's p |",
        "|---|---|---|---|---|---|---|",
        *(_row(cell) for cell in result.cells),
        "",
    ]
    if result.failures:
        lines += [f"{len(result.failures)} models failed.", ""]
    lines.append(f"All bounds hold together with {confidence(result.confidence)} confidence. Policy: {_text(policy)}.")
    return "\n".join(lines) + "\n"


def _row(cell: CellResult) -> str:
    plain = [(b, a.attack) for a in cell.attacks for b in a.bounds if not b.parametric]
    epsilon, ceiling, _ = best(b for b, _ in plain)
    by = next((f"{attack}, {bound.estimator}" for bound, attack in plain if bound.epsilon == epsilon > 0), "")
    tests = [a.claim_test.p_value for a in cell.attacks if a.claim_test is not None]
    outcome = "control" if cell.verdict is None else cell.verdict.outcome.value
    columns = (
        _text(cell.audit),
        setting(cell.claim.epsilon),
        outcome,
        lower(epsilon),
        upper(ceiling),
        _text(by),
        p_value(min(tests)) if tests else "",
    )
    return f"| {' | '.join(columns)} |"


def _text(text: str) -> str:
    """Anybody's text inside a table: one line, and nothing that Markdown or HTML would take for its own."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    for mark in "\\`*_[]<>|#&":
        line = line.replace(mark, "\\" + mark)
    return line
