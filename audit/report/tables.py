"""The report's tables as rows of plain data, for the page and for the terminal alike."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from audit.bounds import Bound
from audit.claim import Claim
from audit.curves import epsilons, extraction_label, pipelines
from audit.estimators.group import group_privacy
from audit.results import AttackResult, CellResult, EvidenceRate, Extraction, Interval, RecordRisk, RunResult, Verdict


@dataclass(frozen=True)
class VerdictRow:
    """One pipeline at one claimed epsilon.

    Attributes:
        pipeline: its name.
        epsilon: what it claims; infinity for the control.
        verdict: None for a control.
        lower_bound: the verdict's; for a control, the largest bound that assumes no curve.
        ceiling: the largest that could have been shown.
        control_p: for a control, the smallest p-value of its attacks, times their number; else None.
        models_done: models that are there.
        models_planned: models that were planned.
    """

    pipeline: str
    epsilon: float
    verdict: Verdict | None
    lower_bound: float
    ceiling: float
    control_p: float | None
    models_done: int
    models_planned: int


@dataclass(frozen=True)
class AttackRow:
    """One attack at one claimed epsilon.

    Attributes:
        pipeline: the pipeline's name.
        epsilon: what the pipeline claims.
        attack: the attack's name.
        family: "membership", "label-only", "extraction" or "white-box".
        access: what it was granted.
        queries: records that it sent to each model.
        lower_bound: its largest bound that assumes no curve (the run's confidence covers them all together);
            of the parametric ones where there is no other; NaN without any.
        ceiling: the largest that those could have shown; NaN without any.
        parametric: true if the bound assumes the shape of the trade-off curve.
        auc: membership AUC with its interval.
        seen_p: p-value that canaries in and out score alike.
        reference_p: the same among references; None without references.
        tpr_at: true positive rate by false positive rate, with its interval.
        claim_p: adjusted p-value of the claim's own test; None for a control or where no test fits.
        canaries: how many there are, references included; each got an equal share of the queries, on average.
        chance_p: the smallest p-value of "secrets that a model never saw fare as chance allows", times their number;
            None without such tests.
    """

    pipeline: str
    epsilon: float
    attack: str
    family: str
    access: str
    queries: float
    lower_bound: float
    ceiling: float
    parametric: bool
    auc: Interval
    seen_p: float
    reference_p: float | None
    tpr_at: Mapping[float, Interval]
    claim_p: float | None
    canaries: int
    chance_p: float | None


@dataclass(frozen=True)
class RiskRow:
    """The records most at risk under one attack at one claimed epsilon.

    Attributes:
        pipeline: the pipeline's name.
        epsilon: what the pipeline claims.
        attack: the attack's name.
        records: how many records were compared.
        risks: the worst first.
    """

    pipeline: str
    epsilon: float
    attack: str
    records: int
    risks: tuple[RecordRisk, ...]


@dataclass(frozen=True)
class ExtractionRow:
    """Secrets of one repetition count under one attack at one claimed epsilon.

    Attributes:
        pipeline: the pipeline's name.
        epsilon: what the pipeline claims for one copy.
        attack: the attack's name.
        found: how they fared.
        covered_by: the (epsilon, delta) that the claim's own leave for that many copies, see `group_privacy`; a delta
            of 1 guarantees nothing. (0, 0) where nothing was inserted.
        delta: of the claim.
    """

    pipeline: str
    epsilon: float
    attack: str
    found: Extraction
    covered_by: tuple[float, float]
    delta: float


@dataclass(frozen=True)
class RateRow:
    """The rate of one evidence among canaries of one repetition count, under one attack at one claimed epsilon.

    Attributes:
        pipeline: the pipeline's name.
        epsilon: what the pipeline claims for one copy.
        attack: the attack's name, with the secrets' bits where it attacks secrets of several lengths.
        rate: what was counted.
    """

    pipeline: str
    epsilon: float
    attack: str
    rate: EvidenceRate


@dataclass(frozen=True)
class BoundRow:
    """One bound, with the attack and the claim that it belongs to."""

    pipeline: str
    epsilon: float
    attack: str
    bound: Bound


@dataclass(frozen=True)
class BoundGroup:
    """Bounds that differ in the claimed epsilon alone: everything but the numbers is said once.

    Attributes:
        pipeline: the pipeline's name.
        attack: the attack's name.
        shared: one of them, for delta, confidence, adjacency, estimator, assumptions and corrections.
        bounds: by claimed epsilon.
        samples: their counts; one entry named "" if they all agree, else one for each claimed epsilon.
    """

    pipeline: str
    attack: str
    shared: Bound
    bounds: dict[float, Bound]
    samples: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class ClaimRow:
    """What one cell claims, and how it was trained."""

    pipeline: str
    claim: Claim
    noise_multiplier: float | None
    models_done: int
    models_planned: int


@dataclass(frozen=True)
class UtilityRow:
    """One utility at one claimed epsilon: its mean with the range over models."""

    pipeline: str
    epsilon: float
    name: str
    utility: Interval


Row = TypeVar("Row", AttackRow, ExtractionRow, RateRow, BoundGroup)


def _cells(result: RunResult) -> Iterable[tuple[str, CellResult]]:
    for name, cells in pipelines(result).items():
        for cell in cells:
            yield name, cell


def _together(rows: list[Row]) -> list[Row]:
    """The rows of one pipeline together, those of one attack together, both as they first appear; else in order."""
    pipeline = {name: i for i, name in enumerate(dict.fromkeys(row.pipeline for row in rows))}
    attack = {name: i for i, name in enumerate(dict.fromkeys(row.attack for row in rows))}
    return sorted(rows, key=lambda row: (pipeline[row.pipeline], attack[row.attack]))


def best(bounds: Iterable[Bound]) -> tuple[float, float, bool]:
    """(largest bound, largest ceiling, parametric) of those that assume no curve, of all if there are no others."""
    bounds = tuple(bounds)
    plain = tuple(bound for bound in bounds if not bound.parametric) or bounds
    if not plain:
        return math.nan, math.nan, False
    return max(b.epsilon for b in plain), max(b.ceiling for b in plain), plain[0].parametric


def claimed_epsilons(result: RunResult) -> tuple[float, ...]:
    """The columns: every claimed epsilon of the run, in order, infinity last."""
    return epsilons(result.cells)


def verdict_rows(result: RunResult) -> list[VerdictRow]:
    """One row for each pipeline and claimed epsilon."""
    rows = []
    for name, cell in _cells(result):
        bound, ceiling, _ = best(bound for attack in cell.attacks for bound in attack.bounds)
        if cell.verdict is not None:
            bound, ceiling = cell.verdict.lower_bound, cell.verdict.ceiling
        control_p = _smallest_p(cell.attacks) if cell.verdict is None else None
        epsilon = cell.claim.epsilon
        rows.append(
            VerdictRow(name, epsilon, cell.verdict, bound, ceiling, control_p, cell.models_done, cell.models_planned)
        )
    return rows


def _smallest_p(attacks: tuple[AttackResult, ...]) -> float | None:
    ps = [attack.seen_p for attack in attacks if not math.isnan(attack.seen_p)]
    return min(1.0, len(ps) * min(ps)) if ps else None


def attack_rows(result: RunResult) -> list[AttackRow]:
    """One row for each pipeline, attack and claimed epsilon; attacks stay together."""
    rows = []
    for name, cell in _cells(result):
        for a in cell.attacks:
            bound, ceiling, parametric = best(a.bounds)
            rows.append(
                AttackRow(
                    name,
                    cell.claim.epsilon,
                    a.attack,
                    a.family,
                    a.access,
                    a.queries,
                    bound,
                    ceiling,
                    parametric,
                    a.auc,
                    a.seen_p,
                    a.reference_p,
                    a.tpr_at,
                    a.claim_test.p_value if a.claim_test else None,
                    len(a.scores.ids),
                    min(1.0, len(a.chance_p) * min(a.chance_p.values())) if a.chance_p else None,
                )
            )
    return _together(rows)


def risk_rows(result: RunResult) -> list[RiskRow]:
    """One row for each pipeline and claimed epsilon: the first attack of the pipeline that has records' risks."""
    rows = []
    for name, cell in _cells(result):
        attack = next((a for a in cell.attacks if a.risks), None)
        if attack is not None:
            records = int((~attack.scores.reference).sum())
            rows.append(RiskRow(name, cell.claim.epsilon, attack.attack, records, attack.risks))
    return rows


def extraction_rows(result: RunResult) -> list[ExtractionRow]:
    """One row for each pipeline, attack, repetition count and claimed epsilon; never inserted comes first."""
    rows = [
        ExtractionRow(
            name,
            cell.claim.epsilon,
            extraction_label(attack, found),
            found,
            group_privacy(cell.claim.epsilon, cell.claim.delta, found.repetitions) if found.repetitions else (0.0, 0.0),
            cell.claim.delta,
        )
        for name, cell in _cells(result)
        for attack in cell.attacks
        for found in attack.extraction
    ]
    return _together(sorted(rows, key=lambda row: row.found.repetitions))


def rate_rows(result: RunResult) -> list[RateRow]:
    """One row for each pipeline, attack, evidence, repetition count and claimed epsilon; never inserted comes first."""
    rows = []
    for name, cell in _cells(result):
        for attack in cell.attacks:
            several = len({rate.bits for rate in attack.rates}) > 1
            rows += [
                RateRow(
                    name, cell.claim.epsilon, f"{attack.attack} of {r.bits:.1f} bits" if several else attack.attack, r
                )
                for r in attack.rates
            ]
    return _together(rows)


def bound_rows(result: RunResult) -> list[BoundRow]:
    """Every bound of the run."""
    return [
        BoundRow(name, cell.claim.epsilon, attack.attack, bound)
        for name, cell in _cells(result)
        for attack in cell.attacks
        for bound in attack.bounds
    ]


def bound_groups(result: RunResult) -> list[BoundGroup]:
    """Every bound of the run, those together that differ in the claimed epsilon alone."""
    groups: dict[Any, dict[float, Bound]] = {}
    for row in bound_rows(result):
        b = row.bound
        said = (b.estimator, b.delta, b.confidence, b.adjacency, b.unit, b.assumptions, b.corrected_for, b.parametric)
        copy = 0
        while row.epsilon in groups.get((row.pipeline, row.attack, *said, copy), {}):
            copy += 1
        groups.setdefault((row.pipeline, row.attack, *said, copy), {})[row.epsilon] = b
    return _together(
        [
            BoundGroup(key[0], key[1], next(iter(bounds.values())), bounds, _samples(bounds))
            for key, bounds in groups.items()
        ]
    )


def _samples(bounds: dict[float, Bound]) -> dict[str, dict[str, Any]]:
    counts = [bound.samples for bound in bounds.values()]
    if all(count == counts[0] for count in counts):
        return {"": counts[0]}
    return {f"{epsilon:g}": bound.samples for epsilon, bound in bounds.items()}


def claim_rows(result: RunResult) -> list[ClaimRow]:
    """What every cell claims."""
    return [
        ClaimRow(name, cell.claim, cell.noise_multiplier, cell.models_done, cell.models_planned)
        for name, cell in _cells(result)
    ]


def utility_rows(result: RunResult) -> list[UtilityRow]:
    """Every utility of every cell."""
    return [
        UtilityRow(name, cell.claim.epsilon, utility, value)
        for name, cell in _cells(result)
        for utility, value in cell.utility.items()
    ]
