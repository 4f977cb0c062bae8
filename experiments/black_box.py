"""How near does a black-box audit come to the claim? Full-batch DP-SGD on 1,000 records, losses of final models alone.

    python -m experiments.black_box [--out runs/black-box] [--minutes 40] [--docs docs/results]
        [--only digits,mnist] [--mnist package/data] [--fashion /usr/share/datasets/fashion-mnist]

After Annamalai and De Cristofaro (2024), "Nearly Tight Black-Box Auditing of Differentially Private Machine Learning":
999 records and one canary, which half of the models train on; initial parameters pretrained on disjoint records; the
canary is one hot pixel of value 10 under the label that the initial model finds least likely. Everything is fixed in
advance, nothing is chosen on the scored models. Beside it the average case: natural and mislabelled canaries, initial
parameters of each model's own.

Every repeat has its own split of the data, initial parameters and models. What is done is not redone: one file for each
setting and repeat; a run that was stopped goes on. Without the files of MNIST or Fashion-MNIST their settings are left
out. Results in --docs are replaced only once everything is done that they hold.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from attacks.loss import Loss
from attacks.scores import Scores
from attacks.view import ArrayView
from audit.accounting import noise_multiplier
from audit.programs import run_program
from audit.training.allocator import keep_freed_memory
from audit.training.datasets import DatasetSource
from audit.training.datasets.digits import Digits
from audit.training.datasets.idx import FashionMnist, Mnist
from audit.training.ensemble import Ensemble
from audit.training.models import MLP, Architecture, Softmax
from canaries import CanaryDesign, HotPixel, Inclusion, Mislabelled, Natural
from canaries.errors import InputError
from canaries.randomness import derive_seed, generator
from experiments.black_box_report import write_report

DELTA = 1e-5
DATA = ("digits", "mnist", "fashion")
CHUNK = 100
"""Models that train before their scores are kept; a matter of memory alone."""

DESIGNS: dict[str, CanaryDesign] = {
    "worst": HotPixel(value=10.0, label="least-likely"),
    "pixel": HotPixel(value=10.0, pixel="least-likely", label="least-likely"),
    "scratch": HotPixel(value=10.0, label="least-likely"),
    "natural": Natural(),
    "mislabelled": Mislabelled(),
}
INITIAL: dict[str, Literal["fresh", "shared", "pretrained"]] = {
    "worst": "pretrained",
    "pixel": "pretrained",
    "scratch": "shared",
}
MODELS: dict[str, Architecture] = {"mlp": MLP((32,)), "softmax": Softmax()}


@dataclass(frozen=True)
class Setting:
    """One setting and repeat; the fields name its file.

    Attributes:
        data: "digits", "mnist" or "fashion".
        epsilon: claimed, at delta 1e-5.
        case: "worst"; "pixel", the same with the pixel of the surest least likely label hot in place of a dark one;
            "scratch", the worst from random parameters that all models share; or the average case's
            "natural" or "mislabelled", each model from random parameters of its own.
        model: "mlp" (one hidden layer of 32) or "softmax".
        steps, learning_rate, max_grad_norm: of full-batch DP-SGD.
        models: with the canary, and as many without.
        repeat: 0, 1, ...
    """

    data: str
    epsilon: float
    case: str = "worst"
    model: str = "mlp"
    steps: int = 20
    learning_rate: float = 2.0
    max_grad_norm: float = 1.0
    models: int = 500
    repeat: int = 0

    @property
    def file(self) -> str:
        """The file's name: every field."""
        return "_".join(f"{field.name}={getattr(self, field.name)}" for field in fields(self)) + ".npz"

    @property
    def added_later(self) -> bool:
        """Whether it was added after the first results had been seen; it is reported apart."""
        return (
            self.case == "pixel"
            or (self.model == "softmax" and self.data != "digits")
            or (self.steps == 100 and self.models == 500)
            or self.repeat >= 5
        )

    @property
    def seed(self) -> int:
        """Of everything random."""
        return derive_seed(0, "black box", self.file)

    def trainer(self) -> Ensemble:
        """What trains, with the noise that epsilon asks for."""
        trainer = Ensemble(
            model=MODELS[self.model],
            initial=INITIAL.get(self.case, "fresh"),
            initial_seed=self.seed,
            pretrain_steps=300,
            steps=self.steps,
            sample_rate=1.0,
            learning_rate=self.learning_rate,
            max_grad_norm=self.max_grad_norm,
        )
        return trainer.with_noise(noise_multiplier(self.epsilon, DELTA, 1.0, self.steps))


