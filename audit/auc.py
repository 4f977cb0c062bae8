"""Membership AUC, and an interval for it that speaks of other models and other canaries of the same kind."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata
from scipy.stats import t as student

from attacks.scores import Scores
from audit.clustered import clustered_variance
from audit.results import Interval
from canaries.errors import InputError

Floats = NDArray[np.float64]


def auc(score: Floats, member: NDArray[np.bool_]) -> float:
    """Area under the ROC curve: P(a member scores above a non-member), ties counting half; NaN if one side is empty.

    >>> auc(np.array([3.0, 2.0, 1.0]), np.array([True, False, False]))
    1.0
    """
    inside = int(member.sum())
    outside = member.size - inside
    if not inside or not outside:
        return math.nan
    ranks = rankdata(score.ravel())[member.ravel()]
    return float((ranks.sum() - inside * (inside + 1) / 2) / (inside * outside))


def auc_interval(scores: Scores, confidence: float = 0.95, centre: bool = True) -> Interval:
    """AUC with its interval; all NaN where one side is empty. References count: leave them out before.

    The limits are where |AUC - theta| = t sqrt(ratio V(theta)), with Hanley and McNeil's variance V at the hypothetical
    theta (`auc_limits`), which keeps them apart at an AUC of 1. `ratio` is the variance that the scores show over
    V(AUC), drawn towards 1 where few scores show any.

    The variance that scores show is DeLong's (1988) for independent ones; with the models as clusters where that is
    more (Obuchowski 1997, "Nonparametric analysis of clustered ROC curve data"), because scores of one model share its
    training; and what canaries that several models share show above it is added. t is Student's with one degree of
    freedom less than there are models, as for shares (`metrics.clustered_rate`): two models tell next to nothing of
    others. Of one model alone the interval says how its canaries differ.

    At an AUC of 0 or 1 no variance can be seen: each secret counts once, or each model if there are more of them, and
    t is the normal law's. What one model's secrets have in common is not allowed for (`Extraction.of_these_models`).

    Approximate. It errs on the wide side where few models are alike, and on the narrow side where few canaries that all
    models share differ much.

    Args:
        scores: of one attack.
        confidence: of the interval.
        centre: take out what belongs to the canary (`Scores.centred`).

    Raises:
        InputError: for a confidence outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise InputError(f"Expected confidence in (0, 1), got {confidence}.")
    scores = scores.centred() if centre else scores
    value, tail = auc(scores.score, scores.member), (1 - confidence) / 2
    if math.isnan(value):
        return Interval(value, value, value)
    sides = scores.member, ~scores.member
    model = np.broadcast_to(np.arange(scores.models)[:, None], scores.score.shape)
    if value in (0.0, 1.0):
        m, n = (max(len(np.unique(of[side])) for of in (model, scores.secret_numbers)) for side in sides)
        times = float(norm.isf(tail))
    else:
        m, n = (int(side.sum()) for side in sides)
        variance, freedom = _variance(scores, model)
        few = 1 / min(m, n) ** 2  # What one score of the scarcer side can move the AUC by, squared.
        ratio = (variance + few) / (float(_hanley_mcneil(np.array(value), m, n)) + few)
        times = float(student.isf(tail, freedom)) * math.sqrt(ratio)
    low, high = auc_limits(np.array([value]), np.array([m]), np.array([n]), times)
    return Interval(value, float(low[0]), float(high[0]))


def auc_limits(
    area: Floats, inside: NDArray[np.integer], outside: NDArray[np.integer], z: float
) -> tuple[Floats, Floats]:
    """Limits of AUCs, each float64[n]: where |area - theta| = z sqrt(V(theta)).

    Newcombe (2006), "Confidence intervals for an effect size measure based on the Mann-Whitney statistic", Part 2,
    method 5: V is Hanley and McNeil's (1982), with the mean of `inside` and `outside` for both.
    """
    ends = []
    for side in (0.0, 1.0):
        near, far = area.astype(np.float64), np.full(area.shape, side)
        for _ in range(60):
            middle = (near + far) / 2
            inner = np.abs(area - middle) <= z * np.sqrt(_hanley_mcneil(middle, inside, outside))
            near, far = np.where(inner, middle, near), np.where(inner, far, middle)
        ends.append(near)
    return ends[0], ends[1]


def _hanley_mcneil(theta: Floats, inside: NDArray[np.integer] | int, outside: NDArray[np.integer] | int) -> Floats:
    """Variance of an AUC of `theta`, of independent scores of exponential laws."""
    half = (inside + outside) / 2 - 1
    spread = 1 + half * ((1 - theta) / (2 - theta) + theta / (1 + theta))
    return np.asarray(theta * (1 - theta) * spread / (inside * outside))


def _variance(scores: Scores, model: NDArray[np.intp]) -> tuple[float, float]:
    """The variance that the scores show of their AUC, and its degrees of freedom."""
    member = scores.member
    moved = _influence(scores.score, member)
    sides = [(side, int(side.sum())) for side in (member, ~member)]
    alone = sum(float((moved[side] ** 2).sum()) * count / max(1, count - 1) for side, count in sides)
    freedom = max(1, min(count for _, count in sides) - 1)
    # A model that is all members says nothing of non-members: the side with fewer models counts.
    models = min(len(np.unique(model[side])) for side, _ in sides)
    return clustered_variance(moved.ravel(), alone, freedom, model.ravel(), models, scores.secret_numbers.ravel())


def _influence(score: Floats, member: NDArray[np.bool_]) -> Floats:
    """float64[models, canaries]: by how much each score moves the AUC; they add up to 0 on either side."""
    own = np.empty(score.shape)
    for side in (member, ~member):
        own[side] = rankdata(score[side])
    other = np.where(member, (~member).sum(), member.sum())
    above = (rankdata(score.ravel()).reshape(score.shape) - own) / other  # Share of the other side below a score.
    moved = np.where(member, above, 1 - above)
    value = moved[member].mean()
    return np.asarray((moved - value) / np.where(member, member.sum(), (~member).sum()))
