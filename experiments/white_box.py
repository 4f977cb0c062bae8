"""How much do white-box audits show? Dirac canaries in one run, Poisson sampling in many runs, and access by access.

    python -m experiments.white_box --out docs/results [--fashion /usr/share/datasets/fashion-mnist]

All at delta 1e-5; bounds are 95% lower bounds, each by itself but for "levels", where all hold together. Three parts:

- one-run: digits, MLP 64-128-10, T = 20 full-batch steps that claim epsilon 8; m Dirac canaries in one model, each in
  by a fair coin. Beside them, what losses show of as many canaries of noise (black box).
- subsampled: softmax regression on 400 digits or 200 images of Fashion-MNIST, T = 100 Poisson steps at rate q; one
  Dirac canary, at a pixel that is always black, in half of the models. The final model alone (`weights`; like the
  one-run part's, without the fresh initial parameters, which each model keeps secret), the sum of inner products and
  the likelihood ratio, beside what the same estimators find in scores of the ideal mechanism for as many models
  ("ideal", of IDEALS draws). Then, on digits, two pipelines that do not sample as they claim: rate 0.1 where 0.025 is
  claimed, and shuffled epochs where Poisson sampling is claimed. Without the files of Fashion-MNIST it is left out.
- levels: the sweep of `experiments/threat_model.toml`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from attacks import Gradient, GradientLLR, Loss, Weights
from attacks.base import Attack
from attacks.scores import Observations, Scores
from attacks.view import GRANTS
from audit.accounting import noise_multiplier
from audit.claim import Claim
from audit.claim_test import p_value
from audit.config import load
from audit.estimators.base import Estimator
from audit.estimators.calibrated_epsilon_delta import CalibratedEpsilonDelta
from audit.estimators.calibrated_gaussian import CalibratedGaussian
from audit.estimators.calibrated_loss_curve import CalibratedLossCurve
from audit.estimators.one_run import OneRun
from audit.estimators.one_run_calibrated import OneRunCalibrated
from audit.estimators.one_run_fdp import OneRunFDP
from audit.gaussian import epsilon_of
from audit.mechanism import DPSGD
from audit.programs import run_program
from audit.report.threat_model import threat_rows
from audit.results import AttackResult
from audit.runs import load_result
from audit.sweeping import sweep
from audit.training.allocator import keep_freed_memory
from audit.training.datasets.base import DatasetSource
from audit.training.datasets.digits import Digits
from audit.training.datasets.idx import FashionMnist
from audit.training.ensemble.trainer import Ensemble
from audit.training.models import MLP, Softmax
from audit.utility import measure_utility
from canaries import CanaryDesign, Dirac, Inclusion, UniformNoise
from canaries.base import CanarySet
from canaries.errors import InputError
from canaries.randomness import derive_seed, generator
from canaries.records import Dataset
from experiments.white_box_report import cost, write_report

DELTA, CONFIDENCE, BLOCK, IDEALS = 1e-5, 0.95, 250, 25
GUESSES = {1000: 0.15, 5000: 0.07}
"""Share of the coins that are guessed, by their number: the best for simulated Gaussian scores at epsilon 8."""
PARTS = ("one-run", "levels", "subsampled")
AS_CLAIMED, IDEAL_COLUMNS = "as claimed", ("ideal", "ideal_gaussian", "ideal_sd", "limit")

Row = dict[str, Any]


def one_run(repeats: int, seed: int) -> Iterator[Row]:
    """A row for each number of canaries, access, estimator and repeat."""
    data = Digits(train=999, pool=398, test=400).load(derive_seed(seed, "data"))
    claim = DPSGD(1.0, 20, noise_multiplier(8.0, DELTA, 1.0, 20))
    base = Ensemble(model=MLP((128,)), steps=20, sample_rate=1.0, noise_multiplier=claim.noise_multiplier)
    designs: tuple[tuple[CanaryDesign, tuple[Attack, ...]], ...] = (
        (Dirac(), (Gradient(), Weights())),
        (UniformNoise(), (Loss(),)),
    )
    made = [
        (m, attacks, design.make(data, m, generator(seed, "canaries"))) for m in GUESSES for design, attacks in designs
    ]
    for repeat in range(repeats):
        for m, attacks, canaries in made:
            trainer = replace(base, record="gradients" if canaries.design == "dirac" else "none")
            coins = Inclusion.draw(canaries, 1, "canary", derive_seed(seed, m, repeat))
            view = trainer.train(data, canaries, coins.inserted, [derive_seed(seed, m, repeat, "model")])
            accuracy = float(measure_utility(view, data)["test accuracy"].mean())
            for attack in attacks:
                scores = Scores.join(attack.observe(view, canaries, 0), canaries, coins)
                for estimator in (OneRunFDP(GUESSES[m]), OneRun(GUESSES[m]), OneRunCalibrated()):
                    yield {
                        "repeat": repeat,
                        "canaries": m,
                        "design": canaries.design,
                        "attack": attack.name,
                        "access": attack.access.value,
                        "estimator": estimator.name,
                        "bound": bound(estimator, scores),
                        "accuracy": accuracy,
                    }


@dataclass(frozen=True)
class Misstated(Ensemble):
    """DP-SGD that tells the accountant another rate than it uses, or that its shuffled batches are Poisson samples."""

    claimed_rate: float = 0.025

    @property
    def mechanism(self) -> DPSGD:
        """What it says."""
        return DPSGD(self.claimed_rate, self.steps, self.noise_multiplier)


def subsampled(models: int, repeats: int, seed: int, fashion: str) -> Iterator[Row]:
    """A row for each data set, pipeline, attack and repeat."""
    pipelines = list(_pipelines(steps=100))
    honest = [trainer.mechanism for name, _, trainer in pipelines if name == AS_CLAIMED]
    ideals = {mechanism: ideal_bounds(mechanism, models, seed) for mechanism in honest}
    found = [(data, Dirac().make(data, 1, generator(seed, "canaries"))) for data in _data(fashion, seed)]
    for repeat in range(repeats):
        for data, canaries in found:
            for name, epsilon, trainer in pipelines:
                if name != AS_CLAIMED and data.name != Digits.name:
                    continue
                which = [] if data.name == Digits.name else [data.name]
                own = derive_seed(seed, name, str(epsilon), str(trainer.sample_rate), repeat, *which)
                perfect = ideals[trainer.mechanism] if name == AS_CLAIMED else {}
                yield from _many_runs(name, trainer, data, canaries, models, epsilon, repeat, own, perfect)


def _data(fashion: str, seed: int) -> Iterator[Dataset]:
    """The data sets that are there."""
    sources: tuple[DatasetSource, ...] = (
        Digits(train=400, pool=398, test=400),
        FashionMnist(fashion, train=200, pool=398, test=400, mean=0.0, std=1.0, flat=True),
    )
    for source in sources:
        try:
            yield source.load(derive_seed(seed, "data"))
        except InputError as error:
            print(f"{source.name} is left out: {error}", flush=True)


def _pipelines(steps: int) -> Iterator[tuple[str, float, Ensemble]]:
    """What each is called, the epsilon that it claims, and the trainer."""
    for epsilon in (2.0, 8.0):
        for rate in (0.1, 0.25):
            sigma = noise_multiplier(epsilon, DELTA, rate, steps)
            yield AS_CLAIMED, epsilon, _softmax(Ensemble, steps, rate, sigma)
    sigma = noise_multiplier(8.0, DELTA, 0.025, steps)
    yield "rate 0.1, claimed 0.025", 8.0, _softmax(Misstated, steps, 0.1, sigma)
    sigma = noise_multiplier(8.0, DELTA, 0.1, steps)
    shuffled = replace(_softmax(Misstated, steps, 0.1, sigma), sampling="shuffled", claimed_rate=0.1)
    yield "shuffled, claimed Poisson 0.1", 8.0, shuffled


def _softmax(kind: Callable[..., Ensemble], steps: int, rate: float, sigma: float) -> Ensemble:
    return kind(model=Softmax(), steps=steps, sample_rate=rate, noise_multiplier=sigma, record="gradients")


def _many_runs(
    name: str,
    trainer: Ensemble,
    data: Dataset,
    canaries: CanarySet,
    models: int,
    epsilon: float,
    repeat: int,
    seed: int,
    perfect: Mapping[bool, Row],
) -> Iterator[Row]:
    claimed = trainer.mechanism
    claim = Claim(epsilon, DELTA, sampling="poisson", mechanism=claimed)
    coins = Inclusion.draw(canaries, models, "model", derive_seed(seed, "coins"))
    attacks = (Weights(), Gradient(), GradientLLR())
    seen: dict[str, list[np.ndarray]] = {attack.name: [] for attack in attacks}
    accuracy = []
    for start in range(0, models, BLOCK):
        member = coins.inserted[start : start + BLOCK]
        view = trainer.train(
            data, canaries, member, [derive_seed(seed, "model", start + i) for i in range(len(member))]
        )
        accuracy.append(measure_utility(view, data)["test accuracy"])
        for attack in attacks:
            seen[attack.name].append(attack.observe(view, canaries, 0).score)
    for attack in attacks:
        found = Observations(canaries.ids, np.concatenate(seen[attack.name]))
        scores = Scores.join(found, canaries, coins)
        yield {
            "repeat": repeat,
            "data": data.name,
            "pipeline": name,
            "epsilon": epsilon,
            "rate": trainer.sample_rate,
            "models": models,
            "attack": attack.name,
            "access": attack.access.value,
            **{column: bound(estimator, scores) for column, estimator in _estimators(claimed).items()},
            **(perfect[attack.name == "gradient-llr"] if perfect else dict.fromkeys(IDEAL_COLUMNS, np.nan)),
            "claim_p": p_value(scores, claim),
            "accuracy": float(np.concatenate(accuracy).mean()),
        }


def _estimators(claimed: DPSGD) -> dict[str, Estimator]:
    """By column of the table: believing the claimed sampling, a Gaussian curve, nothing."""
    sampled = CalibratedLossCurve(claimed.sample_rate, claimed.steps)
    return {"bound": sampled, "gaussian": CalibratedGaussian(), "no_curve": CalibratedEpsilonDelta()}


def ideal_bounds(mechanism: DPSGD, models: int, seed: int) -> dict[bool, Row]:
    """By whether the score is the likelihood ratio: median bounds of IDEALS draws of the mechanism's own scores."""
    member = np.arange(models) % 2 == 0
    estimators = {"ideal": _estimators(mechanism)["bound"], "ideal_gaussian": CalibratedGaussian()}
    drawn = [ideal(mechanism, member, derive_seed(seed, draw)) for draw in range(IDEALS)]
    found: dict[bool, Row] = {}
    for ratio, limit in zip((False, True), limits(mechanism, seed), strict=True):
        scores = [Scores.from_matrix(both[ratio][:, None], member[:, None], "model") for both in drawn]
        bounds = {name: [bound(e, s) for s in scores] for name, e in estimators.items()}
        medians = {name: float(np.median(each)) for name, each in bounds.items()}
        found[ratio] = {**medians, "ideal_sd": float(np.std(bounds["ideal"])), "limit": limit}
    return found


