"""Which planted faults does the gate catch, by which attack, with how many models, in how many seconds?

    python -m experiments.faults --out runs/faults

Every trainer is audited alike, by an auditor who does not know its fault: a pilot in every world chooses one canary and
one attack; fresh models then test the claim, in looks that double, each of which spends its share of the error. So a
verdict is paid for whatever the pilot chose and whenever it stopped. Then the right trainer is audited many times.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import torch
from scipy.stats import beta

from attacks.base import Attack
from attacks.gradient import Gradient
from attacks.gradient_llr import GradientLLR
from attacks.loss import Loss
from attacks.scores import Scores
from audit.accounting import claim_of
from audit.claim import Claim
from audit.claim_test import ClaimTest, claim_test
from audit.estimators.calibrated_epsilon_delta import CalibratedEpsilonDelta
from audit.estimators.calibrated_loss_curve import CalibratedLossCurve
from audit.sequential import confidence_at_look
from audit.training.allocator import keep_freed_memory
from canaries.randomness import derive_seed
from experiments.fault_attacks import GradientEpochs, GradientSpread
from experiments.planted_faults import FAULTS, Reference
from experiments.planted_faults.reference import DELTA
from experiments.planted_faults.worlds import RECORDS, WORLDS, World

CONFIDENCE = 0.999
PILOT = 64
LOOKS = (128, 320, 1024)
"""Fresh models at each look."""
COARSE = 0.05
BLOCK = 64
"""Models that train together."""


@dataclass(frozen=True)
class Row:
    """What was found of one trainer.

    The verdict is that of the claim's test. `bound` assumes nothing of the mechanism, `curve_bound` believes sampling
    rate and steps; each holds by itself with the confidence of the look. `seconds` are of one core, pilot included.
    """

    fault: str
    verdict: str
    access: str
    attack: str
    canary: str
    estimator: str
    bound: float
    curve_bound: float
    models: int
    seconds: float
    claimed: float
    really: float | None
    p_value: float
    level: float
    stands_for: str
    note: str


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
    parts: list[list[np.ndarray]] = [[] for _ in attacks]
    inside = np.arange(models) % 2 == 0
    for start in range(0, models, BLOCK):
        view = trainer.train(world, inside[start : start + BLOCK], derive_seed(seed, "block", start) % 2**62)
        for found, attack in zip(parts, attacks, strict=True):
            found.append(attack.observe(view, world.canaries, seed).score)
    return [Scores.from_matrix(np.concatenate(part), inside[:, None], randomised="model") for part in parts]


def choose(trainer: Reference, seed: int) -> tuple[World, Attack]:
    """The canary and the attack that speak most strongly against the claim on a pilot; of equals the first."""
    tried = []
    for world in WORLDS:
        attacks = list(attacks_on(trainer, world))
        found = measure(trainer, world, attacks, PILOT, derive_seed(seed, "pilot", world.name))
        for attack, scores in zip(attacks, found, strict=True):
            test = claim_test(scores, trainer.claim, seed=seed, level=0.05)
            assert test is not None
            tried.append((test.p_value, -_separation(scores), len(tried), world, attack))
    *_, world, attack = min(tried, key=lambda one: one[:3])
    return world, attack


def _separation(scores: Scores) -> float:
    """Difference of the arms' means in standard deviations; only to choose among equals."""
    inside, outside = scores.score[scores.member], scores.score[~scores.member]
    return float((inside.mean() - outside.mean()) / max(1e-9, np.hypot(inside.std(), outside.std())))


