"""A sweep that adds models in batches, and stops as soon as a claim is refuted or, if asked to, at enough power."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from audit.claim_power import LESS_NOISE, power_against_less_noise
from audit.config import Experiment
from audit.policy import Policy
from audit.results import CellResult, Outcome, RunResult
from audit.runs import load_result
from audit.sequential import looks
from audit.store import RunDirectory
from audit.sweeping import Progress, sweep
from audit.training.speed import Speed
from canaries.errors import InputError

FIRST = 8
"""Models an epsilon at the first look, unless asked otherwise."""


def sweep_until_clear(
    experiment: Experiment,
    out: Path,
    jobs: int = 1,
    backend: str = "loky",
    progress: Progress | None = None,
    speed: Speed | None = None,
    first: int = FIRST,
    announce: Callable[[str], None] = lambda _: None,
    enough: float | None = None,
    policy: Policy | None = None,
) -> RunResult:
    """Train `first` models of each cell, judge, and go on with twice as many until the verdict is clear.

    Each look spends its share of the experiment's error (`audit.sequential`), so a refutation is as true as one from a
    fixed number of models, whenever it stops. By default only a refutation stops it: every other verdict is that of all
    models of the experiment. With `enough`, it stops without a refutation too, where an ideal attack would have refuted
    every claim with that probability if half of its noise were added; a weaker attack refutes less often at such a look
    than at the last. Models depend on their index alone: what an earlier look trained is kept.

    Args:
        experiment: its numbers of models are the most that are trained.
        out: the run directory.
        jobs: as `sweep`.
        backend: as `sweep`.
        progress: as `sweep`.
        speed: as `sweep`.
        first: models of each cell at the first look; even.
        announce: is told the verdict of each look.
        enough: power, in (0, 1), against half the claimed noise; None to stop at a refutation alone.
        policy: what looks are judged by; by default the experiment's own.

    Raises:
        InputError: as `sweep`; or for a first look or a power out of range.
    """
    if enough is not None and not 0 < enough < 1:
        raise InputError(f"Expected a power in (0, 1), got {enough}.")
    wanted = {plan.name: plan.models for plan in experiment.audits}
    most = max(wanted.values())
    for look, models in enumerate(looks(min(first, most), most), start=1):
        run = sweep(_with_models(experiment, models), out, jobs, backend, progress, speed, look, wanted)
        result = load_result(out, policy)
        if result.verdict.outcome is not Outcome.REFUTED and enough is not None and models < most:
            power = _power(result)
            if power is not None and power >= enough:
                result = _stop(run, power, policy)
        announce(f"look {look}, {models} models an epsilon: {result.verdict}")
        if result.verdict.outcome is not Outcome.INCONCLUSIVE:
            break
    return result


def _power(result: RunResult) -> float | None:
    """Of the claim that would be refuted least often; None where it is not known of one."""
    found = [_power_of(cell) for cell in result.cells if cell.verdict is not None]
    known = [power for power in found if power is not None]
    return min(known) if known and len(known) == len(found) else None


def _power_of(cell: CellResult) -> float | None:
    """Of the attack that would refute the claim most often; None where no attack has a power that is known."""
    found = []
    for attack in cell.attacks:
        single = min((bound.confidence for bound in attack.bounds), default=None)
        if single is None:
            continue
        # Attacks that compare models prove something with the half of them that is held out.
        half = attack.scores.calibrated == "leave-one-out"
        scores = attack.scores.take_models(slice(attack.scores.models // 2)) if half else attack.scores
        found.append(power_against_less_noise(scores, cell.claim, 1 - single))
    return max((power for power in found if power is not None), default=None)


def _stop(run: RunDirectory, power: float, policy: Policy | None) -> RunResult:
    """Judge the look as the last one, and write down why."""
    sentence = (
        f"The run stopped early: with {LESS_NOISE:g} of the claimed noise an ideal attack on so many models would have "
        f"refuted every claim with a probability of {math.floor(100 * power)}%, a weaker one less often."
    )
    manifest = run.manifest()
    cells = [cell | {"models_wanted": None} for cell in manifest["cells"]]
    run.write_manifest(manifest | {"cells": cells, "stopped": sentence})
    return load_result(run.path, policy)


def _with_models(experiment: Experiment, models: int) -> Experiment:
    audits = tuple(plan.model_copy(update={"models": min(models, plan.models)}) for plan in experiment.audits)
    return experiment.model_copy(update={"audits": audits})