def settings() -> list[Setting]:
    """All of them, the most wanted first."""
    return list(dict.fromkeys(_wanted()))


def _wanted() -> Iterator[Setting]:
    epsilons, repeats = (10.0, 8.0, 4.0), range(5)
    average = ("scratch", "natural", "mislabelled")
    yield from (Setting("digits", epsilon, repeat=repeat) for repeat in range(3) for epsilon in epsilons)
    yield from (Setting("mnist", epsilon, models=100) for epsilon in epsilons)
    yield from (Setting("digits", 10.0, case, models=100) for case in average)
    yield from (Setting("digits", 10.0, learning_rate=rate, models=100) for rate in (5.0, 10.0, 20.0))
    yield from (Setting("digits", 10.0, "scratch", learning_rate=rate, models=100) for rate in (5.0, 10.0))
    softmax = Setting("digits", 8.0, model="softmax", learning_rate=4.0, max_grad_norm=0.5)
    yield from (replace(softmax, epsilon=epsilon) for epsilon in (8.0, 4.0, 10.0))
    yield from (Setting("fashion", epsilon, models=100) for epsilon in epsilons)
    yield from (Setting("mnist", epsilon) for epsilon in epsilons)
    yield from (replace(softmax, repeat=repeat) for repeat in repeats[1:])
    yield from (Setting("digits", epsilon, repeat=repeat) for repeat in repeats[3:] for epsilon in epsilons)
    yield from (Setting("mnist", epsilon, repeat=repeat, models=100) for repeat in repeats[1:] for epsilon in epsilons)
    yield from (Setting("mnist", 10.0, case, models=100) for case in average)
    yield from (replace(softmax, epsilon=epsilon, repeat=repeat) for repeat in repeats[1:] for epsilon in (10.0, 4.0))
    for data in ("mnist", "digits", "fashion"):
        for repeat in repeats:
            yield from (Setting(data, epsilon, "pixel", repeat=repeat) for epsilon in epsilons)
    yield Setting("digits", 10.0, steps=100, learning_rate=1.0, models=100)
    yield from (Setting("mnist", 10.0, learning_rate=rate, models=100) for rate in (5.0, 10.0, 20.0))
    for repeat in repeats:
        for data in ("mnist", "fashion"):
            yield from (Setting(data, epsilon, repeat=repeat) for epsilon in epsilons)
    for repeat in repeats:
        for data in ("mnist", "fashion"):
            yield from (replace(softmax, data=data, epsilon=epsilon, repeat=repeat) for epsilon in epsilons)
    yield from (Setting("digits", 10.0, steps=100, learning_rate=1.0, repeat=repeat) for repeat in repeats)
    yield from (Setting("digits", epsilon, repeat=repeat) for repeat in range(5, 10) for epsilon in epsilons)


