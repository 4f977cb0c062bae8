"""The sweep: units of work through joblib, one file each; what is done is not redone."""

from __future__ import annotations

import importlib.metadata
import multiprocessing
import os
import platform
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import joblib
import numpy as np
import pandas as pd
import torch

from attacks.base import Attack
from attacks.scores import Scores
from audit.config import Experiment
from audit.formatting import confidence
from audit.looks import Looks
from audit.pilot import candidates, choose
from audit.plan import AuditWork, CellPlan, manifest_cells, plan
from audit.sequential import confidence_at_look
from audit.store import RunDirectory
from audit.training.allocator import keep_freed_memory
from audit.training.speed import Speed
from audit.utility import measure_utility
from canaries.base import CanarySet
from canaries.errors import InputError
from canaries.inclusion import Inclusion
from canaries.records import Dataset


class Progress(Protocol):
    """Who is told how a sweep goes."""

    def announce(self, message: str) -> None:
        """What is being prepared."""

    def start(self, total: int, done: int) -> None:
        """How many models there are in all, and how many were there already."""

    def advance(self, models: int, failed: int) -> None:
        """That many more are done, or failed."""


class Silent:
    """Tells nobody."""

    def announce(self, message: str) -> None:
        """Nothing."""

    def start(self, total: int, done: int) -> None:
        """Nothing."""

    def advance(self, models: int, failed: int) -> None:
        """Nothing."""


@dataclass(frozen=True, eq=False)
class Block:
    """Models of one cell that train together; how many is a matter of speed alone."""

    cell: CellPlan
    dataset: Dataset
    canaries: CanarySet
    secret_set: int
    attacks: tuple[Attack, ...]
    attack_seed: int
    models: tuple[int, ...]
    speed: Speed


def sweep(
    experiment: Experiment,
    out: Path,
    jobs: int = 1,
    backend: str = "loky",
    progress: Progress | None = None,
    speed: Speed | None = None,
    look: int | None = None,
    wanted: Mapping[str, int] | None = None,
) -> RunDirectory:
    """Train and attack every model of the experiment that `out` does not hold yet.

    A unit that fails leaves its traceback in the run directory, and the sweep goes on; run it again to retry. Pilots
    are run first, in the directory `pilots` below, which is no run of its own; what they chose stands in run.json.

    Args:
        experiment: what to run.
        out: the run directory, made where missing.
        jobs: how many workers; -1 for one per core.
        backend: a joblib backend by name: "loky", "threading", "sequential"; "ray" and "dask" where installed.
        progress: who is told how it goes.
        speed: device and portions; no result and no unit's key depends on them.
        look: which look at a growing run this is, at least (1, 2, ...); its share of the error is then all that the run
            spends. A directory keeps count of its looks: what was looked at before keeps its number, everything else
            is a look of its own after all others. None: the plain sweep that may spend the whole error, where the
            directory is new or holds this very experiment; any other experiment is one more look there, and announced.
        wanted: how many models of each audit the run grows to; a look with fewer may refute, and conclude nothing else.

    Raises:
        InputError: where the experiment does not fit its data; or for a look at a run that a plain sweep began.
        KeyboardInterrupt: on Ctrl-C; what is finished stays.
    """
    progress = progress or Silent()
    _check_backend(backend, jobs)
    speed = speed or Speed()
    run, chosen = RunDirectory(out), dict[str, Any]()
    looks = Looks.of(run)
    if look is not None and looks.plain:
        raise InputError(
            f"'{out}' holds a sweep of a fixed number of models, whose verdict may rest on the whole error; to look at "
            "it again and again would spend that twice. Name another directory."
        )
    if tried := candidates(experiment, progress.announce):
        pilots = RunDirectory(Path(out) / "pilots")
        _train(tuple(candidate.work for candidate in tried), pilots, jobs, backend, progress, speed)
        experiment, chosen = choose(experiment, tried, pilots)
        for name, found in chosen.items():
            progress.announce(f"{name}: the pilot chose {found['chosen']}")
    work = plan(experiment, progress.announce)
    looks = looks.after(experiment, look)
    if look is None and (number := looks.number(experiment)) is not None:
        progress.announce(
            f"look {number} at '{out}', which holds another experiment: confidence "
            f"{confidence(confidence_at_look(experiment.confidence, number))}; a new directory has all of it"
        )
    run.write_manifest(
        {
            "experiment": experiment.plain(),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": versions(),
            "machine": {"platform": platform.platform(), "cores": os.cpu_count()},
            "digests": {w.plan.name: {"data": w.dataset.digest(), "canaries": w.digest()} for w in work},
            "cells": [cell | {"models_wanted": (wanted or {}).get(cell["audit"])} for cell in manifest_cells(work)],
            "look": looks.number(experiment),
            "looks": looks.taken,
            "plain": looks.plain,
            "pilots": chosen,
        }
    )
    _train(work, run, jobs, backend, progress, speed)
    return run


