"""LiRA and RMIA on ordinary records: a CNN without privacy on 10,000 images of Fashion-MNIST, 64 models.

    python -m experiments.membership --data /usr/share/datasets/fashion-mnist

Every record is in each model's training set by a fair coin (Carlini et al. 2022, section III). Each attack scores each
model with the others as its reference models, leave-one-out; with k = 1, 2, 4, ... it uses k models of each record that
were trained without it and, online, as many trained with it. Trained models' answers are kept in --out, a file each,
so the command can be stopped and goes on from there. It writes membership.csv, membership-risk.csv, membership.md and
membership.png.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from audit.programs import run_program
from audit.training.allocator import keep_freed_memory
from audit.training.datasets.idx import FashionMnist
from canaries.base import CanarySet
from canaries.inclusion import Inclusion
from canaries.natural import Natural
from canaries.randomness import derive_seed, generator
from canaries.records import ArrayRecords, Dataset
from experiments.membership_report import write_report


@dataclass(frozen=True)
class Setup:
    """What is trained: Adam without clipping or noise, shuffled batches of 100, the learning rate falling to zero."""

    data: str
    records: int = 10_000
    population: int = 2_000
    models: int = 64
    epochs: int = 16
    learning_rate: float = 4e-3
    batch: int = 100
    seed: int = 0

    def make(self) -> tuple[Dataset, CanarySet, Inclusion]:
        """The data, the records with the population behind them, and the coins."""
        source = FashionMnist(path=self.data, train=1, pool=self.records + self.population, test=2000)
        dataset = source.load(derive_seed(self.seed, "data"))
        records = Natural().make(dataset, self.records, generator(self.seed, "canaries"), self.population)
        return dataset, records, Inclusion.draw(records, self.models, "canary", derive_seed(self.seed, "coins"))


@dataclass(frozen=True)
class Answers:
    """What the trained models say.

    Attributes:
        probabilities: float64[models, records + population, classes].
        train_accuracy, test_accuracy: float64[models].
        seconds: of training and asking, over all models.
    """

    probabilities: NDArray[np.float64]
    train_accuracy: NDArray[np.float64]
    test_accuracy: NDArray[np.float64]
    seconds: float


def network() -> nn.Module:
    """Two strided 3x3 convolutions and two linear layers, for images of 28x28; 103,000 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 7 * 7, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


def trained(setup: Setup, out: Path) -> Answers:
    """Every model's answers, from `out` where they are there already."""
    dataset, records, coins = setup.make()
    images = records.records
    assert isinstance(images, ArrayRecords)
    parts = []
    for i in range(setup.models):
        path = out / f"model-{i:03d}.npz"
        if not path.is_file():
            began = time.perf_counter()
            model = train(setup, images.take(coins.inserted[i]), derive_seed(setup.seed, "model", i))
            with torch.no_grad():
                asked, test = (
                    torch.cat([torch.softmax(model(x).double(), 1) for x in torch.from_numpy(r.x).split(500)])
                    for r in (images, dataset.test)
                )
            right = (asked.argmax(1).numpy() == images.y)[coins.inserted[i]].mean()
            accuracy = (test.argmax(1).numpy() == dataset.test.y).mean()
            temporary = path.with_suffix(f".{os.getpid()}.tmp")
            with temporary.open("wb") as file:
                seconds = time.perf_counter() - began
                np.savez(file, asked=asked.numpy(), train_accuracy=right, test_accuracy=accuracy, seconds=seconds)
            os.replace(temporary, path)
            print(f"model {i}: {seconds:.0f} s, accuracy {right:.3f} on members, {accuracy:.3f} on tests", flush=True)
        parts.append(np.load(path))
    return Answers(
        np.stack([part["asked"] for part in parts]),
        np.array([float(part["train_accuracy"]) for part in parts]),
        np.array([float(part["test_accuracy"]) for part in parts]),
        float(sum(part["seconds"] for part in parts)),
    )


def train(setup: Setup, members: ArrayRecords, seed: int) -> nn.Module:
    """One model, from its records and its seed alone."""
    torch.manual_seed(derive_seed(seed, "parameters"))
    model, shuffler = network(), generator(seed, "batches")
    optimiser = torch.optim.Adam(model.parameters(), lr=setup.learning_rate)
    x, y = torch.from_numpy(members.x), torch.from_numpy(members.y)
    steps = setup.epochs * -(-len(y) // setup.batch)
    falling = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / steps)
    for _ in range(setup.epochs):
        for batch in torch.from_numpy(shuffler.permutation(len(y))).split(setup.batch):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimiser.step()
            falling.step()
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=FashionMnist.path, help="folder with the four IDX files")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/membership"), help="where trained models' answers are kept"
    )
    parser.add_argument("--results", type=Path, default=Path("docs/results"), help="where tables and the figure go")
    parser.add_argument("--targets", type=int, default=32, help="how many of the models are attacked")
    for name in ("records", "population", "models", "epochs"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Setup, name))
    args = parser.parse_args()
    setup = Setup(args.data, args.records, args.population, args.models, args.epochs)
    keep_freed_memory()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    answers = trained(setup, args.out)
    _, records, coins = setup.make()
    targets = min(args.targets, setup.models)
    cost = (
        f"{setup.models} models of {setup.records:,} images of Fashion-MNIST, each in by a fair coin, {setup.epochs} "
        f"epochs; {targets} are attacked. Accuracy {answers.train_accuracy.mean():.3f} on members, "
        f"{answers.test_accuracy.mean():.3f} on tests. Training took {answers.seconds:.0f} s of wall time"
    )
    write_report(answers.probabilities, records, coins, targets, args.results, cost)


if __name__ == "__main__":
    run_program(main)
