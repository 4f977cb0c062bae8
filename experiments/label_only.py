"""How much do labels alone show, next to losses? Both on the same models, under a worst case of full-batch DP-SGD.

    python -m experiments.label_only --out docs/results

Digits, MLP 64-32-10, 999 records and one canary, T = 20 full-batch steps, C = 1, learning rate 2, initial parameters
trained on disjoint records, epsilon 8 at delta 1e-5. Two canaries, with as many models each:

- plain: one hot pixel of value 10, labelled with the class that pilot models find least likely there;
- calibrated: a blend of two hot pixels of value 10 that models give two different labels, moved along the line between
  them to where pilot models, trained with and without it, split evenly (`attacks.label_only.calibration`); of a few
  such pairs, the one that tells pilots apart best.

Everything is chosen on pilots, which are never scored: the pixels, the label and the place. The reference point of
the line searches is a second, never inserted canary: one of the two hot pixels.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from attacks import Augmentations, BoundaryDistance, Gap, HopSkipJump, Loss, NoiseRobustness
from attacks.base import Attack
from attacks.label_only.calibration import Calibration, calibrate
from attacks.scores import Observations, Scores
from attacks.view import ArrayView, View
from audit.accounting import noise_multiplier
from audit.bounds import Bound
from audit.estimators.calibrated_epsilon_delta import CalibratedEpsilonDelta
from audit.estimators.calibrated_gaussian import CalibratedGaussian
from audit.gaussian import mu_of
from audit.programs import run_program
from audit.training.allocator import keep_freed_memory
from audit.training.datasets.digits import Digits
from audit.training.ensemble.trainer import Ensemble
from audit.training.models import MLP
from audit.utility import measure_utility
from canaries.base import CanarySet
from canaries.inclusion import Inclusion
from canaries.randomness import derive_seed
from canaries.records import ArrayRecords, Dataset
from experiments.label_only_report import write_report

DELTA, CONFIDENCE, STEPS = 1e-5, 0.95, 20
VALUE, TWO, SHORTLIST, BLOCK = 10.0, 0.98, 6, 64
ATTACKS: tuple[Attack, ...] = (
    Loss(),
    Gap(),
    NoiseRobustness(copies=50, scales=(0.2,)),
    Augmentations(shape=(1, 8, 8)),
    BoundaryDistance(queries=12),
    HopSkipJump(iterations=2),
    HopSkipJump(),
)
"""Settings were chosen on models of other seeds than those that are scored here."""


@dataclass(frozen=True, eq=False)
class Pipeline:
    """One repetition: data, initial parameters, and models with and without a canary by seed."""

    trainer: Ensemble
    data: Dataset
    seed: int

    @classmethod
    def of(cls, epsilon: float, seed: int) -> Pipeline:
        """The pipeline whose noise claims `epsilon`."""
        trainer = Ensemble(
            model=MLP((32,)),
            steps=STEPS,
            sample_rate=1.0,
            learning_rate=2.0,
            max_grad_norm=1.0,
            noise_multiplier=noise_multiplier(epsilon, DELTA, 1.0, STEPS),
            initial="pretrained",
            initial_seed=derive_seed(seed, "initial"),
            pretrain_steps=300,
        )
        return cls(trainer, Digits(train=999, pool=398, test=400).load(derive_seed(seed, "data")), seed)

    def blocks(self, canaries: CanarySet, models: int, name: str) -> Iterator[tuple[View, Inclusion]]:
        """`models` models in blocks, half of them with the canary; `name` tells pilots and scored models apart."""
        inclusion = Inclusion.draw(canaries, models, "model", derive_seed(self.seed, name, "coins"))
        for start in range(0, models, BLOCK):
            member = inclusion.member[start : start + BLOCK]
            coins = replace(inclusion, member=member)
            seeds = [derive_seed(self.seed, name, "model", start + i) for i in range(len(member))]
            yield self.trainer.train(self.data, canaries, coins.inserted, seeds), coins


def canary(x: NDArray[np.float32], y: int, reference: NDArray[np.float32], label: int) -> CanarySet:
    """One canary, and one reference of another label, which is never inserted."""
    records = ArrayRecords(np.stack([x, reference]), np.array([y, label]), 10)
    return CanarySet("hot-pixels", ("canary", "reference"), records, np.ones(2, dtype=int), np.array([False, True]))


def hot_pixels() -> NDArray[np.float32]:
    """float32[64, 64]: pixel j of record j is VALUE, all others are 0."""
    return VALUE * np.eye(64, dtype=np.float32)


def plain(pilots: ArrayView, data: Dataset) -> CanarySet:
    """One hot pixel, the one that varies least in public data, with its least likely class."""
    assert isinstance(data.pool, ArrayRecords)
    first, second = np.argsort(data.pool.x.std(axis=0), kind="stable")[:2]
    hot = hot_pixels()
    p = pilots.probabilities(hot[[first, second]]).mean(axis=0)
    y = int(p[0].argmin())
    likely = [int(label) for label in np.argsort(-p[1]) if label != y]
    return canary(hot[first], y, hot[second], likely[0])


def crossings(pilots: ArrayView, data: Dataset) -> list[tuple[int, int, int, int, float]]:
    """Pairs of hot pixels that all pilots label alike, each with a label of its own, and where the label changes.

    Only pairs that change near the middle of the line, from one label to the other without a third, and where pilots
    give both labels together a probability of TWO at least: a change of label is then all there is to the loss, while
    a third class moves the loss and no label. Those whose pixels vary least in public data come first. Each is both
    pixels, both labels, and the place.
    """
    assert isinstance(data.pool, ArrayRecords)
    hot, varies = hot_pixels(), data.pool.x.std(axis=0)
    labels = pilots.labels(hot)
    agreed = np.flatnonzero((labels == labels[0]).all(axis=0))
    share = np.linspace(0, 1, 41, dtype=np.float32)[:, None]
    found = []
    for i in agreed:
        for j in agreed[labels[0, agreed] != labels[0, i]]:
            a, b = int(labels[0, i]), int(labels[0, j])
            given = pilots.labels((1 - share) * hot[i] + share * hot[j])
            at = 1 - (given == b).mean(axis=1)
            middle = ((1 - at.mean()) * hot[i] + at.mean() * hot[j]).astype(np.float32)
            both = pilots.probabilities(middle[None])[:, 0, [a, b]].sum(axis=1).mean()
            if np.isin(given, [a, b]).all() and 0.3 < at.mean() < 0.7 and both >= TWO:
                found.append((float(varies[i] + varies[j]), int(i), int(j), a, b, float(at.mean())))
    return [pair[1:] for pair in sorted(found)]


def on_the_boundary(pipeline: Pipeline, pilots: int, rounds: int) -> Calibration:
    """The calibrated canary: of SHORTLIST pairs the one that tells pilots apart best, after more rounds."""
    blank = canary(np.zeros(64, np.float32), 0, hot_pixels()[0], 1)
    view, _ = next(pipeline.blocks(blank, 16, "first pilots"))
    assert isinstance(view, ArrayView)
    hot = hot_pixels()

    def moved(pair: tuple[int, int, int, int, float], place: float, number: int, rounds: int) -> Calibration:
        i, j, a, b, _ = pair

        def family(p: float) -> CanarySet:
            return canary(((1 - p) * hot[i] + p * hot[j]).astype(np.float32), b, hot[i], a)

        def pilot(canaries: CanarySet, round_number: int) -> tuple[View, NDArray[np.bool_]]:
            seed = derive_seed(pipeline.seed, "pilots", number, round_number)
            inclusion = Inclusion.draw(canaries, pilots, "model", derive_seed(seed, "coins"))
            seeds = [derive_seed(seed, "model", m) for m in range(pilots)]
            return pipeline.trainer.train(pipeline.data, canaries, inclusion.inserted, seeds), inclusion.inserted[:, 0]

        return calibrate(family, pilot, 0.0, 1.0, place, rounds)

    pairs = crossings(view, pipeline.data)[:SHORTLIST]
    tried = [moved(pair, pair[-1], number, 1) for number, pair in enumerate(pairs)]
    best = max(range(len(pairs)), key=lambda n: tried[n].rounds[0].auc)
    final = moved(pairs[best], tried[best].position, SHORTLIST, rounds)
    return replace(final, rounds=(*(t.rounds[0] for t in tried), *final.rounds))


def observe(pipeline: Pipeline, canaries: CanarySet, models: int, name: str) -> tuple[list[Scores], list[int], float]:
    """Scores of each attack, its queries of each model, and the mean test accuracy."""
    seen: list[list[Observations]] = [[] for _ in ATTACKS]
    coins, accuracy = [], []
    for view, inclusion in pipeline.blocks(canaries, models, name):
        for place, attack in enumerate(ATTACKS):
            seen[place].append(attack.observe(view, canaries, derive_seed(pipeline.seed, "attacks")))
        coins.append(inclusion)
        accuracy.append(measure_utility(view, pipeline.data)["test accuracy"])
    every = replace(coins[0], member=np.concatenate([c.member for c in coins]))
    joined = [
        Scores.join(replace(parts[0], score=np.concatenate([p.score for p in parts])), canaries, every)
        for parts in seen
    ]
    return joined, [parts[0].queries for parts in seen], float(np.concatenate(accuracy).mean())


def rows(
    pipeline: Pipeline, calibration: Calibration, epsilon: float, models: int, repeat: int
) -> Iterator[dict[str, Any]]:
    """A row for each canary and attack."""
    first, _ = next(pipeline.blocks(calibration.canaries, 16, "pilots of the plain canary"))
    assert isinstance(first, ArrayView)
    for name, canaries in (("plain", plain(first, pipeline.data)), ("calibrated", calibration.canaries)):
        scores, queries, accuracy = observe(pipeline, canaries, models, f"scored, {name}")
        for attack, found, count in zip(ATTACKS, scores, queries, strict=True):
            mine = found.select(~found.reference)
            ins, outs = mine.score[mine.member], mine.score[~mine.member]
            spread = np.sqrt((ins.var() + outs.var()) / 2)
            yield {
                "repeat": repeat,
                "canary": name,
                "attack": attack.name,
                "queries": count // len(canaries),
                "models": models,
                "epsilon": epsilon,
                "gaussian": bound(CalibratedGaussian(), mine).epsilon,
                "epsilon_delta": bound(CalibratedEpsilonDelta(), mine).epsilon,
                "auc": roc_auc_score(mine.member[:, 0], mine.score[:, 0]),
                "separation": float((ins.mean() - outs.mean()) / spread / mu_of(epsilon, DELTA)) if spread else 0.0,
                "accuracy": accuracy,
            }


def bound(estimator: CalibratedGaussian | CalibratedEpsilonDelta, scores: Scores) -> Bound:
    """A bound that holds by itself."""
    return estimator.bound(scores, DELTA, CONFIDENCE)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", type=int, default=1000, help="of each canary, half of them with it")
    parser.add_argument("--pilots", type=int, default=128, help="of each round of calibration")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--epsilon", type=float, default=8.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/label-only"))
    options = parser.parse_args()
    keep_freed_memory()
    started, table, pilots = time.perf_counter(), [], []
    for repeat in range(options.repeats):
        pipeline = Pipeline.of(options.epsilon, derive_seed(options.seed, "repeat", repeat))
        calibration = on_the_boundary(pipeline, options.pilots, options.rounds)
        pilots += [{"repeat": repeat, **asdict(measured)} for measured in calibration.rounds]
        print(f"repeat {repeat}: canary at {calibration.position:.4f}", *calibration.rounds, sep="\n  ", flush=True)
        table += list(rows(pipeline, calibration, options.epsilon, options.models, repeat))
        print(pd.DataFrame(table[-2 * len(ATTACKS) :]).round(3).to_string(index=False), flush=True)
        write_report(pd.DataFrame(table), pd.DataFrame(pilots), options.out, cost(time.perf_counter() - started))


def cost(seconds: float) -> str:
    """What it took, for the report."""
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    machine = f"{os.cpu_count()}-core {platform.machine()} machine, one process, OMP_NUM_THREADS {threads}"
    return f"It took {seconds:.0f} s ({time.process_time():.0f} s of processor time) on a {machine}"


if __name__ == "__main__":
    run_program(main)
