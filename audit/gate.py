"""The gate: a run's results against a policy, for CI."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from audit import exit_codes, registry
from audit.combine import simultaneous_confidence
from audit.design_effect import INDEPENDENT, DesignEffect
from audit.formatting import lower, number, p_value, upper
from audit.policy import Policy, Severity, TprBudget
from audit.rates import most_tpr_at_least, rate_at_least, tpr_at_least
from audit.regression import Key, changes, unmatched
from audit.results import AttackResult, CellResult, Extraction, Outcome, RunResult, Verdict
from canaries.errors import InputError


@dataclass(frozen=True)
class Finding:
    """One thing that the policy does not allow.

    Attributes:
        rule: the policy's key that it violates.
        where: pipeline and epsilon.
        message: what was found, what is allowed.
        severity: an error fails the gate, a warning does not.
        detail: what else it is about, attack and limit; the same in every run of the experiment.
    """

    rule: str
    where: str
    message: str
    severity: Severity = "error"
    detail: str = ""


@dataclass(frozen=True)
class GateResult:
    """What the gate found.

    Attributes:
        passed: true if nothing failed and the verdict is NOT_REFUTED.
        verdict: the run's.
        findings: errors and warnings.
        unclear: what the policy asks and the run cannot tell; an error among them keeps the gate from passing.
        exit_code: 0 passed, 1 refuted or over budget, 3 inconclusive, 4 some units failed.
    """

    passed: bool
    verdict: Verdict
    findings: tuple[Finding, ...]
    exit_code: int
    unclear: tuple[Finding, ...] = ()


def check(result: RunResult, policy: Policy, baseline: RunResult | None = None) -> GateResult:
    """Hold a run against a policy. Only proven bounds and confidence limits count, and never a control.

    Claims with their bounds, rates, and the baseline are each held at the run's confidence; all hold together with the
    policy's where the run was read with it (`load_result`), which shares the error among them.

    Where a negative control alarmed nothing is held against any budget: the audit is broken, and its numbers with it.
    Nor where models are missing: which ones may depend on what they would have said.

    Args:
        result: the run.
        policy: what is allowed.
        baseline: the run that the policy's baseline names, read.

    Raises:
        InputError: if the policy names a baseline, and it is not given or shares no attack with the run.
    """
    cells = [cell for cell in result.cells if cell.verdict is not None and not _unsound(cell)]
    worse, incomparable = _of_baseline(result, policy, baseline)
    findings = (
        *(finding for cell in cells for finding in _of_claim(cell, policy)),
        *_of_rates(cells, policy, result.confidence),
        *worse,
    )
    unclear = (
        *(finding for cell in cells for finding in _of_gaps(cell, policy)),
        *(_unmeasured(cells, policy, result) if cells else ()),
        *incomparable,
    )
    code = exit_code(result)
    if any(finding.severity == "error" for finding in findings):
        code = exit_codes.REFUTED
    elif code == exit_codes.REFUTED:  # Refuted, where the policy does not mind: what else is there?
        inconclusive = any(cell.verdict and cell.verdict.outcome is Outcome.INCONCLUSIVE for cell in result.cells)
        otherwise = exit_codes.INCONCLUSIVE if inconclusive else exit_codes.NOT_REFUTED
        code = exit_codes.UNITS_FAILED if result.failures else otherwise
    if code == exit_codes.NOT_REFUTED and any(finding.severity == "error" for finding in unclear):
        code = exit_codes.INCONCLUSIVE
    return GateResult(code == exit_codes.NOT_REFUTED, result.verdict, findings, code, unclear)


def exit_code(result: RunResult) -> int:
    """A run's verdict as an exit code; failed units outweigh all but a refutation."""
    if result.verdict.outcome is Outcome.REFUTED:
        return exit_codes.REFUTED
    if result.failures:
        return exit_codes.UNITS_FAILED
    return exit_codes.BY_OUTCOME[result.verdict.outcome]


def load_policy(path: Path) -> Policy:
    """A policy from a TOML file: its table [tool.firedamp.gate] or [gate] where there is one, else the whole file.

    Raises:
        InputError: for a file that cannot be read or holds no policy, or a key or value that is not allowed.
    """
    whole = _toml(path)
    table = _project_table(whole, path)
    if table is None:
        table = whole.get("gate", {} if "tool" in whole else whole)
    if not isinstance(table, dict):
        raise InputError(f"{path}: Key 'gate': expected a table, got {table!r}.")
    if not table:
        raise InputError(
            f"{path}: Expected a policy, got none; allowed keys: {', '.join(sorted(Policy.model_fields))}."
        )
    for key in table:
        if key not in Policy.model_fields:
            raise InputError(f"{path}: {registry.unknown_key(key, set(Policy.model_fields), 'the policy')}")
    try:
        return Policy.model_validate(table)
    except ValidationError as error:
        raise InputError(f"{path}: {registry.sentence(error)}") from None