def audit(trainer: Reference, seed: int, with_bound: bool = True) -> Row:
    """Pilot, then looks at fresh models until the claim is refuted or the last look is taken."""
    torch.set_num_threads(1)
    keep_freed_memory()
    started = time.process_time()
    world, attack = choose(trainer, seed)
    found: Scores | None = None
    test: ClaimTest | None = None
    level, refuted = 1.0, False
    for look, models in enumerate(LOOKS, start=1):
        wanted = models - (found.models if found else 0)
        (more,) = measure(trainer, world, [attack], wanted, derive_seed(seed, "look", look))
        found = more if found is None else _joined(found, more)
        level = 1 - confidence_at_look(CONFIDENCE, look)
        test = strict_test(found, trainer.claim, seed, level)
        refuted = test.p_value <= level
        if refuted:
            break
    seconds = time.process_time() - started
    assert found is not None
    assert test is not None
    estimator = CalibratedEpsilonDelta()
    curve = CalibratedLossCurve(trainer.claimed_rate, trainer.claimed_steps)
    bound, curve_bound = (
        (e.bound(found, DELTA, 1 - level, seed=seed).epsilon for e in (estimator, curve))
        if with_bound
        else (np.nan,) * 2
    )
    pilot = PILOT * len(WORLDS)
    really = None if trainer.really is None else claim_of(trainer.really, DELTA).epsilon
    return Row(
        fault=trainer.name,
        verdict="REFUTED" if refuted else "NOT_REFUTED",
        access=attack.access.value,
        attack=attack.name,
        canary=world.name,
        estimator=f"claim test; bound: {estimator.name}",
        bound=bound,
        curve_bound=curve_bound,
        models=pilot + found.models,
        seconds=seconds,
        claimed=trainer.claim.epsilon,
        really=really,
        p_value=test.p_value,
        level=level,
        stands_for=trainer.stands_for,
        note=trainer.note,
    )


def strict_test(scores: Scores, claim: Claim, seed: int, level: float) -> ClaimTest:
    """The claim's test, simulated finely only where a coarse simulation leaves something to refute.

    A claim is then refuted where both p-values are small, which is never more often than where one is.
    """
    coarse = claim_test(scores, claim, seed=seed, level=COARSE)
    assert coarse is not None
    if coarse.p_value > COARSE:
        return coarse
    fine = claim_test(scores, claim, seed=seed, level=level)
    assert fine is not None
    return fine


def _joined(first: Scores, second: Scores) -> Scores:
    return Scores.from_matrix(
        np.concatenate([first.score, second.score]), np.concatenate([first.member, second.member]), randomised="model"
    )


def clean(runs: int, jobs: int) -> Iterator[Row]:
    """The right trainer audited `runs` times, each with seeds of its own."""
    yield from joblib.Parallel(n_jobs=jobs, return_as="generator")(
        joblib.delayed(audit)(Reference(), 10_000 + i, False) for i in range(runs)
    )


def statement(refuted: int, runs: int) -> str:
    """What the clean runs say of false alarms."""
    high = beta.ppf(0.95, refuted + 1, runs - refuted) if refuted < runs else 1.0
    return (
        f"{refuted} of {runs} audits of the right trainer were refuted at confidence {CONFIDENCE}; with 95% confidence "
        f"the rate of false alarms is below {high:.2%}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/faults"))
    parser.add_argument("--clean", type=int, default=200, help="audits of the right trainer")
    parser.add_argument("--jobs", type=int, default=1, help="workers for the audits of the right trainer")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for trainer in FAULTS:
        rows.append(audit(trainer, options.seed))
        r = rows[-1]
        print(
            f"{r.verdict:<12} {r.fault:<52} {r.attack:<16} {r.canary:<22} "
            f"epsilon >= {r.bound:<6.3g} ({r.curve_bound:.3g})"
            f" {r.models:>5} models {r.seconds:>6.1f} s",
            flush=True,
        )
        pd.DataFrame(rows).to_csv(options.out / "faults.csv", index=False)
    found: list[Row] = []
    for row in clean(options.clean, options.jobs):
        found.append(row)
        pd.DataFrame(found).to_csv(options.out / "clean.csv", index=False)
    if found:
        print(statement(sum(row.verdict == "REFUTED" for row in found), len(found)))


if __name__ == "__main__":
    main()
