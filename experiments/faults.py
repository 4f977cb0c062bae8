"""Which planted faults does the gate catch, by which attack, with how many models, in how many seconds?

    python -m experiments.faults --out runs/faults

Every trainer is audited alike, by an auditor who does not know its fault: a pilot in every world chooses one canary and
one attack; fresh models are then judged as those of a sweep are (`audit.analysis`, `audit.gate`), with a positive
control without noise and a negative one that is never inserted. So a verdict is paid for whatever the pilot chose.
Then all is done again with other seeds, for the pilot is small and a verdict depends on its luck; and the right trainer
is audited many times, with the settings of every fault in turn.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import torch

from attacks.base import Attack
from attacks.gradient import Gradient
from attacks.gradient_epochs import GradientEpochs
from attacks.gradient_llr import GradientLLR
from attacks.gradient_spread import GradientSpread
from attacks.loss import Loss
from attacks.scores import Observations, Scores
from audit.accounting import claim_of
from audit.analysis import AttackKind
from audit.claim_test import claim_test
from audit.estimators.calibrated_loss_curve import CalibratedLossCurve
from audit.programs import run_program
from audit.training.allocator import keep_freed_memory
from canaries.inclusion import Inclusion
from canaries.randomness import derive_seed
from experiments.faults_report import statement, write_report
from experiments.judging import judged
from experiments.planted_faults import FAULTS, Reference
from experiments.planted_faults.reference import DELTA
from experiments.planted_faults.worlds import RECORDS, WORLDS, World

SEED = 2026
CONFIDENCE = 0.999
PILOT = 64
MODELS = 1024
"""Fresh models, from which the verdict comes."""
CONTROL = 128
"""Models without noise."""
BLOCK = 64
"""Models that train together."""


@dataclass(frozen=True)
class Row:
    """What was found of one trainer.

    The verdict is the gate's. `bound` assumes nothing of the mechanism; it holds together with the claim's test and the
    control's bound, for which `p_value` is adjusted. `curve_bound` believes sampling rate and steps and holds by
    itself; the gate does not see it. `settings` are those of the claim. `models` counts pilot and control too; `enough`
    is how many of the fresh ones, the first 64, 128, ..., would have done: found afterwards, so no claim. `seconds` are
    of one core, pilot and control included, `curve_bound` and `enough` left out.
    """

    fault: str
    settings: str
    verdict: str
    exit_code: int
    access: str
    attack: str
    canary: str
    estimator: str
    bound: float
    curve_bound: float
    models: int
    enough: int | None
    seconds: float
    claimed: float
    really: float | None
    p_value: float
    stands_for: str
    note: str
    reason: str


def attacks_on(trainer: Reference, world: World) -> Iterator[Attack]:
    """Everything that this world's adversary tries, who knows that the canary comes last; the least access first."""
    if world.is_record:
        yield Loss()
    yield from (Gradient(), GradientLLR(), GradientSpread())
    batches = round(1 / trainer.claimed_rate)
    if 1 < batches <= trainer.steps:
        yield from (GradientEpochs(batches), GradientEpochs(batches, place=RECORDS % batches))


def measure(trainer: Reference, world: World, attacks: list[Attack], models: int, seed: int) -> list[Scores]:
    """Scores of each attack on fresh models, half of them with the canary."""
    inclusion = Inclusion.draw(world.canaries, models, "model", derive_seed(seed, "coins"))
    parts: list[list[Observations]] = [[] for _ in attacks]
    for start in range(0, models, BLOCK):
        inside = inclusion.inserted[start : start + BLOCK, 0]
        view = trainer.train(world, inside, derive_seed(seed, "block", start) % 2**62)
        for found, attack in zip(parts, attacks, strict=True):
            found.append(attack.observe(view, world.canaries, seed))
    return [Scores.join(_stacked(part), world.canaries, inclusion) for part in parts]


def _stacked(parts: list[Observations]) -> Observations:
    return Observations(parts[0].ids, np.concatenate([part.score for part in parts]), {})


def choose(trainer: Reference, seed: int) -> tuple[World, Attack]:
    """The canary and the attack that speak most strongly against the claim on a pilot; of equals the first."""
    tried = []
    for world in WORLDS:
        attacks = list(attacks_on(trainer, world))
        found = measure(trainer, world, attacks, PILOT, derive_seed(seed, "pilot", world.name))
        for attack, scores in zip(attacks, found, strict=True):
            planted = scores.select(~scores.reference)
            test = claim_test(planted, trainer.claim, seed=seed, level=0.05)
            assert test is not None
            tried.append((test.p_value, -_separation(planted), len(tried), world, attack))
    *_, world, attack = min(tried, key=lambda one: one[:3])
    return world, attack


def _separation(scores: Scores) -> float:
    """Difference of the arms' means in standard deviations; only to choose among equals."""
    inside, outside = scores.score[scores.member], scores.score[~scores.member]
    return float((inside.mean() - outside.mean()) / max(1e-9, np.hypot(inside.std(), outside.std())))