def audit(setting: Setting, source: DatasetSource, out: Path) -> None:
    """Train and attack the models of a setting, and write their scores, members, accuracies and seconds."""
    data = source.load(derive_seed(setting.seed, "data"))
    trainer, design = setting.trainer(), DESIGNS[setting.case]
    view = trainer.initial_view(data)
    initial = None if view is None else _array(view).probabilities
    canaries = design.make(
        data,
        1,
        generator(setting.seed, "canary"),
        initial=None if initial is None else lambda records: initial(records.x)[0],
    )
    inclusion = Inclusion.draw(canaries, 2 * setting.models, "model", derive_seed(setting.seed, "coins"))
    score, accuracy, started = [], [], time.perf_counter()
    for start in range(0, 2 * setting.models, CHUNK):
        rows = range(start, min(start + CHUNK, 2 * setting.models))
        seeds = [derive_seed(setting.seed, "model", i) for i in rows]
        trained = _array(trainer.train(data, canaries, inclusion.inserted[rows.start : rows.stop], seeds))
        score.append(Loss().observe(trained, canaries, 0).score[:, 0])
        accuracy.append((trained.labels(data.test.x) == data.test.y).mean(axis=1))
    temporary = out / f".{os.getpid()}.npz"
    np.savez(
        temporary,
        score=np.concatenate(score),
        member=inclusion.member[:, 0],
        accuracy=np.concatenate(accuracy),
        initial_accuracy=np.nan if view is None else (_array(view).labels(data.test.x) == data.test.y).mean(),
        seconds=time.perf_counter() - started,
    )
    os.replace(temporary, out / setting.file)


def read(setting: Setting, out: Path) -> tuple[Scores, dict[str, float]]:
    """Scores of a setting that is done, and its mean accuracy, initial accuracy and seconds."""
    with np.load(out / setting.file) as done:
        scores = Scores.from_matrix(done["score"][:, None], done["member"][:, None], "model")
        facts = {
            "accuracy": float(done["accuracy"].mean()),
            "initial_accuracy": float(done["initial_accuracy"]),
            "seconds": float(done["seconds"]),
        }
    return scores, facts


def sources(mnist: str, fashion: str) -> dict[str, DatasetSource]:
    """The data sets that are there; pixels in [0, 1], 999 records to train on, the pool to pretrain on."""
    found: dict[str, DatasetSource] = {"digits": Digits(train=999, pool=398, test=400)}
    for name, source in (
        ("mnist", Mnist(mnist, 999, 10000, 1000, mean=0.0, std=1.0, flat=True)),
        ("fashion", FashionMnist(fashion, 999, 10000, 1000, mean=0.0, std=1.0, flat=True)),
    ):
        try:
            source.load(0)
        except InputError as error:
            print(f"{name} is left out: {error}", flush=True)
        else:
            found[name] = source
    return found


def _array(view: object) -> ArrayView:
    assert isinstance(view, ArrayView)
    return view


def _names(given: str) -> tuple[str, ...]:
    """Names of data sets from "digits,mnist"."""
    names = tuple(given.split(","))
    if unknown := [name for name in names if name not in DATA]:
        raise argparse.ArgumentTypeError(f"expected names among {', '.join(DATA)}, got {unknown[0]!r}")
    return names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/black-box"))
    parser.add_argument("--docs", type=Path, help="write the table and the figure there as well")
    parser.add_argument("--minutes", type=float, default=60.0, help="begin no further setting after so long")
    parser.add_argument("--only", type=_names, default=DATA, help="data sets, with commas between them")
    parser.add_argument("--mnist", default="package/data")
    parser.add_argument("--fashion", default="/usr/share/datasets/fashion-mnist")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    keep_freed_memory()
    available = sources(options.mnist, options.fashion)
    wanted = [s for s in settings() if s.data in options.only and s.data in available]
    started = time.monotonic()
    for setting in wanted:
        if (options.out / setting.file).exists():
            continue
        if time.monotonic() - started > 60 * options.minutes:
            print("out of time; run it again to go on", flush=True)
            break
        audit(setting, available[setting.data], options.out)
        print(f"{setting.file}: {read(setting, options.out)[1]}", flush=True)
    done = [(setting, *read(setting, options.out)) for setting in settings() if (options.out / setting.file).exists()]
    for folder in {options.out, options.docs or options.out}:
        write_report(done, DELTA, folder)


if __name__ == "__main__":
    run_program(main)
