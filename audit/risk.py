"""Which records are at risk: each one's own membership AUC over models, with limits that hold for all together."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import mannwhitneyu, norm, rankdata

from attacks.scores import Scores
from audit.auc import auc_limits
from audit.combine import holm
from audit.results import Interval, RecordRisk
from canaries.errors import InputError

Floats = NDArray[np.float64]

LEAST_MODELS = 16
"""Below this, no single record can stand out among a few."""

EXACT = 64
"""Up to so many models on a side the p-value is exact; beyond, its normal approximation with ties."""


def record_risks(signals: Scores, most: int = 10, confidence: float = 0.95) -> tuple[RecordRisk, ...]:
    """The records that are most at risk, the worst first; references and records with one side alone are left out.

    A record's AUC compares what the models that had it score with what the others score, the record's own threshold
    being free: what LiRA's adversary (Carlini et al. 2022) gains on this record at best where both sides are normal
    with one variance. The models are independent, so nothing is assumed of the records' dependence on each other.
    `signals` must come from each model alone: scores that were calibrated on other models' coins are biased within a
    record.

    Args:
        signals: one attack's scores, not calibrated; each record is in some models and not in others.
        most: how many records to give.
        confidence: of all intervals together (Bonferroni over all records, not only those that are given).

    Returns:
        For each record its AUC with the interval of Newcombe (2006), "Confidence intervals for an effect size measure
        based on the Mann-Whitney statistic", Part 2, method 5, which is approximate; and the one-sided Mann-Whitney
        p-value of "in and out score alike", adjusted over all records (Holm).

    Raises:
        InputError: for calibrated signals, a confidence outside (0, 1) or most < 1.
    """
    if signals.calibrated != "no":
        raise InputError(
            "Records' risks need each model's own signals, got scores that were calibrated on other models."
        )
    if not 0 < confidence < 1:
        raise InputError(f"Expected confidence in (0, 1), got {confidence}.")
    if most < 1:
        raise InputError(f"Expected most >= 1, got {most}.")
    inside, outside = signals.member.sum(axis=0), (~signals.member).sum(axis=0)
    kept = signals.select(~signals.reference & (inside > 0) & (outside > 0))
    if not kept.ids:
        return ()
    inside, outside = kept.member.sum(axis=0), (~kept.member).sum(axis=0)
    areas = record_aucs(kept.score, kept.member)
    adjusted = np.asarray(holm(_p_values(kept.score, kept.member).tolist(), len(kept.ids)))
    z = float(norm.isf((1 - confidence) / (2 * len(kept.ids))))
    worst = np.lexsort((np.array(kept.ids), -areas))[:most]
    low, high = auc_limits(areas[worst], inside[worst], outside[worst], z)
    return tuple(
        RecordRisk(
            canary=kept.ids[j],
            auc=Interval(float(areas[j]), float(low[i]), float(high[i])),
            advantage=Interval(*(advantage(float(x)) for x in (areas[j], low[i], high[i]))),
            p_value=float(adjusted[j]),
            members=int(inside[j]),
            non_members=int(outside[j]),
        )
        for i, j in enumerate(worst)
    )


def record_aucs(score: Floats, member: NDArray[np.bool_]) -> Floats:
    """float64[canaries]: within each column of [models, canaries], P(in above out), ties half; NaN for one side."""
    inside = member.sum(axis=0)
    outside = len(member) - inside
    ranks = np.where(member, rankdata(score, axis=0), 0.0).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((ranks - inside * (inside + 1) / 2) / (inside * outside))


def advantage(area: float) -> float:
    """TPR - FPR at the best threshold of two normals of one variance with this AUC.

    >>> round(advantage(0.5), 3), round(advantage(0.8), 3), advantage(1.0)
    (0.0, 0.448, 1.0)
    """
    return float(2 * ndtr(ndtri(area) / math.sqrt(2)) - 1)


def _p_values(score: Floats, member: NDArray[np.bool_]) -> Floats:
    """float64[canaries]: one-sided Mann-Whitney p-values, columns with equally many members at once."""
    inside = member.sum(axis=0)
    found = np.ones(inside.shape)
    for count in np.unique(inside):
        columns = np.flatnonzero(inside == count)
        s, m = score[:, columns].T, member[:, columns].T
        ins, outs = s[m].reshape(len(columns), -1), s[~m].reshape(len(columns), -1)
        method: Literal["exact", "asymptotic"] = "exact" if max(count, len(score) - count) <= EXACT else "asymptotic"
        tested: Any = mannwhitneyu(ins, outs, alternative="greater", axis=1, method=method)
        found[columns] = tested.pvalue
    return found
