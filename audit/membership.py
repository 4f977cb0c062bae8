"""How well scores tell members from non-members: AUC, TPR at fixed FPR, balanced accuracy, advantage, with intervals.

They describe an attack and prove nothing about epsilon. The interval of the AUC is that of `auc.auc_interval`. The
others are percentile bootstraps in which whole models are drawn, because canaries of one model depend on each other;
canaries are drawn where there is one model only. With few models, and near 0 and 1, such a bootstrap is too narrow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attacks.scores import Scores
from audit.auc import auc_interval
from audit.results import Interval
from canaries.errors import InputError
from canaries.randomness import generator

Floats = NDArray[np.float64]

FPRS = (0.001, 0.01, 0.1)
RESAMPLES = 500


@dataclass(frozen=True)
class MembershipMetrics:
    """Metrics of one attack, each with its interval; NaN where one side is empty.

    Attributes:
        auc: area under the ROC curve, ties counting half.
        tpr_at: by false positive rate, the largest true positive rate of a threshold with at most that many false
            positives; no interpolation.
        balanced_accuracy: (TPR + 1 - FPR) / 2 at the best threshold, which flatters small samples.
        advantage: TPR - FPR at the same threshold.
    """

    auc: Interval
    tpr_at: dict[float, Interval]
    balanced_accuracy: Interval
    advantage: Interval


def membership_metrics(
    scores: Scores,
    seed: int = 0,
    confidence: float = 0.95,
    fprs: tuple[float, ...] = FPRS,
    resamples: int = RESAMPLES,
    centre: bool = True,
) -> MembershipMetrics:
    """All metrics, references left out.

    Args:
        scores: of one attack.
        seed: of the bootstrap.
        confidence: of each interval.
        fprs: where the true positive rate is read.
        resamples: bootstrap resamples.
        centre: take out what belongs to the canary (`Scores.centred`); false leaves scores as one model gives them.

    Raises:
        InputError: for a confidence or a false positive rate out of range.
    """
    if not 0 < confidence < 1:
        raise InputError(f"Expected confidence in (0, 1), got {confidence}.")
    if not all(0 <= fpr <= 1 for fpr in fprs):
        raise InputError(f"Expected false positive rates in [0, 1], got {fprs}.")
    scores = scores.select(~scores.reference)
    scores = scores.centred() if centre else scores
    ranking = _Ranking.of(scores.score.ravel(), scores.member.ravel())
    found = ranking.metrics(np.ones(scores.score.size), fprs)
    area = auc_interval(scores, confidence, centre=False)  # Centred above.
    rng = generator(seed, "membership bootstrap")
    axis = 0 if scores.models > 1 else 1
    shape, units = scores.score.shape, scores.score.shape[axis]
    draws = np.full((resamples, len(found)), np.nan)
    for i in range(resamples if units else 0):
        times = np.bincount(rng.integers(0, units, units), minlength=units).astype(np.float64)
        weight = np.broadcast_to(times[:, None] if axis == 0 else times[None, :], shape).ravel()
        draws[i] = ranking.metrics(weight, fprs)
    tail = (1 - confidence) / 2
    intervals = [_interval(value, column, tail) for value, column in zip(found, draws.T, strict=True)]
    advantage = intervals[0]
    accuracy = Interval(*((1 + end) / 2 for end in (advantage.value, advantage.low, advantage.high)))
    return MembershipMetrics(area, dict(zip(fprs, intervals[1:], strict=True)), accuracy, advantage)


@dataclass(frozen=True, eq=False)
class _Ranking:
    """Scores from the highest to the lowest: sorted once, weighted often.

    Attributes:
        order: int[n], positions of the scores, the highest first.
        last: bool[n], whether the next score differs.
        member: bool[n], in that order.
    """

    order: NDArray[np.intp]
    last: NDArray[np.bool_]
    member: NDArray[np.bool_]

    @classmethod
    def of(cls, score: Floats, member: NDArray[np.bool_]) -> _Ranking:
        order = np.argsort(-score, kind="stable")
        ordered = score[order]
        return cls(order, np.append(ordered[1:] != ordered[:-1], np.ones(min(1, score.size), bool)), member[order])

    def metrics(self, weight: Floats, fprs: tuple[float, ...]) -> Floats:
        """float64[1 + fprs]: advantage and TPRs of weighted scores; NaN where a side has no weight."""
        weight = weight[self.order]
        ins, outs = np.where(self.member, weight, 0.0), np.where(self.member, 0.0, weight)
        inside, outside = ins.sum(), outs.sum()
        if not inside or not outside:
            return np.full(1 + len(fprs), math.nan)
        tpr = np.append(0.0, np.cumsum(ins)[self.last] / inside)
        fpr = np.append(0.0, np.cumsum(outs)[self.last] / outside)
        at = [tpr[fpr <= limit + 1e-12].max() for limit in fprs]
        return np.array([(tpr - fpr).max(), *at])


def _interval(value: float, draws: Floats, tail: float) -> Interval:
    known = draws[~np.isnan(draws)]
    if math.isnan(value) or not known.size:
        return Interval(float(value), float(value), float(value))
    low, high = np.quantile(known, [tail, 1 - tail])
    return Interval(float(value), float(low), float(high))
