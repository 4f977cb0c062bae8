"""The pilot: which canary design, and which learning rate, shows most, tried on models that are never scored.

Annamalai and De Cristofaro (2024) try canaries on short trainings. What is chosen here is chosen on models of its own,
with coins, noise and seeds that no scored model shares, so nothing of the choice has to be paid for by the bounds.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from attacks.scores import Scores
from audit import registry
from audit.analysis import scores_from_frame
from audit.config import AuditPlan, Experiment, PilotPlan
from audit.plan import AuditWork, audit_work
from audit.store import RunDirectory
from audit.training.base import SweepTrainer
from canaries.base import CanaryDesign
from canaries.errors import InputError


@dataclass(frozen=True, eq=False)
class Candidate:
    """One design and learning rate of an audit's pilot, and the work that tries it.

    Attributes:
        audit: the audit's name.
        design: its canaries.
        learning_rate: None where the audit's own is kept.
        work: the pilot's models.
    """

    audit: str
    design: CanaryDesign
    learning_rate: float | None
    work: AuditWork

    @property
    def units(self) -> tuple[str, ...]:
        """The keys of its models."""
        return self.work.cells[0].units


def candidates(experiment: Experiment, announce: Callable[[str], None] = lambda _: None) -> tuple[Candidate, ...]:
    """Every candidate of every audit that has a pilot; trains nothing.

    Raises:
        InputError: as `audit.plan.plan`, or for a trainer whose steps or learning rate cannot be set.
    """
    return tuple(c for audit in experiment.audits if audit.pilot for c in _of_audit(experiment, audit, announce))


def _of_audit(experiment: Experiment, audit: AuditPlan, announce: Callable[[str], None]) -> Iterator[Candidate]:
    pilot = audit.pilot
    assert pilot is not None
    finite = [epsilon for epsilon in experiment.epsilons if math.isfinite(epsilon)]
    epsilon = pilot.epsilon or max(finite, default=math.inf)
    designs: tuple[CanaryDesign, ...] = pilot.designs or (audit.canaries.design,)
    rates: tuple[float | None, ...] = pilot.learning_rates or (None,)
    for design, rate in product(designs, rates):
        trainer = _short(_at_rate(audit.trainer, rate), pilot)
        references = audit.canaries.references if audit.attacks[0].needs_references else 0
        planted = audit.canaries.model_copy(update={"design": design, "references": references})
        changed = {
            "canaries": planted,
            "trainer": trainer,
            "models": pilot.models,
            "attacks": audit.attacks[:1],
            "estimators": (),  # No bound is taken from a pilot.
        }
        described = repr(registry.identity(design)), repr(rate)
        announce(f"{audit.name}: pilot of {design.name}" + (f" at learning rate {rate:g}" if rate else ""))
        work = audit_work(experiment, audit.model_copy(update=changed), branch=("pilot", *described), only=(epsilon,))
        yield Candidate(audit.name, design, rate, work)


def choose(
    experiment: Experiment, tried: tuple[Candidate, ...], run: RunDirectory
) -> tuple[Experiment, dict[str, dict[str, Any]]]:
    """The experiment with each pilot's choice, and by audit what was chosen and what each candidate showed.

    The candidate with the largest separation of the audit's first attack is taken, the first named among equals.

    Args:
        experiment: as configured.
        tried: from `candidates`.
        run: the directory that holds the pilots' models.

    Raises:
        InputError: if models of a pilot are missing.
    """
    shown: dict[str, list[dict[str, Any]]] = {}
    best: dict[str, tuple[float, Candidate]] = {}
    for candidate in tried:
        value = separation(_scores(candidate, run))
        shown.setdefault(candidate.audit, []).append(
            _named(candidate)
            | {
                "separation": value,
                "epsilon": candidate.work.cells[0].claim.epsilon,
                "noise_multiplier": candidate.work.cells[0].noise_multiplier,
                "trainer": registry.identity(candidate.work.cells[0].trainer),
                "units": list(candidate.units),
            }
        )
        if candidate.audit not in best or value > best[candidate.audit][0]:
            best[candidate.audit] = value, candidate
    audits = tuple(_with(audit, best[audit.name][1]) if audit.name in best else audit for audit in experiment.audits)
    record = {name: {"chosen": _named(best[name][1]), "candidates": found} for name, found in shown.items()}
    return experiment.model_copy(update={"audits": audits}), record


def separation(scores: Scores) -> float:
    """How far members' scores lie above others', in standard deviations within the two groups (d').

    Each score is taken less its canary's mean over models, as far as models show it (`Scores.centred`), and infinities
    as the largest finite score. 0 where either group has fewer than 2 scores; infinity where neither varies.
    """
    score = scores.centred().score
    finite = np.abs(score[np.isfinite(score)]).max(initial=1.0)
    score = np.clip(score, -finite, finite)
    inside, outside = score[scores.member], score[~scores.member]
    if min(inside.size, outside.size) < 2:
        return 0.0
    spread = math.sqrt((inside.var(ddof=1) + outside.var(ddof=1)) / 2)
    distance = float(inside.mean() - outside.mean())
    return distance / spread if spread > 0 else math.copysign(math.inf, distance) if distance else 0.0


def _scores(candidate: Candidate, run: RunDirectory) -> Scores:
    missing = [unit for unit in candidate.units if not run.is_done(candidate.audit, unit)]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(candidate.units)} models of the pilot of '{candidate.audit}' are missing, so "
            f"nothing can be chosen; see {run.path / 'failures'}, and run the sweep again."
        )
    frame = run.scores(candidate.audit, candidate.units)
    scores = scores_from_frame(frame, candidate.work.cells[0].inclusion.randomised)
    return scores.select(~scores.reference)


def _named(candidate: Candidate) -> dict[str, Any]:
    return {"design": registry.identity(candidate.design), "learning_rate": candidate.learning_rate}


def _with(audit: AuditPlan, chosen: Candidate) -> AuditPlan:
    planted = audit.canaries.model_copy(update={"design": chosen.design})
    return audit.model_copy(
        update={"canaries": planted, "trainer": _at_rate(audit.trainer, chosen.learning_rate)},
    )


def _at_rate(trainer: SweepTrainer, rate: float | None) -> SweepTrainer:
    return trainer if rate is None else _set(trainer, learning_rate=rate)


def _short(trainer: SweepTrainer, pilot: PilotPlan) -> SweepTrainer:
    """The same trainer for the pilot's epochs; no schedules of batch sizes, and of checkpoints the last alone."""
    names = {field.name for field in dataclasses.fields(trainer)}
    steps = math.ceil(pilot.epochs / getattr(trainer, "sample_rate", 1.0) - 1e-9)
    changed: dict[str, Any] = {"rates": ()} if "rates" in names else {}
    if getattr(trainer, "checkpoint_every", 0):
        changed["checkpoint_every"] = steps
    return _set(trainer, steps=steps, **changed)


def _set(trainer: SweepTrainer, **values: Any) -> SweepTrainer:
    try:
        return dataclasses.replace(trainer, **values)
    except TypeError:
        raise InputError(
            f"A pilot sets {', '.join(values)} of the trainer, but '{trainer.name}' has no such fields."
        ) from None
