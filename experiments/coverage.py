"""How often is a bound above the truth, and how tight is it? Every estimator on mechanisms of known epsilon.

    python -m experiments.coverage [--out runs/coverage] [--jobs 2] [--audits 3000] [--docs docs]

Writes coverage.csv, coverage.md and coverage.png/svg, and copies of the last three to --docs. What --out/parts holds
from an earlier call is kept, so an interrupted study goes on where it was; delete it to measure anew. Exits with 1 if
a bound whose assumptions hold lies above the truth significantly more often than its confidence says: over all rows,
a sound set of estimators raises that alarm with probability FALSE_ALARM at most.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import betabinom

from attacks.scores import Scores
from audit.estimators.base import Estimator
from audit.estimators.betting import Betting
from audit.estimators.calibrated import (
    Family,
    Ranks,
    Statistic,
    draws_for,
    epsilon_delta_statistic,
    gaussian_statistic,
    ranks_of,
)
from audit.estimators.calibrated_epsilon_delta import CalibratedEpsilonDelta
from audit.estimators.calibrated_gaussian import CalibratedGaussian
from audit.estimators.calibrated_loss_curve import CalibratedLossCurve
from audit.estimators.clopper_pearson import ClopperPearson
from audit.estimators.coins import ordered_coins
from audit.estimators.dkw import DKW
from audit.estimators.exposure_rank import ExposureRank
from audit.estimators.gaussian_dp import GaussianDP
from audit.estimators.one_run import OneRun
from audit.estimators.one_run_calibrated import CoinTest, OneRunCalibrated
from audit.estimators.one_run_fdp import OneRunFDP
from audit.estimators.reconstruction import Reconstruction
from audit.estimators.secret_guess import SecretGuess
from audit.gaussian import epsilon_of, mu_of
from audit.loss_curve import curve_of
from audit.mechanism import DPSGD
from audit.pld import pld_epsilon
from audit.programs import run_program
from canaries.randomness import derive_seed, generator
from experiments.calibration_table import (
    CriticalValues,
    epsilon_delta_table,
    gaussian_table,
    many_runs_table,
    observed,
    one_run_table,
)
from experiments.coverage_report import write_report
from experiments.laws import COPIES, DELTA, RATE, STEPS, Law, all_laws, group_laws, subsampled_mechanism
from experiments.secret_laws import SECRETS, SecretLaw, rank_laws, secret_laws

CONFIDENCE = 0.95
FALSE_ALARM = 0.01
EPSILONS = (1.0, 4.0, 8.0, 10.0)
SIZES = ((100, 100), (500, 500), (2000, 2000), (100, 900))
COINS = (200, 1000, 5000)
GROUP_EPSILONS = (0.5, 2.0)
"""For one of COPIES copies."""
SEEDS, SEEDS_LARGE = 20, 10
"""Simulations for each table, up to a thousand models and beyond."""
CEILING = "parametric ceiling"
"""Not an estimator: the mean difference over the standard deviation of scores known to be normal, less 1.645 of its own
standard deviations."""

Floats = NDArray[np.float64]
Bounds = Callable[[Law, int], tuple[Floats, NDArray[np.bool_]]]


@dataclass(frozen=True)
class Row:
    """One row of the table; `over` is the share of audits whose bound lies above the truth."""

    estimator: str
    law: str
    epsilon: float
    n_in: int
    n_out: int
    audits: int
    over: float
    mean: float
    p10: float


@dataclass(frozen=True)
class Task:
    """What one worker does: one estimator at one size, on every law; with several copies, on every law of a group."""

    estimator: str
    n_in: int
    n_out: int
    audits: int
    plain: Estimator | None = None
    copies: int = 1


def study(audits: int, jobs: int, epsilons: tuple[float, ...] = EPSILONS, parts: Path | None = None) -> pd.DataFrame:
    """The whole table; with `parts`, what that folder holds already is not measured again."""
    laws, planned = all_laws(epsilons), tasks(audits)
    parallel = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")
    done = []
    for rows in parallel(joblib.delayed(_measured)(task, laws, parts) for task in planned):
        done.append(rows)
        print(f"{len(done)} of {len(planned)}: {rows['estimator'].iloc[0]}", file=sys.stderr, flush=True)
    order = ["estimator", "law", "epsilon", "n_in", "n_out"]
    return pd.concat(done).sort_values(order, ignore_index=True)


def _measured(task: Task, laws: list[Law], parts: Path | None) -> pd.DataFrame:
    """One task's rows, from its file where there is one."""
    copies = "" if task.copies == 1 else f" {task.copies} copies"
    name = f"{task.estimator}{copies} {task.n_in} {task.n_out} {task.audits} of {len(laws)} laws.csv"
    path = None if parts is None else parts / name
    if path is not None and path.exists():
        return pd.read_csv(path)
    table = pd.DataFrame([asdict(row) for row in measure(task, laws)])
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".tmp")
        table.to_csv(unfinished, index=False)
        os.replace(unfinished, path)
    return table