def _train(
    work: tuple[AuditWork, ...], run: RunDirectory, jobs: int, backend: str, progress: Progress, speed: Speed
) -> None:
    """Train and attack the models that `run` does not hold, and put aside those that are not planned."""
    planned: dict[str, set[str]] = {}
    for w in work:
        planned.setdefault(w.plan.name, set()).update(unit for cell in w.cells for unit in cell.units)
    run.put_aside_all_but(planned)
    blocks = list(_blocks(work, run, speed))
    total = sum(map(len, planned.values()))
    progress.start(total, total - sum(len(block.models) for block in blocks))
    _run(blocks, run, jobs, backend, progress)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results may depend on."""
    names = ("firedamp", "torch", "opacus", "dp-accounting", "numpy", "scipy", "scikit-learn", "pandas")
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in names}


def _blocks(work: tuple[AuditWork, ...], run: RunDirectory, speed: Speed) -> Iterator[Block]:
    """Missing models in blocks, all pipelines and epsilons side by side, so that the time left is foreseeable."""
    ranked: list[tuple[float, int, Block]] = []
    for w in work:
        for cell in w.cells:
            missing = [i for i, unit in enumerate(cell.units) if not run.is_done(cell.audit, unit)]
            size = cell.trainer.block
            for number, canaries in enumerate(w.sets):
                mine = [i for i in missing if i % len(w.sets) == number]
                for start in range(0, len(mine), size):
                    models = tuple(mine[start : start + size])
                    block = Block(cell, w.dataset, canaries, number, w.plan.attacks, w.attack_seed, models, speed)
                    ranked.append((missing.index(models[0]) / len(missing), len(ranked), block))
    yield from (block for _, _, block in sorted(ranked, key=lambda item: item[:2]))


def _run(blocks: list[Block], run: RunDirectory, jobs: int, backend: str, progress: Progress) -> None:
    if jobs == 1 or len(blocks) <= 1:
        for block in blocks:
            progress.advance(*run_block(block, run))
        return
    with joblib.parallel_config(backend=backend, n_jobs=jobs), warnings.catch_warnings():
        # Workers keep freed memory; where psutil is installed, joblib takes that for a leak and replaces them.
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given to the executor")
        results = joblib.Parallel(return_as="generator_unordered", pre_dispatch="2*n_jobs", batch_size=1)(
            joblib.delayed(run_block)(block, run) for block in blocks
        )
        try:
            for models, failed in results:
                progress.advance(models, failed)
        except KeyboardInterrupt:
            if backend == "loky":
                joblib.externals.loky.get_reusable_executor().shutdown(wait=True, kill_workers=True)
            raise


def run_block(block: Block, run: RunDirectory) -> tuple[int, int]:
    """Train and attack the models of one block, and store them; how many are done, and how many failed."""
    if multiprocessing.parent_process() is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer.
    keep_freed_memory()
    torch.set_num_threads(1)  # So that sums round alike whatever the number of jobs.
    try:
        _train_and_attack(block, run)
    except Exception:
        for i in block.models:
            run.write_failure(block.cell.units[i], traceback.format_exc())
        return 0, len(block.models)
    return len(block.models), 0


def _train_and_attack(block: Block, run: RunDirectory) -> None:
    rows = np.array(block.models, dtype=np.intp)
    coins = block.cell.inclusion
    inclusion = Inclusion(coins.ids, coins.member[rows], coins.reference, coins.randomised)
    seeds = [block.cell.seeds[i] for i in block.models]
    started = time.perf_counter()
    view = block.cell.trainer.train(block.dataset, block.canaries, inclusion.inserted, seeds, block.speed)
    view.keys = tuple(seeds)
    trained = time.perf_counter()
    observed = {attack.title: attack.observe(view, block.canaries, block.attack_seed) for attack in block.attacks}
    frames = [_frame(name, Scores.join(seen, block.canaries, inclusion), block) for name, seen in observed.items()]
    attacked = time.perf_counter()
    utility = measure_utility(view, block.dataset)
    scores = pd.concat(frames, ignore_index=True)
    for position, i in enumerate(block.models):
        mine = scores[scores["model"] == position].assign(model=i)
        facts = {
            "audit": block.cell.audit,
            "epsilon": block.cell.claim.epsilon,
            "model": i,
            "seed": seeds[position],
            "utility": {name: float(values[position]) for name, values in utility.items()},
            "train_seconds": (trained - started) / len(rows),
            "attack_seconds": (attacked - trained) / len(rows),
            "queries": {name: seen.queries for name, seen in observed.items()},
        }
        run.write_unit(block.cell.audit, block.cell.units[i], mine, facts)


def _frame(attack: str, scores: Scores, block: Block) -> pd.DataFrame:
    frame = scores.frame()
    frame.insert(0, "audit", block.cell.audit)
    frame.insert(1, "epsilon", block.cell.claim.epsilon)
    frame.insert(2, "attack", attack)
    frame["secret_set"] = block.secret_set
    return frame


def _check_backend(backend: str, jobs: int) -> None:
    if jobs == 0 or jobs < -1:
        raise InputError(f"Expected jobs >= 1, or -1 for one per core, got {jobs}.")
    registrations: dict[str, Callable[[], None]] = {"ray": _register_ray, "dask": _register_dask}
    if backend in registrations:
        try:
            registrations[backend]()
        except ImportError:
            raise InputError(f"Backend '{backend}' is not installed; install it with: firedamp[{backend}].") from None
    elif backend not in ("loky", "threading", "sequential", "multiprocessing"):
        raise InputError(f"Unknown backend '{backend}'; allowed: loky, threading, sequential, ray, dask.")


def _register_ray() -> None:
    from ray.util.joblib import register_ray  # type: ignore[import-not-found]  # an extra

    register_ray()


def _register_dask() -> None:
    from distributed import Client  # type: ignore[import-not-found]  # an extra

    Client()