def choose_policy(given: Path | None, own: Policy, project: Path = Path("pyproject.toml")) -> tuple[Policy, str]:
    """The policy that counts, and where it is from: a file that is named; else the project's, under the experiment's.

    Args:
        given: a policy file, or None; nothing else counts beside it.
        own: the experiment's [gate]; each key that it sets counts.
        project: whose [tool.firedamp.gate] counts for all other keys.

    Raises:
        InputError: as `load_policy`.
    """
    if given is not None:
        return load_policy(given), str(given)
    if not (project.is_file() and _project_table(_toml(project), project)):
        return own, "the experiment"
    mine = {key: getattr(own, key) for key in sorted(own.model_fields_set)}
    merged = load_policy(project).model_copy(update=mine)
    return merged, f"{project}, and of the experiment {', '.join(mine)}" if mine else str(project)


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"Cannot read the policy '{path}': {error}.") from None


def _project_table(table: dict[str, Any], path: Path) -> Any:
    """[tool.firedamp.gate], or None; what else stands in [tool.firedamp] is misspelt."""
    tool = table.get("tool")
    mine = tool.get("firedamp") if isinstance(tool, dict) else None
    if mine is None:
        return None
    if not isinstance(mine, dict):
        raise InputError(f"{path}: Key 'tool.firedamp': expected a table, got {mine!r}.")
    for key in mine:
        if key != "gate":
            raise InputError(f"{path}: {registry.unknown_key(key, {'gate'}, '[tool.firedamp]')}")
    return mine.get("gate")


def _where(audit: str, epsilon: float) -> str:
    return f"{audit} at epsilon {epsilon:g}"


def _unsound(cell: CellResult) -> bool:
    """Whether no number of the cell counts against anything: its control alarmed, or models are missing."""
    return (cell.verdict is not None and cell.verdict.alarmed) or cell.models_done < cell.models_planned


def _of_claim(cell: CellResult, policy: Policy) -> Iterator[Finding]:
    where, verdict, budget = _where(cell.audit, cell.claim.epsilon), cell.verdict, policy.max_lower_bound
    assert verdict is not None
    if policy.claim_severity and verdict.outcome is Outcome.REFUTED:
        yield Finding("refute_claims", where, verdict.reason, policy.claim_severity)
    if budget is not None and verdict.lower_bound > budget.limit:
        message = f"Epsilon is at least {lower(verdict.lower_bound)}; at most {budget.limit:g} is allowed."
        yield Finding("max_lower_bound", where, message, budget.severity)


def _of_gaps(cell: CellResult, policy: Policy) -> Iterator[Finding]:
    """What a refuted cell lacks, where the policy looks away from the refutation; other cells say so themselves."""
    assert cell.verdict is not None
    if cell.verdict.outcome is Outcome.REFUTED and policy.claim_severity != "error":
        for gap in cell.verdict.gaps:
            yield Finding("inconclusive", _where(cell.audit, cell.claim.epsilon), gap)


def _of_rates(cells: list[CellResult], policy: Policy, confidence: float) -> Iterator[Finding]:
    """Budgets on rates; all their limits hold together with the run's confidence, beside what else it proves."""
    each = _each_rate(cells, policy, confidence)
    for where, attack in _attacks(cells):
        yield from _extracted(where, attack, policy, each)
        for budget in policy.max_tpr:
            least = tpr_at_least(attack.proving, budget.fpr, each)
            if least > budget.limit:
                message = (
                    f"Attack {attack.attack} finds at least {lower(100 * least)}% of the members at a false positive "
                    f"rate of {budget.fpr:g} (confidence {each:.6g}); at most {budget.limit:.3%} is allowed."
                )
                yield Finding("max_tpr", where, message, budget.severity, f"{attack.attack}, {_tpr(budget)}")


def _tpr(budget: TprBudget) -> str:
    return f"at most {budget.limit:g} at FPR {budget.fpr:g}"


def _attacks(cells: list[CellResult]) -> list[tuple[str, AttackResult]]:
    return [(_where(cell.audit, cell.claim.epsilon), attack) for cell in cells for attack in cell.attacks]


def _each_rate(cells: list[CellResult], policy: Policy, confidence: float) -> float:
    """The confidence of each limit on a rate, so that all of them hold together."""
    attacks = _attacks(cells)
    shares = sum(len(_shares(group)) for _, attack in attacks for group in attack.extraction)
    shares *= policy.max_extraction_rate is not None
    return simultaneous_confidence(confidence, shares + len(attacks) * len(policy.max_tpr))