def tasks(audits: int) -> list[Task]:
    """The long ones first."""
    few, some = max(1, audits // 10), max(1, audits // 3)
    long = [Task(name, *size, audits) for size in SIZES[::-1] for name in CALIBRATED]
    long += [Task("calibrated-loss-curve", 500, 500, audits)]
    coins = [Task("one-run-calibrated", m // 2, m - m // 2, audits) for m in COINS]
    coins += [Task(OneRun.name, m // 2, m - m // 2, some, OneRun()) for m in COINS]
    coins += [Task(OneRunFDP.name, m // 2, m - m // 2, some if m <= 1000 else few, OneRunFDP()) for m in COINS]
    short = [
        Task(named(e), *size, some, e)
        for size in SIZES
        for e in (ClopperPearson(), ClopperPearson(threshold=1.0), DKW(), GaussianDP())
    ]
    short += [Task("betting", *size, few, Betting()) for size in SIZES[:2]]
    short += [Task(CEILING, *size, audits) for size in SIZES]
    secrets = [Task(e.name, 60, 0, some, e) for e in (SecretGuess(), Reconstruction(prior=1 / SECRETS))]
    secrets += [Task(ExposureRank.name, 60, 0, some, ExposureRank())]
    return [*long, *coins, *short, *secrets, *_groups(few)]


def _groups(audits: int) -> list[Task]:
    """Bounds for one copy from canaries of COPIES copies."""
    runs = (CalibratedEpsilonDelta(), CalibratedGaussian(), ClopperPearson(), DKW(), GaussianDP(), Betting())
    tasks = [Task(e.name, 100, 100, audits, e, COPIES) for e in runs]
    tasks += [Task(CalibratedLossCurve.name, 100, 100, max(1, audits // 3), CalibratedLossCurve(RATE, STEPS), COPIES)]
    tasks += [Task(e.name, 100, 100, audits, e, COPIES) for e in (OneRun(), OneRunCalibrated(), OneRunFDP())]
    return tasks + [Task(e.name, 60, 0, audits, e, COPIES) for e in (SecretGuess(), ExposureRank())]


def seeds_of(task: Task) -> int:
    """How many simulations the table of a task has."""
    return SEEDS if max(task.n_in, task.n_out) <= 1000 else SEEDS_LARGE


def named(estimator: Estimator) -> str:
    """An estimator's name, and what was named in advance."""
    threshold = getattr(estimator, "threshold", None)
    return estimator.name if threshold is None else f"{estimator.name} (threshold {threshold:g})"


def measure(task: Task, laws: list[Law]) -> list[Row]:
    """The rows of one task."""
    epsilons = EPSILONS if task.copies == 1 else GROUP_EPSILONS
    if task.estimator in ("secret-guess", "reconstruction"):
        return [_row(task, law, *_secrets(task, law)) for law in secret_laws(epsilons, task.copies)]
    if task.estimator == "exposure-rank":
        return [_row(task, law, *_secrets(task, law)) for law in rank_laws(epsilons, task.copies)]
    if task.copies > 1:
        laws = group_laws(epsilons)
    if task.estimator == CEILING:
        laws = [law for law in laws if law.name in ("null data", "Gaussian")]
    elif task.estimator == "one-run-fdp":
        laws = [law for law in laws if law.curve == "gaussian" or law.name == "Laplace"]
    elif task.estimator == "calibrated-loss-curve":
        laws = [law for law in laws if law.curve == "dpsgd" or law.truth == 0]
    bounds = _ways(task, laws)
    return [_row(task, law, *bounds(law, derive_seed(0, task.estimator, law.name, str(law.epsilon)))) for law in laws]


def assumptions_hold(estimator: str, law: str) -> bool:
    """Whether an estimator's curve, if it assumes one, is that of the law."""
    if estimator == CEILING:
        return False
    if estimator in ("calibrated-gaussian", "gaussian-dp", "one-run-fdp"):
        return law.split(",")[0] in ("null data", "Gaussian", "discrete with ties")
    return True


def alarms(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of bounds whose assumptions hold and that lie above the truth significantly too often."""
    held = table[[assumptions_hold(e, law) for e, law in zip(table["estimator"], table["law"], strict=True)]]
    over = (held["over"] * held["audits"]).round()
    # Audits share simulations, some ten at least, and the level that one simulation of 999 attains is itself a little
    # random: Beta(50, 950). So the count is taken as beta-binomial, which is on the safe side of false alarms.
    spread = SEEDS_LARGE * 1000
    p = betabinom.sf(over - 1, held["audits"], spread * (1 - CONFIDENCE), spread * CONFIDENCE)
    return held[p < FALSE_ALARM / max(1, len(held))]


def _row(task: Task, law: Law | SecretLaw, found: Floats, over: NDArray[np.bool_]) -> Row:
    tenth = float(np.percentile(found, 10))
    return Row(
        task.estimator, law.name, law.epsilon, task.n_in, task.n_out, len(found), over.mean(), found.mean(), tenth
    )


def _ways(task: Task, laws: list[Law]) -> Bounds:
    if task.plain is not None:
        return _plainly(task, task.plain)
    if task.estimator == CEILING:
        return _ceiling(task)
    if task.estimator == "one-run-calibrated":
        return _coins_by_table(task, laws)
    return _by_table(task, laws)


def _plainly(task: Task, estimator: Estimator) -> Bounds:
    coins = isinstance(estimator, OneRun | OneRunCalibrated | OneRunFDP)

    def bounds(law: Law, seed: int) -> tuple[Floats, NDArray[np.bool_]]:
        found = np.empty(task.audits)
        for i in range(task.audits):
            scores = _coins(task, law, seed, i) if coins else Scores.from_arms(*_arms(task, law, seed, i))
            scores = replace(scores, repetitions=np.full_like(scores.repetitions, task.copies))
            found[i] = estimator.epsilon(scores, DELTA, CONFIDENCE, i)
        return found, found > law.truth * (1 + 1e-9)

    return bounds


def _by_table(task: Task, laws: list[Law]) -> Bounds:
    ranks = ranks_of(np.empty(task.n_in), np.empty(task.n_out), draws_for(1 - CONFIDENCE))
    table, statistic, theta_of, epsilon = CALIBRATED_OR_CURVE[task.estimator](task, ranks, laws)

    def bounds(law: Law, seed: int) -> tuple[Floats, NDArray[np.bool_]]:
        found, over = np.empty(task.audits), np.empty(task.audits, dtype=bool)
        for i in range(task.audits):
            seen = observed(statistic, ranks, *_arms(task, law, seed, i), i)
            found[i] = epsilon(table.bound(seen, i % len(table.value)))
            over[i] = table.refutes(theta_of(law), seen, i % len(table.value))
        return found, over

    return bounds


Tabulated = tuple[CriticalValues, Statistic, Callable[[Law], float], Callable[[float], float]]


def _gaussian(task: Task, ranks: Ranks, laws: list[Law]) -> Tabulated:
    def theta_of(law: Law) -> float:
        return mu_of(law.truth, DELTA) if law.truth else 0.0

    mus = [*np.linspace(0, 4.2, 29), *map(theta_of, laws)]
    table = gaussian_table(task.n_in, task.n_out, mus, 1 - CONFIDENCE, seeds_of(task))
    return table, gaussian_statistic(ranks), theta_of, lambda mu: epsilon_of(mu, DELTA)


def _epsilon_delta(task: Task, ranks: Ranks, laws: list[Law]) -> Tabulated:
    epsilons = [*np.linspace(0, 12, 41), *(law.truth for law in laws)]
    table = epsilon_delta_table(task.n_in, task.n_out, epsilons, DELTA, 1 - CONFIDENCE, seeds_of(task))
    return table, epsilon_delta_statistic(ranks, DELTA), lambda law: law.truth, lambda epsilon: epsilon


def _loss_curve(task: Task, ranks: Ranks, laws: list[Law]) -> Tabulated:
    def theta_of(law: Law) -> float:
        return 1 / subsampled_mechanism(law.epsilon).noise_multiplier if law.truth else 0.0

    def move(tpr: Floats, theta: float) -> Floats:
        return curve_of(DPSGD(RATE, STEPS, 1 / theta)).invert(tpr) if theta else tpr

    thetas = np.unique([0.0, *np.geomspace(0.1, 2.0, 18), *map(theta_of, laws)])
    family = Family(lambda x: x, move)
    table = many_runs_table(gaussian_statistic(ranks), family, ranks, thetas, 1 - CONFIDENCE, seeds_of(task))
    epsilons = [pld_epsilon(DPSGD(RATE, STEPS, 1 / t), DELTA, 1e-3) if t else 0.0 for t in thetas]
    return table, gaussian_statistic(ranks), theta_of, lambda theta: float(np.interp(theta, thetas, epsilons))


CALIBRATED = {"calibrated-gaussian": _gaussian, "calibrated-epsilon-delta": _epsilon_delta}
CALIBRATED_OR_CURVE = CALIBRATED | {"calibrated-loss-curve": _loss_curve}


def _coins_by_table(task: Task, laws: list[Law]) -> Bounds:
    epsilons = [*np.linspace(0, 10, 41), *(law.truth for law in laws)]
    table = one_run_table(task.n_in + task.n_out, epsilons, DELTA, 1 - CONFIDENCE, seeds_of(task))

    def bounds(law: Law, seed: int) -> tuple[Floats, NDArray[np.bool_]]:
        found, over = np.empty(task.audits), np.empty(task.audits, dtype=bool)
        for i in range(task.audits):
            seen = CoinTest.of(ordered_coins(_coins(task, law, seed, i), True, i), 1, 0).seen
            found[i] = table.bound(seen, i % len(table.value))
            over[i] = table.refutes(law.truth, seen, i % len(table.value))
        return found, over

    return bounds


def _ceiling(task: Task) -> Bounds:
    def bounds(law: Law, seed: int) -> tuple[Floats, NDArray[np.bool_]]:
        found = np.empty(task.audits)
        for i in range(task.audits):
            found[i] = parametric_ceiling(*_arms(task, law, seed, i))
        return found, found > law.truth * (1 + 1e-9)

    return bounds


def parametric_ceiling(ins: Floats, outs: Floats) -> float:
    """Epsilon at DELTA of the lower limit of mu, by who knows that scores are normal with one spread."""
    freedom = len(ins) + len(outs) - 2
    pooled = math.sqrt((ins.var(ddof=1) * (len(ins) - 1) + outs.var(ddof=1) * (len(outs) - 1)) / freedom)
    d = (ins.mean() - outs.mean()) / pooled
    mu = d - 1.645 * math.sqrt((1 / len(ins) + 1 / len(outs)) * (1 + d**2 / 8))
    return epsilon_of(max(0.0, mu), DELTA)


def _arms(task: Task, law: Law, seed: int, audit: int) -> tuple[Floats, Floats]:
    member = np.arange(task.n_in + task.n_out) < task.n_in
    score = law.draw(np.random.default_rng([seed, audit]), member)
    return score[member], score[~member]


def _coins(task: Task, law: Law, seed: int, audit: int) -> Scores:
    rng = np.random.default_rng([seed, audit])
    member = rng.random((1, task.n_in + task.n_out)) < 0.5
    return Scores.from_matrix(law.draw(rng, member), member, randomised="canary")


def _secrets(task: Task, law: SecretLaw) -> tuple[Floats, NDArray[np.bool_]]:
    assert task.plain is not None
    found = np.empty(task.audits)
    for i in range(task.audits):
        scores = law.draw(generator(0, "k-ary response", str(law.epsilon), i), task.n_in)
        found[i] = task.plain.epsilon(scores, DELTA, CONFIDENCE, i)
    return found, found > law.truth * (1 + 1e-9)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("runs/coverage"))
    parser.add_argument("--jobs", type=int, default=-1)
    parser.add_argument("--audits", type=int, default=3000)
    parser.add_argument("--docs", type=Path)
    options = parser.parse_args()
    table = study(options.audits, options.jobs, parts=options.out / "parts")
    bad = alarms(table)
    write_report(table, bad, options.out, CONFIDENCE, assumptions_hold, CEILING)
    if options.docs:
        for name in ("coverage.md", "coverage.png", "coverage.svg"):
            shutil.copy(options.out / name, options.docs / name)
    print(f"{len(table)} rows in {options.out / 'coverage.csv'}; {len(bad)} above their nominal rate")
    if len(bad):
        print(bad.to_string(index=False))
    return 1 if len(bad) else 0


if __name__ == "__main__":
    run_program(main)
