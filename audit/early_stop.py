"""A sweep that adds models in batches and stops as soon as it knows: refuted, or not refuted where it could be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from audit.config import Experiment
from audit.results import Outcome, RunResult, Verdict
from audit.runs import load_result
from audit.sequential import looks
from audit.sweeping import Progress, sweep
from audit.training.speed import Speed

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
) -> RunResult:
    """Train `first` models of each cell, judge, and go on with twice as many until the verdict is clear.

    Each look spends its share of the experiment's error (`audit.sequential`), so the verdict is as true as one from a
    fixed number of models, whenever it stops. It stops without a refutation only where a perfect attack could have
    refuted every claim at that look. Models depend on their index alone: what an earlier look trained is kept.

    Args:
        experiment: its numbers of models are the most that are trained.
        out: the run directory.
        jobs: as `sweep`.
        backend: as `sweep`.
        progress: as `sweep`.
        speed: as `sweep`.
        first: models of each cell at the first look; even.
        announce: is told the verdict of each look.

    Raises:
        InputError: as `sweep`; or for a first look out of range.
    """
    most = max(plan.models for plan in experiment.audits)
    for look, models in enumerate(looks(min(first, most), most), start=1):
        sweep(_with_models(experiment, models), out, jobs, backend, progress, speed, look)
        result = load_result(out)
        announce(f"look {look}, {models} models an epsilon: {result.verdict}")
        if _is_clear(result.verdict):
            break
    return result


def _is_clear(verdict: Verdict) -> bool:
    """Refuted; or not refuted where it could have been, so that no stop comes before a refutation is possible."""
    if verdict.outcome is Outcome.NOT_REFUTED:
        return verdict.refutable
    return verdict.outcome is Outcome.REFUTED


def _with_models(experiment: Experiment, models: int) -> Experiment:
    audits = tuple(plan.model_copy(update={"models": min(models, plan.models)}) for plan in experiment.audits)
    return experiment.model_copy(update={"audits": audits})