def audit(trainer: Reference, seed: int, more: bool = True) -> Row:
    """Pilot, control, fresh models, verdict; `more` adds what is not for the gate."""
    torch.set_num_threads(1)
    keep_freed_memory()
    started = time.process_time()
    world, attack = choose(trainer, seed)
    bare = replace(trainer, noisy=False)
    (control,) = measure(bare, world, [attack], CONTROL, derive_seed(seed, "control"))
    (found,) = measure(trainer, world, [attack], MODELS, derive_seed(seed, "models"))
    kind = AttackKind(attack.name, attack.family, attack.access.value)
    cell, gate = judged(trainer.name, kind, trainer.claim, found, control, CONFIDENCE, seed)
    seconds = time.process_time() - started
    (attacked,) = cell.attacks
    (bound,) = attacked.bounds
    assert attacked.claim_test is not None
    assert cell.verdict is not None
    curve = CalibratedLossCurve(trainer.claimed_rate, trainer.claimed_steps)
    planted = found.select(~found.reference)
    return Row(
        fault=trainer.name,
        settings=trainer.settings,
        verdict=cell.verdict.outcome.value,
        exit_code=gate.exit_code,
        access=attack.access.value,
        attack=attack.name,
        canary=world.name,
        estimator=f"claim test; bound: {bound.estimator}",
        bound=bound.epsilon,
        curve_bound=curve.bound(planted, DELTA, CONFIDENCE, seed=seed).epsilon if more else np.nan,
        models=PILOT * len(WORLDS) + CONTROL + MODELS,
        enough=enough(trainer, planted, 1 - bound.confidence, seed) if more else None,
        seconds=seconds,
        claimed=trainer.claim.epsilon,
        really=None if trainer.really is None else claim_of(trainer.really, DELTA).epsilon,
        p_value=attacked.claim_test.p_value,
        stands_for=trainer.stands_for,
        note=trainer.note,
        reason=cell.verdict.reason,
    )


def enough(trainer: Reference, planted: Scores, level: float, seed: int) -> int | None:
    """The first of 64, 128, ... models on which the claim's test alone would have been enough; None if none is."""
    for models in (64 * 2**k for k in range(10)):
        if models > planted.models:
            break
        test = claim_test(planted.take_models(slice(models)), trainer.claim, seed=seed, level=level)
        if test is not None and test.p_value <= level:
            return models
    return None


def repeated(repeats: int, jobs: int, seed: int) -> Iterator[Row]:
    """Every trainer audited again with each of the seeds that follow."""
    yield from joblib.Parallel(n_jobs=jobs, return_as="generator")(
        joblib.delayed(audit)(trainer, seed + 1 + i, False) for i in range(repeats) for trainer in FAULTS
    )


def clean(runs: int, jobs: int, seed: int) -> Iterator[Row]:
    """The right trainer audited `runs` times, with the settings of every fault in turn, each with seeds of its own."""
    twins = sound_twins()
    yield from joblib.Parallel(n_jobs=jobs, return_as="generator")(
        joblib.delayed(audit)(twins[i % len(twins)], derive_seed(seed, "clean", i) % 2**62, False) for i in range(runs)
    )


def sound_twins() -> list[Reference]:
    """The right trainer with each of the settings that a fault is audited in, and makes its claim with."""
    return list({fault.sound.settings: fault.sound for fault in FAULTS}.values())


def written(rows: Iterator[Row], path: Path) -> list[Row]:
    """The rows, each written as soon as it is there."""
    found: list[Row] = []
    for row in rows:
        found.append(row)
        pd.DataFrame(found).to_csv(path, index=False)
    return found


def line(row: Row) -> str:
    return (
        f"{row.verdict:<12} {row.fault:<52} {row.attack:<16} {row.canary:<22} epsilon >= {row.bound:<6.3g} "
        f"({row.curve_bound:.3g}) {row.enough or '-':>5} models are enough {row.seconds:>6.1f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/faults"))
    parser.add_argument("--docs", type=Path, help="also write the report, faults.md, and the tables there")
    parser.add_argument("--clean", type=int, default=200, help="audits of the right trainer")
    parser.add_argument("--repeats", type=int, default=3, help="further seeds for every fault")
    parser.add_argument("--jobs", type=int, default=1, help="workers for all but the timed audits")
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for row in written((audit(trainer, options.seed) for trainer in FAULTS), options.out / "faults.csv"):
        print(line(row), flush=True)
    written(repeated(options.repeats, options.jobs, options.seed), options.out / "faults_repeats.csv")
    found = written(clean(options.clean, options.jobs, options.seed), options.out / "faults_clean.csv")
    if found:
        print(statement(pd.DataFrame(found), CONFIDENCE))
    if options.docs:
        write_report(options.out, options.docs)


if __name__ == "__main__":
    run_program(main)
