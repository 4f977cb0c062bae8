"""Attack metrics: how well scores tell members from non-members, with intervals and p-values.

They describe; bounds on epsilon are the estimators' business.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from attacks.scores import Scores
from audit.results import Extraction, Interval
from canaries.randomness import generator

RESAMPLES = 200
"""Bootstrap resamples for an AUC's interval."""


def auc(score: NDArray[np.float64], member: NDArray[np.bool_]) -> float:
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


def auc_interval(scores: Scores, seed: int, confidence: float = 0.95) -> Interval:
    """AUC of centred scores, with a percentile bootstrap interval.

    Resampled are models, which are independent; canaries where there is one model only.
    """
    scores = scores.centred()
    value = auc(scores.score, scores.member)
    if math.isnan(value):
        return Interval(value, value, value)
    rng = generator(seed, "auc bootstrap")
    axis = 0 if scores.models > 1 else 1
    n = scores.score.shape[axis]
    draws = []
    for _ in range(RESAMPLES):
        index = rng.integers(0, n, n)
        draws.append(auc(np.take(scores.score, index, axis), np.take(scores.member, index, axis)))
    tail = 100 * (1 - confidence) / 2
    finite = [draw for draw in draws if not math.isnan(draw)] or [value]
    low, high = np.percentile(finite, [tail, 100 - tail])
    return Interval(value, float(low), float(high))


def association_p_value(scores: Scores) -> float:
    """One-sided p-value of "scores know nothing of the coins" against "members score higher"; 1 without any coin.

    Given the scores, the coins are random again: independent and fair where canaries were randomised, balanced over
    models where models were. The statistic is the sum of the members' ranks within their canary, whose mean and
    variance under those coins are known; its law is taken as normal, which is accurate from some dozen coins on.
    """
    models, canaries = scores.score.shape
    if not canaries:
        return 1.0
    axis = 0 if scores.randomised == "model" else None
    ranks = rankdata(scores.centred().score, axis=axis).reshape(models, canaries)
    ranks = ranks - ranks.mean(axis=axis, keepdims=True)
    if scores.randomised == "canary" or scores.reference.all():
        statistic = float((ranks * (scores.member - 0.5)).sum())
        variance = float((ranks**2).sum()) / 4
    else:
        per_model, coin = ranks.sum(axis=1), scores.member[:, 0]
        inside, outside = int(coin.sum()), int((~coin).sum())
        statistic = float(per_model[coin].sum())
        variance = inside * outside / max(models * (models - 1), 1) * float((per_model**2).sum())
    return float(norm.sf(statistic / math.sqrt(variance))) if variance > 0 else 1.0


def wilson(successes: int, trials: int, confidence: float = 0.95) -> Interval:
    """A proportion with Wilson's (1927) score interval; NaN for no trials.

    >>> interval = wilson(0, 10)
    >>> interval.value, round(interval.high, 4)
    (0.0, 0.2775)
    """
    if trials == 0:
        return Interval(math.nan, 0.0, 1.0)
    z = float(norm.isf((1 - confidence) / 2))
    p = successes / trials
    centre = (p + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * math.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials)) / (1 + z * z / trials)
    # At the ends the limits are 0 and 1 exactly, which rounding must not hide: a budget of 0 is held against them.
    low, high = centre - half if successes else 0.0, centre + half if successes < trials else 1.0
    return Interval(p, max(0.0, low), min(1.0, high))


def extraction(scores: Scores) -> tuple[Extraction, ...]:
    """How secrets fared, by repetition count; never inserted ones, if any, come first as 0 repetitions.

    Intervals take each secret of each model for a trial of its own; models that share secrets make them too narrow.
    """
    if "extracted" not in scores.evidence:
        return ()
    groups: list[Extraction] = []
    if scores.reference.any():
        reference = scores.select(scores.reference)
        groups.append(_group(0, reference, np.ones_like(reference.member)))
    planted = scores.select(~scores.reference)
    for repetitions in np.unique(planted.repetitions):
        some = planted.select(planted.repetitions == repetitions)
        groups.append(_group(int(repetitions), some, some.member))
    return tuple(groups)


def _group(repetitions: int, scores: Scores, counted: NDArray[np.bool_]) -> Extraction:
    extracted = scores.evidence["extracted"].astype(bool)[counted]
    exposure = scores.evidence["exposure"].astype(np.float64)[counted]
    value = auc(scores.centred().score, scores.member) if repetitions else math.nan
    return Extraction(
        repetitions=repetitions,
        secrets=int(counted.sum()),
        rate=wilson(int(extracted.sum()), int(counted.sum())),
        exposure=float(exposure.mean()) if exposure.size else math.nan,
        exposure_max=float(np.log2(scores.space.max())),
        auc=None if math.isnan(value) else value,
    )
