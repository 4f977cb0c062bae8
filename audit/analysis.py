"""From scores to a run's results: bounds at a simultaneous confidence, metrics, controls and verdicts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypedDict

import numpy as np
import pandas as pd

from attacks.base import Attack
from attacks.cross_model import CrossModel, held_out, leave_one_out
from attacks.scores import Scores
from audit.bounds import Bound
from audit.claim import Claim
from audit.claim_test import claim_test, could_refute, perfect_scores
from audit.combine import holm, simultaneous_confidence
from audit.contrast import Seen, hold_against_control
from audit.estimators.base import Estimator
from audit.evidence_control import evidence_p_values, guesses_prove, unproven
from audit.evidence_rates import evidence_rates
from audit.membership import membership_metrics
from audit.metrics import association_p_value, extraction
from audit.policy import Policy
from audit.results import AttackResult, CellResult, Interval, RecordRisk, RunResult
from audit.risk import LEAST_MODELS, record_risks
from audit.verdict import CONTROL_ALARM, judge, overall, read_controls
from canaries.inclusion import Randomised

RESAMPLES = 200
"""Bootstrap resamples for the intervals of true positive rates."""


@dataclass(frozen=True)
class AttackKind:
    """What an attack is called, where it belongs, what it was granted and which evidence reports show, by title."""

    name: str
    family: str
    access: str
    rates: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, attack: Attack) -> AttackKind:
        """The kind of an attack."""
        return cls(attack.title, attack.family, attack.access.value, tuple(attack.shown().items()))


@dataclass(frozen=True, eq=False)
class CellScores:
    """What was measured in one cell.

    Attributes:
        audit: the pipeline's name.
        claim: what it claims.
        noise_multiplier: sigma, where known.
        models_planned: how many models the plan has.
        scores: by attack; empty where no model is done.
        queries: records that each attack sent to each model.
        utility: float64[models] by name.
        estimators: what turns these scores into bounds.
        held_out: by attack, the scores that bounds, tests and controls are taken from, where `scores` were calibrated
            on each other's coins and are for describing the attack alone.
        signals: by attack, what each model alone said, where `scores` were calibrated.
        models_wanted: how many models a run grows to whose looks are paid for; None where it is not growing.
    """

    audit: str
    claim: Claim
    noise_multiplier: float | None
    models_planned: int
    scores: dict[AttackKind, Scores]
    queries: dict[str, float]
    utility: dict[str, Sequence[float]]
    estimators: tuple[Estimator, ...]
    held_out: dict[AttackKind, Scores] = field(default_factory=dict)
    signals: dict[AttackKind, Scores] = field(default_factory=dict)
    models_wanted: int | None = None

    @property
    def models_done(self) -> int:
        """How many models were scored."""
        return max((scores.models for scores in self.scores.values()), default=0)

    def proving(self, kind: AttackKind) -> Scores:
        """The scores of an attack that may prove something, references left out."""
        scores = self.held_out.get(kind, self.scores[kind])
        return scores.select(~scores.reference)

    def pairs(self) -> list[tuple[AttackKind, Scores, Estimator]]:
        """Every attack with every estimator that can use its scores."""
        return [
            (kind, scores, estimator)
            for kind, scores in ((kind, self.proving(kind)) for kind in self.scores)
            for estimator in self.estimators
            if estimator.inapplicable(scores) is None
        ]


class Calibrated(TypedDict):
    """Fields of `CellScores`."""

    scores: dict[AttackKind, Scores]
    held_out: dict[AttackKind, Scores]
    signals: dict[AttackKind, Scores]


def calibrate(attacks: Mapping[AttackKind, tuple[Attack, Scores]]) -> Calibrated:
    """The fields `scores`, `held_out` and `signals` of `CellScores`, from what each attack saw in each model.

    Attacks that compare models are calibrated leave-one-out to describe them, and on held-out models to prove
    something; what each of the two is good for stands in `attacks.cross_model`.
    """
    crossing = {kind: (attack, seen) for kind, (attack, seen) in attacks.items() if isinstance(attack, CrossModel)}
    return {
        "scores": {kind: leave_one_out(attack, seen) for kind, (attack, seen) in attacks.items()},
        "held_out": {kind: held_out(attack, seen) for kind, (attack, seen) in crossing.items()},
        "signals": {kind: seen for kind, (_, seen) in crossing.items()},
    }


@dataclass(frozen=True, eq=False)
class RunScores:
    """What was measured in a run, and how it is to be judged."""

    name: str
    cells: tuple[CellScores, ...]
    delta: float
    confidence: float
    seed: int
    policy: Policy
    config: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


def analyse(run: RunScores) -> RunResult:
    """Bounds, controls and verdicts.

    The positive control's tests, and the comparisons of cells with it, are paid for over the run likewise.

    N counts the bounds of the whole run and the tests of its claims. Every bound is taken at confidence
    1 - (1 - confidence) / N (Bonferroni), and the tests' p-values are adjusted among N (Holm), so all bounds, the
    largest among them, and all verdicts hold together with the stated confidence.
    """
    tested = sum(len(cell.scores) for cell in run.cells if not cell.claim.is_control)
    family = max(1, sum(len(cell.pairs()) for cell in run.cells) + tested)
    single = simultaneous_confidence(run.confidence, family)
    paid = (f"{family} bounds and tests of the run (Bonferroni)",) if family > 1 else ()
    seen_level = CONTROL_ALARM / max(1, sum(len(cell.scores) for cell in run.cells if cell.claim.is_control))
    attacked = _adjusted(
        [
            [_attack(run, cell, kind, scores, single, paid, seen_level) for kind, scores in cell.scores.items()]
            for cell in run.cells
        ],
        family,
    )
    tests = sum((a.reference_p is not None) + len(a.chance_p) for attacks in attacked for a in attacks)
    level = CONTROL_ALARM / max(1, tests)
    cells = tuple(
        _cell(run, cell, attacks, list(zip(run.cells, attacked, strict=True)), level, seen_level, 1 - single)
        for cell, attacks in zip(run.cells, attacked, strict=True)
    )
    judged = [(f"{c.audit} at epsilon {c.claim.epsilon:g}", c.verdict) for c in cells if c.verdict is not None]
    return RunResult(
        name=run.name,
        cells=cells,
        verdict=overall(judged),
        confidence=run.confidence,
        config=run.config,
        provenance=run.provenance,
        failures=run.failures,
    )


def _adjusted(attacked: list[list[AttackResult]], family: int) -> list[list[AttackResult]]:
    """The attacks with their claim tests' p-values adjusted for all tests and bounds of the run (Holm)."""
    adjusted = iter(holm([a.claim_test.p_value for attacks in attacked for a in attacks if a.claim_test], family))
    return [
        [
            replace(a, claim_test=replace(a.claim_test, p_value=float(next(adjusted)))) if a.claim_test else a
            for a in attacks
        ]
        for attacks in attacked
    ]


