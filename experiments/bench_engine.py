"""Examples per second and peak memory of the ensemble engine, Opacus (hooks and ghost), vmap(grad) and plain SGD.

Every (model, method, number of models) runs in a process of its own, pinned to one core with one thread. The
processes take turns, round after round, so that a noisy machine disturbs all alike; each one's best round counts.
Times are CPU seconds of the training loop: drawing batches, forward, backward, clipping, noise, update.

    python experiments/bench_engine.py [--models mlp,cnn,cnn-groupnorm,ngram,gru] [--ensembles 1,8,32,128]
        [--rounds 5] [--seconds 1]

The allocator decides much of Opacus's figure, so all of it is done twice: with the C library as it is, and told to
keep freed memory (MALLOC_MMAP_MAX_=0, MALLOC_TRIM_THRESHOLD_ large). Tables are written to runs/bench/engine.csv
and runs/bench/engine-malloc.csv.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing as mp
import os
import platform
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from opacus import PrivacyEngine
from opacus.layers import DPGRU
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.utils.data import DataLoader, TensorDataset

from audit.programs import run_program
from audit.training.ensemble.engine import Task, fit
from audit.training.ensemble.flat import Flat
from audit.training.ensemble.recipe import Recipe
from audit.training.ensemble.sampling import Poisson
from audit.training.ensemble.stacked import Stacked
from audit.training.language import NGram, RecordLoss
from audit.training.models import CNN, MLP
from audit.training.speed import Speed
from canaries.records import ArrayRecords

RECORDS, TOKENS, LENGTH = 4096, 46, 40
BATCH = {"mlp": 256, "cnn": 256, "cnn-groupnorm": 256, "ngram": 128, "gru": 128}
ALLOCATORS: dict[str, dict[str, str]] = {
    "default": {},
    "malloc": {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**34)},
}


class RecurrentText(nn.Module):
    """Embedding, GRU, linear: each character from those before it."""

    def __init__(self, recurrent: type[nn.Module]) -> None:
        super().__init__()
        self.embed = nn.Embedding(TOKENS, 16)
        self.recurrent = recurrent(16, 64, batch_first=True)
        self.output = nn.Linear(64, TOKENS - 1)

    def forward(self, tokens: Tensor) -> Tensor:
        states, _ = self.recurrent(self.embed(F.pad(tokens, (1, -1))))
        return F.pad(self.output(states), (1, 0), value=-torch.inf)


@dataclass(frozen=True)
class Problem:
    """A model, records and a criterion with the attribute `reduction`."""

    module: nn.Module
    x: Tensor
    y: Tensor
    criterion: nn.Module
    batch: int


def convolutional() -> nn.Module:
    """The 26,010 parameters of Opacus's MNIST example."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 8, 2, padding=3),
        nn.ReLU(),
        nn.MaxPool2d(2, 1),
        nn.Conv2d(16, 32, 4, 2),
        nn.ReLU(),
        nn.MaxPool2d(2, 1),
        nn.Flatten(),
        nn.Linear(512, 32),
        nn.ReLU(),
        nn.Linear(32, 10),
    )


def problem(name: str, method: str) -> Problem:
    torch.manual_seed(0)
    if name in ("ngram", "gru"):
        x = torch.randint(1, TOKENS, (RECORDS, LENGTH))
        recurrent = nn.GRU if method in ("ensemble", "sgd") else DPGRU
        module = NGram(TOKENS) if name == "ngram" else RecurrentText(recurrent)
        return Problem(module, x, x, RecordLoss(LENGTH), BATCH[name])
    records = ArrayRecords(np.zeros((1, 1, 28, 28)), np.zeros(1), 10)
    arrays = MLP(hidden=(64,)) if name == "mlp" else CNN()
    module = convolutional() if name == "cnn" else arrays.module(records)
    x, y = torch.randn(RECORDS, 1, 28, 28), torch.randint(10, (RECORDS,))
    return Problem(module, x, y, nn.CrossEntropyLoss(), BATCH[name])


Train = Callable[[int], int]
"""Number of steps -> number of examples that were trained on."""


def ensemble(p: Problem, models: int) -> Train:
    stacked = Stacked(p.module)
    initial = Flat(stacked.shapes).row(p.module).expand(models, -1)
    p.criterion.reduction = "none"
    members = [np.arange(RECORDS)] * models
    task = Task(p.x, p.y, members, RECORDS, p.criterion)

    def train(steps: int) -> int:
        recipe = Recipe(steps=steps, sample_rate=p.batch / RECORDS, learning_rate=0.1)
        fit(stacked, recipe, task, range(models), initial, Speed())
        return steps * models * p.batch

    return train


def opacus(p: Problem, mode: str) -> Train:
    optimizer = torch.optim.SGD(p.module.parameters(), lr=0.1)
    loader = DataLoader(TensorDataset(p.x, p.y), batch_size=p.batch)
    made = PrivacyEngine().make_private(
        module=p.module,
        optimizer=optimizer,
        criterion=p.criterion,
        data_loader=loader,
        noise_multiplier=1.0,
        max_grad_norm=1.0,
        poisson_sampling=False,
        grad_sample_mode=mode,
    )
    return loop(p, made[0], made[1], made[2] if len(made) == 4 else p.criterion)


def sgd(p: Problem) -> Train:
    return loop(p, p.module, torch.optim.SGD(p.module.parameters(), lr=0.1), p.criterion)


