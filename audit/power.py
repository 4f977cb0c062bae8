"""What an audit could show at most, before it is run: with a perfect attack, by estimator and sample size."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from attacks.scores import Scores
from audit import registry
from audit.estimators.base import Estimator
from audit.store import RunDirectory
from canaries.errors import InputError

Counted = Literal["models", "canaries"]

MOST = 2**17
"""More models or canaries than this are not planned for."""

PRECISION = 1.02
"""Counts that are needed are given to this factor."""

SHARES = (0.25, 0.5, 0.75)
"""Shares of the claim for which needed counts are given."""


@dataclass(frozen=True)
class Power:
    """What one estimator could show.

    Attributes:
        estimator: its name.
        parametric: whether it assumes the shape of a curve.
        ceiling: the largest epsilon that a perfect attack could show with `count`.
        needed: by share of the claim, how many it would take; None where MOST are not enough.
        seconds: by share of the claim, how long these would train; None where the speed is unknown.
    """

    estimator: str
    parametric: bool
    ceiling: float
    needed: dict[float, int | None]
    seconds: dict[float, float | None]


def perfect_scores(count: int, counted: Counted) -> Scores:
    """Scores of a perfect attack: `count` models with one canary or without, or one model of `count` canaries."""
    member = np.arange(count) % 2 == 0
    score = np.where(member, np.inf, -np.inf)
    if counted == "models":
        return Scores.from_matrix(score[:, None], member[:, None], randomised="model")
    return Scores.from_matrix(score[None], member[None], randomised="canary")


def plan_power(
    epsilon: float,
    delta: float,
    count: int,
    counted: Counted,
    confidence: float = 0.95,
    shares: tuple[float, ...] = SHARES,
    seconds_per_model: float | None = None,
    names: tuple[str, ...] | None = None,
) -> tuple[Power, ...]:
    """What each estimator could show with `count`, and how many it needs for shares of the claim; the best first.

    The ceiling is that of `Bound.ceiling`: the estimator's own bound on the scores of a perfect attack. Real attacks
    show less; a mechanism with Gaussian noise leaves even the best attack well below.

    Args:
        epsilon: the claim.
        delta: of the claim.
        count: models, or canaries in one model.
        counted: which of them.
        confidence: of each bound; a run divides its error among all its bounds.
        shares: of the claim, in (0, 1].
        seconds_per_model: the measured speed; canaries of one model cost one training, whatever their number.
        names: estimators; by default all that fit.

    Raises:
        InputError: for values out of range, or an estimator that does not fit.
    """
    _check(epsilon, delta, count, confidence, shares)
    scores = perfect_scores(count, counted)
    found = []
    for estimator in _fitting(scores, names):

        def ceiling(n: int, estimator: Estimator = estimator) -> float:
            return estimator.bound(perfect_scores(n, counted), delta, confidence).ceiling

        needed = {share: _needed(ceiling, share * epsilon) for share in shares}
        seconds = {share: _seconds(n, counted, seconds_per_model) for share, n in needed.items()}
        found.append(Power(estimator.name, estimator.parametric, ceiling(count), needed, seconds))
    return tuple(sorted(found, key=lambda power: (power.parametric, -power.ceiling)))


def measured_seconds(run: RunDirectory) -> float:
    """Seconds that a model of this run took on average, attacks included.

    Raises:
        InputError: if no model is done.
    """
    cells = run.manifest()["cells"]
    facts = [fact for cell in cells for fact in run.facts(cell["audit"], cell["units"])]
    if not facts:
        raise InputError(f"'{run.path}' holds no finished model to take the speed from.")
    return float(np.mean([fact["train_seconds"] + fact["attack_seconds"] for fact in facts]))


def run_directory_seconds(path: Path | None, given: float | None) -> float | None:
    """The speed that is stated, else that of a run, else None."""
    return given if given is not None or path is None else measured_seconds(RunDirectory.open(path))


def _needed(ceiling: Callable[[int], float], target: float) -> int | None:
    high = 4
    while ceiling(high) < target:
        high *= 2
        if high > MOST:
            return None
    low = high // 2
    while high > low * PRECISION + 2:
        middle = 2 * (round(math.sqrt(low * high)) // 2)
        low, high = (middle, high) if ceiling(middle) < target else (low, middle)
    return high


def _seconds(needed: int | None, counted: Counted, per_model: float | None) -> float | None:
    if needed is None or per_model is None:
        return None
    return per_model * (needed if counted == "models" else 1)


def _fitting(scores: Scores, names: tuple[str, ...] | None) -> list[Estimator]:
    """Estimators of their default configuration that can use such scores."""
    if names is not None:
        chosen = [registry.build(registry.ESTIMATORS, name) for name in names]
        for estimator in chosen:
            if reason := estimator.inapplicable(scores):
                raise InputError(f"Estimator '{estimator.name}' cannot be used here: {reason}")
        return chosen
    every = [registry.build(registry.ESTIMATORS, name) for name in registry.available(registry.ESTIMATORS)]
    return [estimator for estimator in every if estimator.inapplicable(scores) is None]


def _check(epsilon: float, delta: float, count: int, confidence: float, shares: tuple[float, ...]) -> None:
    if not 0 < epsilon < math.inf:
        raise InputError(f"Expected a finite epsilon > 0, got {epsilon}.")
    if not 0 <= delta < 1:
        raise InputError(f"Expected delta in [0, 1), got {delta}.")
    if not 2 <= count <= MOST:
        raise InputError(f"Expected 2 to {MOST} models or canaries, got {count}.")
    if not 0.5 <= confidence <= 0.9999:
        raise InputError(f"Expected confidence in [0.5, 0.9999], got {confidence}.")
    if not all(0 < share <= 1 for share in shares):
        raise InputError(f"Expected shares of the claim in (0, 1], got {list(shares)}.")