def limits(mechanism: DPSGD, seed: int, models: int = 400_000) -> tuple[float, float]:
    """What a Gaussian reading of the sum, and of the likelihood ratio, comes to with models without number.

    The epsilon of mu, the distance of the scores' means in standard deviations.
    """
    member = np.arange(models) % 2 == 0
    found = []
    for score in ideal(mechanism, member, seed):
        ins, outs = score[member], score[~member]
        apart = float((ins.mean() - outs.mean()) / np.sqrt((ins.var() + outs.var()) / 2))
        found.append(epsilon_of(apart, DELTA))
    return found[0], found[1]


def ideal(mechanism: DPSGD, member: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sum of inner products, and likelihood ratio, float64[models], of the mechanism itself."""
    q, sigma, rng = mechanism.sample_rate, mechanism.noise_multiplier, generator(seed, "ideal")
    total, ratio = np.zeros(len(member)), np.zeros(len(member))
    out = np.log1p(-q) if q < 1 else -np.inf
    for _ in range(mechanism.steps):
        z = rng.normal(size=len(member)) + (member & (rng.random(len(member)) < q)) / sigma
        total += z
        ratio += np.logaddexp(out, np.log(q) + z / sigma - 0.5 / sigma**2)
    return total, ratio


def levels(models: int) -> Iterator[Row]:
    """A row for each level of access and claimed epsilon: its own best attack, and the best of all that it allows."""
    file = Path(__file__).with_name("threat_model.toml")
    with tempfile.TemporaryDirectory() as folder:
        sweep(load(file, (f"audits.digits.models={models}",)), Path(folder))
        result = load_result(Path(folder))
    cells = {cell.claim.epsilon: cell for cell in result.cells}
    for row in threat_rows(result):
        cell = cells[row.epsilon]
        allowed = [attack for attack in cell.attacks if attack.access in GRANTS[row.access]]
        own = max((attack for attack in allowed if attack.access == row.access), key=lambda a: _of(a)["gaussian"])
        yield {
            "epsilon": row.epsilon,
            "access": row.access.value,
            "attack": own.attack,
            "models": models,
            "auc": own.auc.value,
            **_of(own),
            "best_gaussian": max(_of(attack)["gaussian"] for attack in allowed),
            "best_no_curve": row.lower_bound,
            "seen": row.seen,
            "accuracy": cell.utility["test accuracy"].value,
        }


def _of(attack: AttackResult) -> dict[str, float]:
    """An attack's bounds by column of the table."""
    bounds = {bound.estimator: bound.epsilon for bound in attack.bounds}
    return {"gaussian": bounds["calibrated-gaussian"], "no_curve": bounds["calibrated-epsilon-delta"]}


def bound(estimator: Estimator, scores: Scores) -> float:
    """A bound that holds by itself; without its ceiling, which would take as long again."""
    return estimator.epsilon(scores, DELTA, CONFIDENCE, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--models", type=int, default=1000, help="of each pipeline, half of them with the canary")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fashion", default=FashionMnist.path, help="folder with the four IDX files")
    parser.add_argument("--out", type=Path, default=Path("runs/white-box"))
    options = parser.parse_args()
    keep_freed_memory()
    parts: dict[str, Callable[[], Iterator[Row]]] = {
        "one-run": lambda: one_run(5 * options.repeats, options.seed),
        "subsampled": lambda: subsampled(options.models, options.repeats, options.seed, options.fashion),
        "levels": lambda: levels(min(512, options.models)),
    }
    for part in options.parts:
        run_part(part, parts[part](), options.out)


def run_part(part: str, rows: Iterator[Row], out: Path) -> None:
    """Print every row, and write the report after each repeat."""
    table: list[Row] = []
    clock, processor = time.perf_counter(), time.process_time()
    for row in rows:
        if table and row.get("repeat") != table[-1].get("repeat"):
            write_report(part, pd.DataFrame(table), out, cost(clock, processor))
        table.append(row)
        print(part, *(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in row.items()), flush=True)
    write_report(part, pd.DataFrame(table), out, cost(clock, processor))


if __name__ == "__main__":
    run_program(main)