def _attack(
    run: RunScores,
    cell: CellScores,
    kind: AttackKind,
    scores: Scores,
    confidence: float,
    paid: tuple[str, ...],
    seen_level: float,
) -> AttackResult:
    proving = cell.held_out.get(kind, scores)
    planted, references = cell.proving(kind), proving.select(proving.reference)
    described = membership_metrics(scores, run.seed, resamples=RESAMPLES)
    control = cell.claim.is_control
    bounds: list[Bound] = [
        replace(
            estimator.bound(planted, run.delta, confidence, cell.claim.adjacency, run.seed, paid), unit=cell.claim.unit
        )
        for other, _, estimator in cell.pairs()
        if other == kind
    ]
    single = 1 - confidence
    guessing = "guessed" in planted.evidence and _guesses_without_noise(run, cell.audit, kind, confidence)
    return AttackResult(
        attack=kind.name,
        family=kind.family,
        access=kind.access,
        queries=cell.queries.get(kind.name, math.nan),
        scores=scores,
        auc=described.auc,
        tpr_at=described.tpr_at,
        risks=_risks(cell, kind),
        bounds=tuple(bounds),
        seen_p=association_p_value(planted),
        reference_p=association_p_value(references) if references.ids else None,
        extraction=extraction(scores, cell.claim),
        claim_test=None if control else claim_test(planted, cell.claim, seed=run.seed, level=single),
        could_refute=not control and could_refute(planted, cell.claim, guessing, seed=run.seed, level=single),
        chance_p=evidence_p_values(proving, cell.estimators),
        unproven=unproven(bounds, cell.estimators),
        visible=association_p_value(perfect_scores(planted)) < seen_level,
        held_out=cell.held_out.get(kind),
        rates=evidence_rates(scores, dict(kind.rates)),
    )


