"""Membership AUC, and an interval for it that speaks of other models and other canaries of the same kind."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata
from scipy.stats import t as student

from attacks.scores import Scores
from audit.clustered import Spread, clustered_variance, few_shared, unseen
from audit.results import About, ScopedInterval
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


def auc_interval(scores: Scores, confidence: float = 0.95, centre: bool = True) -> ScopedInterval:
    """AUC with its interval; all NaN where one side is empty. References count: leave them out before.

    The limits are where |AUC - theta| = t sqrt(ratio V(theta)), with Hanley and McNeil's variance V at the hypothetical
    theta (`auc_limits`), which keeps them apart at an AUC of 1. `ratio` is the variance that the scores show over
    V(AUC), drawn towards 1 where few scores show any.

    The variance that scores show is DeLong's (1988) for independent ones; with the models as clusters where that is
    more (Obuchowski 1997, "Nonparametric analysis of clustered ROC curve data"), because scores of one model share its
    training; and what canaries that several models share show above it is added. t is Student's with one degree of
    freedom less than there are models, as for shares (`metrics.clustered_rate`): two models tell next to nothing of
    others. Where models or shared canaries differ by more than chance, and so more may yet be seen, the limit on the
    side of 1/2 also allows for some at 1/2 that these are too few to show: a share
    `clustered.unseen` of all, times the share of the standard deviation between them that chance does not explain.

    What an interval does not speak of is in its `of_these`:

    - "models": of one model, and at an AUC of 0 or 1, how models differ cannot be seen. Then each secret counts once,
      or models are counted instead, where there are more of them or where a model has all canaries or none; t is the
      normal law's. Where all members or all non-members are of one model of several, nothing can be said: the limits
      are 0 and 1, and marked as well.
    - "canaries": of canaries that are `few_shared` (1 to 4, each in several models) others cannot be inferred: models
      alone are replicates, at an AUC of 0 or 1 too.

    Approximate, and wide where few models are alike. It stays too narrow where few models differ much and most AUCs are
    near 1. In simulations with normal scores of spread 1 and members 4 above on average, by 2 more or less from model
    to model, 95% intervals covered 78% with 2 models (whose AUC is often 1, and marked), 88% to 90% with 3 and 5, 93%
    with 10 and 95% with 20; by 5 and 2.5, 85% with 5.

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
        return ScopedInterval(value, value, value)
    sides = scores.member, ~scores.member
    model = np.broadcast_to(np.arange(scores.models)[:, None], scores.score.shape)
    secrets = scores.secret_numbers
    counts = [len(np.unique(model[side])) for side in sides]
    if min(counts) == 1 < scores.models:
        return ScopedInterval(value, 0.0, 1.0, of_these="models")
    these = few_shared(secrets)
    of_these: About
    if value in (0.0, 1.0):
        whole = (scores.member == scores.member[:, :1]).all()  # Models are members or not, with all their canaries.
        m, n = counts if whole else (max(i, len(np.unique(secrets[of]))) for i, of in zip(counts, sides, strict=True))
        times, allowance = float(norm.isf(tail)), 0.0
        of_these = "canaries" if these and (m, n) == tuple(counts) else "models"
    else:
        m, n = (int(side.sum()) for side in sides)
        # A model that is all members says nothing of non-members: the side with fewer models counts.
        spread = _spread(scores, model, min(counts))
        few = 1 / min(m, n) ** 2  # What one score of the scarcer side can move the AUC by, squared.
        ratio = (spread.variance + few) / (float(_hanley_mcneil(np.array(value), m, n)) + few)
        times = float(student.isf(tail, spread.freedom)) * math.sqrt(ratio)
        allowance = max((share * unseen(count, confidence) for count, share in spread.differ), default=0.0)
        of_these = "models" if scores.models == 1 else "canaries" if these else ""
    low, high = auc_limits(np.array([value]), np.array([m]), np.array([n]), times)
    return ScopedInterval(
        value,
        min(float(low[0]), value - allowance * max(0.0, value - 0.5)),
        max(float(high[0]), value + allowance * max(0.0, 0.5 - value)),
        of_these=of_these,
    )


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


def _spread(scores: Scores, model: NDArray[np.intp], models: int) -> Spread:
    """What the scores show of the variance of their AUC; `model` int[models, canaries]."""
    member = scores.member
    moved = _influence(scores.score, member)
    sides = [(side, int(side.sum())) for side in (member, ~member)]
    alone = sum(float((moved[side] ** 2).sum()) * count / max(1, count - 1) for side, count in sides)
    freedom = max(1, min(count for _, count in sides) - 1)
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