def _unmeasured(cells: list[CellResult], policy: Policy, result: RunResult) -> Iterator[Finding]:
    """Budgets that not even a perfect attack could have broken here, so that keeping them says nothing."""
    each = _each_rate(cells, policy, result.confidence)
    if (bound := policy.max_lower_bound) is not None:
        for cell in cells:
            assert cell.verdict is not None
            if cell.verdict.ceiling <= bound.limit:
                message = (
                    f"A perfect attack could have shown epsilon {upper(cell.verdict.ceiling)} at most; whether it is "
                    f"above {bound.limit:g} cannot be told."
                )
                yield Finding("max_lower_bound", _where(cell.audit, cell.claim.epsilon), message, bound.severity)
    for cell, budget in itertools.product(cells, policy.max_tpr):
        could = max((most_tpr_at_least(a.proving, budget.fpr, each) for a in cell.attacks), default=0.0)
        if could <= budget.limit < 1:
            message = (
                f"Of the true positive rate at a false positive rate of {budget.fpr:g}, these scores could prove "
                f"{lower(100 * could)}% at most; whether it is above {budget.limit:.3%} cannot be told."
            )
            where = _where(cell.audit, cell.claim.epsilon)
            yield Finding("max_tpr", where, message, budget.severity, _tpr(budget))
    if (rate := policy.max_extraction_rate) is not None:
        groups = [group for _, attack in _attacks(cells) for group in attack.extraction if _shares(group)]
        could = max((_most_extracted(group, each) for group in groups), default=0.0)
        if could <= rate.limit < 1:
            message = (
                f"The secrets could prove an extraction rate of {lower(100 * could)}% at most; whether it is above "
                f"{rate.limit:.0%} cannot be told."
                if groups
                else "No attack tried to extract a secret that was inserted."
            )
            yield Finding("max_extraction_rate", result.name, message, rate.severity)


def _extracted(where: str, attack: AttackResult, policy: Policy, confidence: float) -> Iterator[Finding]:
    budget = policy.max_extraction_rate
    for group in attack.extraction if budget is not None else ():
        assert budget is not None
        limits = [
            (rate_at_least(round(share * group.secrets), group.secrets, confidence, effect), share, how)
            for how, (share, effect) in _shares(group).items()
        ]
        if limits and max(limits)[0] > budget.limit:
            least, share, how = max(limits)
            message = (
                f"{share:.0%} of the secrets inserted {group.repetitions} times were extracted {how} (at least "
                f"{lower(100 * least)}%, confidence {confidence:.6g}); at most {budget.limit:.0%} is allowed."
            )
            detail = f"{attack.attack}, {group.exposure_max:.4g} bits in {group.repetitions} records"
            yield Finding("max_extraction_rate", where, message, budget.severity, detail)


def _shares(group: Extraction) -> dict[str, tuple[float, DesignEffect]]:
    """The shares of a group's secrets that were extracted, by how, and how the pairs depend on each other.

    None for secrets that were never inserted.
    """
    if not group.repetitions or not group.secrets:
        return {}
    ranked = dict(group.top)
    found = {"by decoding": (group.rate.value, group.effects.get("extracted", INDEPENDENT))}
    if 1 in ranked:
        found["as the likeliest of all values"] = ranked[1].value, group.effects.get("top_1", INDEPENDENT)
    return found


def _most_extracted(group: Extraction, confidence: float) -> float:
    """The limit that the extraction of every secret would prove."""
    clusters = max(effect.clusters for _, effect in _shares(group).values())
    return rate_at_least(group.secrets, group.secrets, confidence, DesignEffect(clusters=clusters))


def _of_baseline(result: RunResult, policy: Policy, baseline: RunResult | None) -> tuple[list[Finding], list[Finding]]:
    """What got worse since the baseline, and what the baseline cannot tell."""
    if policy.baseline is None:
        return [], []
    if baseline is None:
        raise InputError(f"The policy names a baseline, '{policy.baseline.run}', and it was not read.")
    run, level = policy.baseline.run, 1 - result.confidence
    found = changes(result, baseline)
    if not found:
        raise InputError(f"The baseline '{run}' shares no pipeline, epsilon and attack with this run.")
    broken, broken_before = _without_numbers(result), _without_numbers(baseline)
    worse: list[tuple[Key, str]] = []
    unclear: list[tuple[Key, str]] = []
    for change in (change for change in found if change.key[:2] not in broken):
        if change.key[:2] in broken_before:
            message = f"In '{run}' a negative control alarmed or models are missing, so nothing can be held against it."
            unclear.append((change.key, f"{message} Take another baseline."))
        elif change.p_value <= level:
            message = (
                f"Attack {change.attack} has a membership AUC of {number(change.auc)}; in '{run}' it had "
                f"{number(change.before)}; that this is noise has p = {p_value(change.p_value)}, adjusted for "
                f"{len(found)} comparisons."
            )
            worse.append((change.key, message))
        elif change.least_p > level:
            message = (
                f"There are too few scores of attack {change.attack} here or in '{run}': not even a membership AUC of "
                f"1 would be significantly larger (p = {p_value(change.least_p)})."
            )
            unclear.append((change.key, message))
    new, gone = unmatched(result, baseline)
    unclear += [(key, f"Attack {key[2]} is not in '{run}': nothing to hold it against.") for key in new]
    unclear += [(key, f"Attack {key[2]} is in '{run}' and not in this run.") for key in gone]

    def findings(of: list[tuple[Key, str]]) -> list[Finding]:
        assert policy.baseline is not None
        severity = policy.baseline.severity
        return [
            Finding("baseline", _where(audit, epsilon), message, severity, attack)
            for (audit, epsilon, attack), message in of
        ]

    return findings(worse), findings(unclear)


def _without_numbers(result: RunResult) -> set[tuple[str, float]]:
    return {(cell.audit, cell.claim.epsilon) for cell in result.cells if _unsound(cell)}