def loop(p: Problem, module: nn.Module, optimizer: Any, criterion: Any) -> Train:
    sampler = Poisson(RECORDS, np.random.default_rng(0))

    def train(steps: int) -> int:
        for _ in range(steps):
            index = torch.from_numpy(sampler.draw(p.batch / RECORDS))
            optimizer.zero_grad()
            criterion(module(p.x[index]), p.y[index]).backward()
            optimizer.step()
        return steps * p.batch

    return train


def vmap_grad(p: Problem) -> Train:
    sampler = Poisson(RECORDS, np.random.default_rng(0))
    parameters = {n: v.detach().clone() for n, v in p.module.named_parameters()}

    def loss(values: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return p.criterion(functional_call(p.module, values, (x[None],)), y[None])

    every = vmap(grad(loss), in_dims=(None, 0, 0))

    def train(steps: int) -> int:
        for _ in range(steps):
            index = torch.from_numpy(sampler.draw(p.batch / RECORDS))
            gradients = every(parameters, p.x[index], p.y[index])
            norms = torch.stack([g.flatten(1).square().sum(1) for g in gradients.values()]).sum(0).sqrt()
            factors = (1 / (norms + 1e-6)).clamp(max=1)
            for name, g in gradients.items():
                total = (factors @ g.flatten(1)).view_as(parameters[name])
                parameters[name].sub_(total.add_(torch.randn_like(total)), alpha=0.1 / p.batch)
        return steps * p.batch

    return train


METHODS: dict[str, Callable[[Problem], Train]] = {
    "opacus-hooks": lambda p: opacus(p, "hooks"),
    "opacus-ghost": lambda p: opacus(p, "ghost"),
    "vmap-grad": vmap_grad,
    "sgd": sgd,
}


def worker(pipe: Connection, name: str, method: str, models: int, seconds: float) -> None:
    warnings.simplefilter("ignore")
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    try:
        p = problem(name, method)
        train = ensemble(p, models) if method == "ensemble" else METHODS[method](p)
        timed(train, 1)
        steps = max(1, round(seconds * timed(train, 2) / (models * p.batch)))
        pipe.send(None)
        while pipe.recv():
            pipe.send((timed(train, steps), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))
    except (RuntimeError, ValueError, NotImplementedError) as error:
        pipe.send(str(error).splitlines()[0])


def timed(train: Train, steps: int) -> float:
    """Examples per second."""
    start = time.process_time()
    examples = train(steps)
    return examples / (time.process_time() - start)


def bench(name: str, ensembles: list[int], rounds: int, seconds: float) -> list[dict[str, Any]]:
    """One row for each method and number of models."""
    fork = mp.get_context("fork")
    cells = [(m, 1) for m in METHODS] + [("ensemble", k) for k in ensembles]
    pipes: dict[tuple[str, int], Connection] = {}
    rows: dict[tuple[str, int], list[tuple[float, float]]] = {cell: [] for cell in cells}
    processes = []
    for cell in cells:
        here, there = fork.Pipe()
        process = fork.Process(target=worker, args=(there, name, *cell, seconds), daemon=True)
        process.start()
        processes.append(process)
        refused = here.recv()
        if refused is None:
            pipes[cell] = here
        else:
            print(f"{name}, {cell[0]}: {refused}", file=sys.stderr)
    for _ in range(rounds):
        for cell, pipe in pipes.items():
            pipe.send(True)
            rows[cell].append(pipe.recv())
    for pipe in pipes.values():
        pipe.send(False)
    for process in processes:
        process.join()
    return [
        {
            "model": name,
            "method": method,
            "models": models,
            "examples_per_second": max((speed for speed, _ in found), default=math.nan),
            "peak_mb": max((peak for _, peak in found), default=math.nan),
        }
        for (method, models), found in rows.items()
    ]


def show(table: pd.DataFrame, title: str) -> None:
    shown = Table("model", "method", "models", "examples/s", "x hooks", "x ghost", "x sgd", "peak MB", title=title)
    for name, rows in table.groupby("model", sort=False):
        base = rows.set_index("method").examples_per_second
        for row in rows.itertuples():
            ratios = (row.examples_per_second / base[m] for m in ("opacus-hooks", "opacus-ghost", "sgd"))
            shown.add_row(
                str(name),
                row.method,
                str(row.models),
                f"{row.examples_per_second:,.0f}",
                *(f"{r:.2f}" for r in ratios),
                f"{row.peak_mb:,.0f}",
            )
    Console(width=100).print(shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", default="mlp,cnn,cnn-groupnorm,ngram,gru")
    parser.add_argument("--ensembles", default="1,8,32,128")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    parser.add_argument("--allocator", choices=("both", *ALLOCATORS), default="both")
    given = parser.parse_args()
    if given.allocator == "both":
        print(f"{cpu()}, one core, torch {torch.__version__}, {platform.system()}", flush=True)
        for name, environment in ALLOCATORS.items():
            command = [sys.executable, __file__, *sys.argv[1:], "--allocator", name]
            subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"} | environment, check=True)
        return
    given.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for model in given.models.split(","):
        rows += bench(model, [int(k) for k in given.ensembles.split(",")], given.rounds, given.seconds)
        suffix = "" if given.allocator == "default" else f"-{given.allocator}"
        pd.DataFrame(rows).to_csv(given.out / f"engine{suffix}.csv", index=False)
    show(pd.DataFrame(rows), f"allocator: {given.allocator}")


def cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.processor())


if __name__ == "__main__":
    run_program(main)
