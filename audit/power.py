"""What an audit could show at most, before it is run: with a perfect attack, by estimator and sample size.

`plan_power` is for membership, `plan_secrets` for secrets that are guessed or ranked and targets that are rebuilt.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from attacks.scores import Scores
from audit import registry
from audit.estimators.base import Estimator
from audit.estimators.reconstruction import Reconstruction
from audit.store import RunDirectory
from canaries.errors import InputError
from canaries.spaces import MOST_BITS

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


def perfect_secrets(models: int, secrets: int, bits: float = 0.0, repetitions: int = 1, fresh: bool = True) -> Scores:
    """Scores of a perfect attack on `models` with `secrets` each, of which every second is in: all guessed and rebuilt.

    Args:
        models: independent models.
        secrets: secrets, or targets of reconstruction, in each model's design.
        bits: log2 of the values that a secret may have.
        repetitions: records that hold a secret.
        fresh: whether each model has secrets of its own; otherwise all models share one set.
    """
    member = (np.arange(models)[:, None] + np.arange(secrets)) % 2 == 0
    member[0] |= not fresh  # Coins connect all models that share secrets; so does this.
    plain = Scores.from_matrix(np.where(member, np.inf, -np.inf), member, randomised="canary")
    return replace(
        plain,
        repetitions=np.full(secrets, repetitions),
        space=np.full(secrets, 2.0**bits),
        secret_set=np.arange(models) if fresh else np.zeros(models, dtype=np.int64),
        evidence={"guessed": member, "exposure": bits * member, "reconstructed": member},
    )


def plan_secrets(
    epsilon: float,
    delta: float,
    models: int,
    secrets: int,
    *,
    bits: float | None = None,
    prior: float | None = None,
    repetitions: int = 1,
    fresh: bool = True,
    confidence: float = 0.95,
    shares: tuple[float, ...] = SHARES,
    seconds_per_model: float | None = None,
    names: tuple[str, ...] | None = None,
) -> tuple[Power, ...]:
    """The same as `plan_power` for estimators of secrets and reconstruction; what is needed are models; the best first.

    Secrets of one model may depend on each other through it, so more of them in a model show no more; what shows more
    are models with secrets of their own, longer secrets, and fewer copies, for a secret of r copies shows r * epsilon.

    Args:
        epsilon: the claim.
        delta: of the claim.
        models: independent models.
        secrets: in each model's design, at least 1; every second is in.
        bits: log2 of the values that a secret may have, > 0; None where targets are only rebuilt.
        prior: kappa in (0, 1), how likely a target is rebuilt without the model; None where secrets are only guessed.
        repetitions: records that hold a secret, at least 1.
        fresh: whether each model has secrets of its own; otherwise more models show no more.
        confidence: of each bound.
        shares: of the claim, in (0, 1].
        seconds_per_model: the measured speed.
        names: estimators; by default all that fit.

    Raises:
        InputError: for values out of range, neither bits nor a prior, or an estimator that does not fit.
    """
    _check(epsilon, delta, max(2, models), confidence, shares)
    if models < 1 or secrets < 1 or repetitions < 1:
        raise InputError(f"Expected models, secrets and repetitions >= 1, got {models}, {secrets} and {repetitions}.")
    if bits is None and prior is None:
        raise InputError("Expected bits of the secrets, or a prior of reconstruction, got neither.")
    if bits is not None and not 0 < bits <= MOST_BITS:
        raise InputError(f"Expected bits in (0, {MOST_BITS:g}], got {bits}.")

    def scores(count: int) -> Scores:
        return perfect_secrets(count, secrets, bits or 0.0, repetitions, fresh)

    found = []
    for estimator in _of_secrets(scores(models), bits, prior, names):

        def ceiling(n: int, estimator: Estimator = estimator) -> float:
            return estimator.bound(scores(n), delta, confidence).ceiling

        most = MOST // secrets if fresh else 1
        needed = {share: _needed(ceiling, share * epsilon, 1, most) for share in shares}
        seconds = {share: _seconds(n, "models", seconds_per_model) for share, n in needed.items()}
        found.append(Power(estimator.name, estimator.parametric, ceiling(models), needed, seconds))
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


def _needed(ceiling: Callable[[int], float], target: float, least: int = 4, most: int = MOST) -> int | None:
    high = least
    while ceiling(high) < target:
        high *= 2
        if high > most:
            return None
    low = max(least, high // 2)
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


def _of_secrets(
    scores: Scores, bits: float | None, prior: float | None, names: tuple[str, ...] | None
) -> list[Estimator]:
    """Estimators that need what only secrets or targets give them."""
    evidence = {"reconstructed"} if bits is None else {"guessed", "exposure", "reconstructed"}
    given = replace(scores, evidence={name: scores.evidence[name] for name in evidence})
    every: list[Estimator] = [
        registry.build(registry.ESTIMATORS, {"name": name, "prior": prior} if name == Reconstruction.name else name)
        for name in (names or registry.available(registry.ESTIMATORS))
    ]
    for estimator in every if names else ():
        if reason := estimator.inapplicable(given):
            raise InputError(f"Estimator '{estimator.name}' cannot be used here: {reason}")
    without = replace(given, evidence={})
    return [e for e in every if e.inapplicable(given) is None and (names or e.inapplicable(without) is not None)]


def _check(epsilon: float, delta: float, count: int, confidence: float, shares: tuple[float, ...]) -> None:
    if not 0 < epsilon < math.inf:
        raise InputError(f"Expected a finite epsilon > 0, got {epsilon}.")
    if not 0 <= delta < 1:
        raise InputError(f"Expected delta in [0, 1), got {delta}.")
    if not 2 <= count <= MOST:
        raise InputError(f"Expected 2 to {MOST} models or canaries, got {count}.")
    if not 0.5 <= confidence < 1:
        raise InputError(f"Expected confidence in [0.5, 1), got {confidence}.")
    if not all(0 < share <= 1 for share in shares):
        raise InputError(f"Expected shares of the claim in (0, 1], got {list(shares)}.")