def _guesses_without_noise(run: RunScores, audit: str, kind: AttackKind, confidence: float) -> bool:
    """Whether an attack's guesses prove anything on the positive control, the models of this pipeline without noise."""
    control = next((cell for cell in run.cells if cell.audit == audit and cell.claim.is_control), None)
    same = next((other for other in control.scores if other.name == kind.name), None) if control else None
    return control is not None and same is not None and guesses_prove(control.proving(same), run.delta, confidence)


def _risks(cell: CellScores, kind: AttackKind) -> tuple[RecordRisk, ...]:
    signals = cell.signals.get(kind, cell.scores[kind])
    single = signals.randomised == "canary" and signals.models >= LEAST_MODELS and kind.family == "membership"
    same = signals.secret_set is None or len(np.unique(signals.secret_set)) == 1
    return record_risks(signals) if single and same else ()


def _cell(
    run: RunScores,
    cell: CellScores,
    attacks: list[AttackResult],
    everything: list[tuple[CellScores, list[AttackResult]]],
    level: float,
    seen_level: float,
    single: float,
) -> CellResult:
    mine = [(other, found) for other, found in everything if other.audit == cell.audit]
    positive = [(other, found) for other, found in mine if other.claim.is_control]
    controls = read_controls(
        positive[0][1] if positive else None, [a for _, found in mine for a in found], level, seen_level
    )
    verdict = None
    if not cell.claim.is_control:
        verdict = judge(
            cell.claim,
            attacks,
            controls,
            cell.models_done,
            cell.models_planned,
            run.policy.least_power,
            1 - run.confidence,
            needs_references=True,
            models_wanted=cell.models_wanted,
        )
        if positive:
            without_noise = _seen(*positive[0])
            verdict = hold_against_control(
                verdict,
                cell.claim,
                _seen(cell, attacks),
                {attack.attack: without_noise[attack.attack] for attack in controls.able(attacks)},
                run.policy.least_power,
                single,
                (1 - run.confidence) / max(1, sum(not other.claim.is_control for other in run.cells)),
                run.seed,
            )
    return CellResult(
        audit=cell.audit,
        claim=cell.claim,
        noise_multiplier=cell.noise_multiplier,
        models_planned=cell.models_planned,
        models_done=cell.models_done,
        utility={name: _range(values) for name, values in cell.utility.items()},
        attacks=tuple(attacks),
        verdict=verdict,
    )


def _seen(cell: CellScores, attacks: list[AttackResult]) -> dict[str, Seen]:
    """What each attack proves in a cell, by its name."""
    bounds = {attack.attack: attack.bounds for attack in attacks}
    return {kind.name: Seen(cell.proving(kind), bounds[kind.name]) for kind in cell.scores}


def scores_from_frame(frame: pd.DataFrame, randomised: Randomised) -> Scores:
    """One attack's rows of the store as Scores; every model holds the same canaries in the same order."""
    models = frame["model"].nunique()
    canaries = len(frame) // models
    first = frame.iloc[:canaries]
    known = {"audit", "epsilon", "attack", "model", "canary", "member", "score", "reference", "repetitions", "space"}
    known |= {"secret_set"}
    shape = (models, canaries)
    return Scores(
        ids=tuple(first["canary"]),
        score=frame["score"].to_numpy(dtype=np.float64).reshape(shape),
        member=frame["member"].to_numpy(dtype=bool).reshape(shape),
        reference=first["reference"].to_numpy(dtype=bool),
        repetitions=first["repetitions"].to_numpy(dtype=np.int64),
        randomised=randomised,
        space=first["space"].to_numpy(dtype=np.float64),
        secret_set=frame["secret_set"].to_numpy(dtype=np.int64)[::canaries] if "secret_set" in frame else None,
        evidence={
            str(name): column.to_numpy(dtype=np.float64).reshape(shape)
            for name, column in frame.items()
            if name not in known and not column.isna().all()
        },
    )


def _range(values: Iterable[float]) -> Interval:
    array = np.array(list(values), dtype=np.float64)
    return Interval(float(array.mean()), float(array.min()), float(array.max()))
