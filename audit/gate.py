"""The gate: a run's results against a policy, for CI."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from audit import exit_codes, registry
from audit.formatting import lower
from audit.policy import Policy
from audit.results import CellResult, Outcome, RunResult, Verdict
from canaries.errors import InputError


@dataclass(frozen=True)
class Finding:
    """One thing that failed.

    Attributes:
        rule: the policy's key that it violates.
        where: pipeline and epsilon.
        message: what was found, what is allowed.
    """

    rule: str
    where: str
    message: str


@dataclass(frozen=True)
class GateResult:
    """What the gate found.

    Attributes:
        passed: true if nothing failed and the verdict is NOT_REFUTED.
        verdict: the run's.
        findings: what failed.
        exit_code: 0 passed, 1 refuted or over budget, 3 inconclusive, 4 some units failed.
    """

    passed: bool
    verdict: Verdict
    findings: tuple[Finding, ...]
    exit_code: int


def check(result: RunResult, policy: Policy) -> GateResult:
    """Hold a run against a policy. Only proven bounds and confidence limits count, and never a control."""
    findings = tuple(
        finding for cell in result.cells if not cell.claim.is_control for finding in _findings(cell, policy)
    )
    code = exit_code(result)
    if findings:
        code = exit_codes.REFUTED
    elif code == exit_codes.REFUTED:  # Refuted, where the policy does not mind: what else is there?
        unclear = any(cell.verdict and cell.verdict.outcome is Outcome.INCONCLUSIVE for cell in result.cells)
        otherwise = exit_codes.INCONCLUSIVE if unclear else exit_codes.NOT_REFUTED
        code = exit_codes.UNITS_FAILED if result.failures else otherwise
    return GateResult(code == exit_codes.NOT_REFUTED, result.verdict, findings, code)


def exit_code(result: RunResult) -> int:
    """A run's verdict as an exit code; failed units outweigh all but a refutation."""
    if result.verdict.outcome is Outcome.REFUTED:
        return exit_codes.REFUTED
    if result.failures:
        return exit_codes.UNITS_FAILED
    return exit_codes.BY_OUTCOME[result.verdict.outcome]


def load_policy(path: Path) -> Policy:
    """A policy from a TOML file: its table [gate] where there is one, else the whole file.

    Raises:
        InputError: for a file that cannot be read, or a key or value that is not allowed.
    """
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"Cannot read the policy '{path}': {error}.") from None
    table = table.get("gate", table)
    if not isinstance(table, dict):
        raise InputError(f"{path}: Key 'gate': expected a table, got {table!r}.")
    for key in table:
        if key not in Policy.model_fields:
            raise InputError(f"{path}: {registry.unknown_key(key, set(Policy.model_fields), 'the policy')}")
    try:
        return Policy.model_validate(table)
    except ValidationError as error:
        raise InputError(f"{path}: {registry.sentence(error)}") from None


def _findings(cell: CellResult, policy: Policy) -> Iterator[Finding]:
    where = f"{cell.audit} at epsilon {cell.claim.epsilon:g}"
    verdict = cell.verdict
    if policy.refute_claims and verdict is not None and verdict.outcome is Outcome.REFUTED:
        yield Finding("refute_claims", where, verdict.reason)
    if policy.max_lower_bound is not None and verdict is not None and verdict.lower_bound > policy.max_lower_bound:
        yield Finding(
            "max_lower_bound",
            where,
            f"Epsilon is at least {lower(verdict.lower_bound)}; at most {policy.max_lower_bound:g} is allowed.",
        )
    if policy.max_extraction_rate is None:
        return
    for attack in cell.attacks:
        for group in attack.extraction:
            if group.rate.low > policy.max_extraction_rate:
                yield Finding(
                    "max_extraction_rate",
                    where,
                    f"{group.rate.value:.0%} of the secrets inserted {group.repetitions} times were extracted "
                    f"(at least {group.rate.low:.0%} at 95%); at most {policy.max_extraction_rate:.0%} is allowed.",
                )
