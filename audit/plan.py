"""From an experiment to its units of work: one model each, named by a key that hashes all that defines it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from attacks.base import Attack
from attacks.extraction.task import check_spelling
from attacks.scores import Observations, Scores
from attacks.view import Access, ArrayView
from audit import registry
from audit.accounting import noise_multiplier
from audit.claim import Claim
from audit.config import AuditPlan, Experiment
from audit.estimators.base import Estimator
from audit.mechanism import DPSGD
from audit.store import SCHEMA_VERSION, jsonable
from audit.training.base import SweepTrainer
from canaries.base import CanarySet
from canaries.errors import InputError
from canaries.inclusion import Inclusion
from canaries.labels import InitialModel
from canaries.neighbours import as_neighbours, owned
from canaries.randomness import derive_seed, generator
from canaries.records import Dataset


@dataclass(frozen=True, eq=False)
class CellPlan:
    """One pipeline at one epsilon: what to train, and what it claims.

    Attributes:
        audit: the pipeline's name.
        claim: what it claims.
        trainer: with the noise multiplier that the claim asks for.
        inclusion: the coins of all its models.
        seeds: one per model.
        units: one key per model.
    """

    audit: str
    claim: Claim
    trainer: SweepTrainer
    inclusion: Inclusion
    seeds: tuple[int, ...]
    units: tuple[str, ...]

    @property
    def noise_multiplier(self) -> float | None:
        """Sigma; None where nothing is claimed to be private."""
        mechanism = self.trainer.mechanism
        return None if mechanism is None else mechanism.noise_multiplier


@dataclass(frozen=True, eq=False)
class AuditWork:
    """One pipeline at every epsilon.

    Attributes:
        plan: the experiment's table.
        dataset: what it trains on.
        sets: what is planted; model i gets set i modulo their number.
        attack_seed: the seed of every attack.
        cells: one for each epsilon.
    """

    plan: AuditPlan
    dataset: Dataset
    sets: tuple[CanarySet, ...]
    attack_seed: int
    cells: tuple[CellPlan, ...]

    def digest(self) -> str:
        """SHA-256 of all sets of canaries."""
        digests = [canaries.digest() for canaries in self.sets]
        return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def plan(experiment: Experiment, announce: Callable[[str], None] = lambda _: None) -> tuple[AuditWork, ...]:
    """Load the data, make the canaries, flip the coins and ask the accountant; train nothing.

    Raises:
        InputError: where the experiment does not fit its data, or no noise gives the wanted epsilon.
    """
    return tuple(audit_work(experiment, audit, announce) for audit in experiment.audits)


def audit_work(
    experiment: Experiment,
    audit: AuditPlan,
    announce: Callable[[str], None] = lambda _: None,
    branch: tuple[str, ...] = (),
    only: tuple[float, ...] | None = None,
) -> AuditWork:
    """The units of work of one audit; see `plan`.

    Args:
        experiment: what the audit belongs to.
        audit: the audit, or a variant of it.
        announce: who is told.
        branch: coins and models on another branch share no seed with those of the audit, on the same data.
        only: these epsilons in place of the experiment's.
    """
    announce(f"{audit.name}: loading data")
    seed = derive_seed(experiment.seed, audit.name)
    dataset = audit.data.load(derive_seed(seed, "data"))
    design = audit.canaries
    initial = _initial_model(audit, dataset) if design.design.needs_initial_model else None
    each = design.records_per_user
    sets = []
    for i in range(min(design.sets, audit.models)):
        path = [i] if i else []
        canaries = design.design.make(
            dataset, each * design.count, generator(seed, "canaries", *path), each * design.references, initial
        )
        canaries = as_neighbours(canaries, design.neighbours, dataset, generator(seed, "substitutes", *path))
        if each > 1 or design.protects == "user":
            canaries = owned(canaries, each, design.protects)
        audit.trainer.with_noise(0.0).check(dataset, canaries)
        for attack in audit.attacks:
            attack.check(canaries)
        _check_spelling(audit, canaries)
        sets.append(canaries)
    root, cells = derive_seed(seed, *branch) if branch else seed, []
    for epsilon in only or experiment.all_epsilons:
        announce(f"{audit.name}: accounting for epsilon {epsilon:g}")
        cells.append(_cell(experiment, audit, dataset, tuple(sets), epsilon, derive_seed(root, f"epsilon {epsilon!r}")))
    _check_estimators(audit, sets[0], cells[0].inclusion)
    return AuditWork(audit, dataset, tuple(sets), derive_seed(seed, "attacks"), tuple(cells))


def _initial_model(audit: AuditPlan, dataset: Dataset) -> InitialModel | None:
    """What the trainer starts every model from, as canary designs ask it; None where each model starts elsewhere."""
    view = audit.trainer.initial_view(dataset)
    if view is None:
        return None
    assert isinstance(view, ArrayView)  # The designs that ask make arrays.
    return lambda records: view.probabilities(records.x)[0]


def _check_spelling(audit: AuditPlan, canaries: CanarySet) -> None:
    """Refuse secrets that attacks could not search token by token, before anything is trained."""
    symbols = audit.trainer.symbols
    if symbols is not None and any(
        attack.needs_secrets and attack.access is Access.TOKEN_LOG_PROBABILITIES for attack in audit.attacks
    ):
        check_spelling(symbols, canaries)


def _check_estimators(audit: AuditPlan, canaries: CanarySet, inclusion: Inclusion) -> None:
    """Refuse an estimator that can use what no attack gives, before anything is trained."""
    for estimator in audit.estimators:
        if estimator.only_for not in (None, audit.canaries.neighbours):
            raise InputError(
                f"Estimator '{estimator.name}' gives bounds for {estimator.only_for}, but the neighbours of audit "
                f"'{audit.name}' are {audit.canaries.neighbours}; set its adjacency."
            )
        if (mechanism := audit.trainer.mechanism) and (misfit := estimator.misfit(mechanism)):
            raise InputError(f"Estimator '{estimator.name}' does not fit the trainer of audit '{audit.name}': {misfit}")
        reasons = [_misfit(estimator, attack, canaries, inclusion) for attack in audit.attacks]
        if all(reasons):
            because = _because(estimator, audit, reasons)
            raise InputError(f"Estimator '{estimator.name}' cannot be used in audit '{audit.name}': {because}")


def _misfit(estimator: Estimator, attack: Attack, canaries: CanarySet, inclusion: Inclusion) -> str | None:
    """Why the estimator cannot use what the attack gives; of one that does not say, all that it needs is expected."""
    given, shape = attack.gives(), inclusion.member.shape
    names = estimator.needs if given is None else sorted(given)
    nothing = Observations(canaries.ids, np.zeros(shape), {name: np.zeros(shape) for name in names})
    scores = Scores.join(nothing, canaries, inclusion)
    return estimator.inapplicable(scores.select(~scores.reference))


def _because(estimator: Estimator, audit: AuditPlan, reasons: list[str | None]) -> str:
    """The first reason that is not lack of evidence; else the evidence that no attack gives, and who would give it."""
    needs = set(estimator.needs)
    enough = [(given := attack.gives()) is None or given >= needs for attack in audit.attacks]
    if any(enough):
        return reasons[enough.index(True)] or ""
    names = " and ".join(f"'{attack.title}'" for attack in audit.attacks)
    known = [name for name, cls in registry.available(registry.ATTACKS).items() if needs <= (cls.evidence or set())]
    would = f"; {', '.join(known)} would" if known else ""
    return (
        f"it needs the evidence {' and '.join(map(repr, estimator.needs))}, which {names} "
        f"{'do' if len(reasons) > 1 else 'does'} not give{would}."
    )


def _cell(
    experiment: Experiment, audit: AuditPlan, dataset: Dataset, sets: tuple[CanarySet, ...], epsilon: float, seed: int
) -> CellPlan:
    unit = audit.data.privacy_unit if audit.canaries.protects == "record" else audit.canaries.protects
    trainer, claim = _claim(experiment, audit.trainer, epsilon, unit, audit.canaries.neighbours)
    inclusion = Inclusion.draw(sets[0], audit.models, audit.canaries.randomise, derive_seed(seed, "coins"))
    seeds = tuple(derive_seed(seed, "model", i) for i in range(audit.models))
    common = {
        "schema": SCHEMA_VERSION,
        "data": dataset.digest(),
        "trainer": registry.identity(trainer),
        "attacks": [registry.identity(attack) for attack in audit.attacks],
        "attack seed": derive_seed(derive_seed(experiment.seed, audit.name), "attacks"),
    }
    if outside := trainer.outside():
        common["outside"] = outside
    digests = [canaries.digest() for canaries in sets]
    units = tuple(
        _key(common | {"canaries": digests[i % len(sets)], "member": inclusion.member[i].tolist(), "seed": seeds[i]})
        for i in range(audit.models)
    )
    return CellPlan(audit.name, claim, trainer, inclusion, seeds, units)


def _claim(
    experiment: Experiment, trainer: SweepTrainer, epsilon: float, unit: str, adjacency: str
) -> tuple[SweepTrainer, Claim]:
    """The trainer with the noise that `epsilon` asks for, and the claim that it then makes."""
    mechanism: DPSGD | None = trainer.mechanism
    if mechanism is None:
        return trainer.with_noise(0.0 if epsilon == float("inf") else epsilon), Claim(
            float("inf"), experiment.delta, unit, adjacency, accountant="none"
        )
    sigma = noise_multiplier(
        epsilon,
        experiment.delta,
        mechanism.sample_rate,
        mechanism.steps,
        experiment.accountant,
        later=mechanism.later,
        adjacency=adjacency,
    )
    claim = Claim(
        epsilon,
        experiment.delta,
        unit,
        adjacency,
        sampling=trainer.batches,
        accountant=experiment.accountant,
        mechanism=replace(mechanism, noise_multiplier=sigma) if sigma else None,
    )
    return trainer.with_noise(sigma), claim


def _key(document: dict[str, Any]) -> str:
    text = json.dumps(jsonable(document), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def manifest_cells(work: tuple[AuditWork, ...]) -> list[dict[str, Any]]:
    """The plan as plain data for run.json."""
    return [
        {
            "audit": cell.audit,
            "claim": asdict(cell.claim),
            "noise_multiplier": cell.noise_multiplier,
            "randomised": cell.inclusion.randomised,
            "units": list(cell.units),
        }
        for audit in work
        for cell in audit.cells
    ]
