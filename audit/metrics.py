"""Attack metrics: how well scores tell members from non-members, with intervals and p-values.

They describe; bounds on epsilon are the estimators' business.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata
from scipy.stats import t as student

from attacks.scores import Scores
from audit.auc import auc_interval
from audit.claim import Claim
from audit.clustered import clustered_variance, few_shared, unseen
from audit.design_effect import design_effect
from audit.results import About, Extraction, Interval, ScopedInterval
from audit.secret_bits import allowed_by


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


def wilson(successes: float, trials: float, confidence: float = 0.95) -> Interval:
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
    low, high = centre - half if successes > 0 else 0.0, centre + half if successes < trials else 1.0
    return Interval(p, max(0.0, low), min(1.0, high))


def extraction(scores: Scores, claim: Claim | None = None) -> tuple[Extraction, ...]:
    """How secrets fared, by repetition count and length; never inserted ones, if any, come first as 0 repetitions.

    Intervals are Wilson's at the number of independent trials that the pairs are worth, see `clustered_rate`.
    """
    if "extracted" not in scores.evidence:
        return ()
    groups: list[Extraction] = []
    for inserted in (False, True):
        some = scores.select(scores.reference ^ inserted)
        keys = {(int(r) if inserted else 0, float(k)) for r, k in zip(some.repetitions, some.space, strict=True)}
        for repetitions, space in sorted(keys):
            mine = (some.space == space) & ((some.repetitions == repetitions) | (not inserted))
            groups.append(_group(repetitions, some.select(mine), claim))
    return tuple(groups)


def clustered_rate(
    success: NDArray[np.bool_], models: NDArray[np.int64], secrets: NDArray[np.int64], confidence: float = 0.95
) -> Interval:
    """A share of pairs (model, secret), with Wilson's interval at their effective number of independent trials.

    Pairs of one model share its training, and pairs with one secret its luck. For each of the two clusterings the
    effective number is the number of pairs over its design effect, the variance of the share with clusters as units
    over that of independent trials, 1 at least (Rao, Scott 1992, "A simple method for the analysis of clustered binary
    data"); times (z / t)^2, the squared ratio of the quantiles of a normal and of a Student law with one degree of
    freedom less than there are clusters, because a variance from few clusters is itself uncertain (Korn, Graubard 1998,
    "Confidence intervals for proportions with small expected number of positive counts estimated from survey data").
    The smaller number counts. It makes two models tell next to nothing, which is what they do tell of others.

    Where the pairs are all alike no variance can be estimated: each secret then counts once, however many models hold
    it, and what one model's secrets have in common is not allowed for; nor is it with one model. See
    `Extraction.of_these_models`. Of a single secret that models share, the interval is about that secret.

    Args:
        success: bool[pairs].
        models: int64[pairs], the model of each.
        secrets: int64[pairs], equal where the secret is the same.
        confidence: of the interval.
    """
    n = len(success)
    if n == 0:
        return Interval(math.nan, 0.0, 1.0)
    rate = float(success.mean())
    if rate in (0.0, 1.0):
        trials = float(len(np.unique(secrets)))
    else:
        trials = min(_trials(success, of, confidence) for of in (models, secrets))
    return wilson(rate * trials, trials, confidence)


def clustered_mean(
    values: NDArray[np.float64],
    models: NDArray[np.int64],
    secrets: NDArray[np.int64],
    most: float,
    confidence: float = 0.95,
) -> ScopedInterval:
    """The mean of what pairs (model, secret) show, with Student's interval over models, held within [0, most].

    Models are the replicates (`clustered_variance`): t has one degree of freedom less than there are models, so two
    tell next to nothing of others. Of one model the interval says how its secrets differ.

    Student's law knows nothing of values that the sample lacks. So each limit is no nearer to the mean than where it
    would be if the largest share of secrets of which so many (each counted once) would show none (`unseen`) were at 0,
    or at `most`. Without more assumptions less would not do: exposures that are those of chance but for a few secrets
    that are wholly exposed look like chance until one of these is met.

    `of_these` is "models" with one model, and where all values are alike, so that how models differ cannot be seen; and
    "canaries" where secrets are `few_shared`: then models are counted in their place, and nothing is said of others.

    Approximate. Simulated with exposures as chance has them but for a share of secrets that are wholly exposed, 95%
    intervals covered 93% or more (1 to 20 models, 10 to 400 secrets, any share; 5 to 20 secrets that up to 100 models
    share), and about 99% where there is no such share. They are too narrow where few models differ so much that most
    hold no such secret, or nearly all do: of 3 to 10 models whose shares are of a beta law with mean 10% or 90% and a
    standard deviation of 14%, 76% to 87% covered.

    Args:
        values: float64[pairs], each in [0, most].
        models: int64[pairs], the model of each.
        secrets: int64[pairs], equal where the secret is the same.
        most: the largest possible value.
        confidence: of the interval.
    """
    n = len(values)
    if n == 0:
        return ScopedInterval(math.nan, 0.0, most)
    mean, count, these = float(values.mean()), len(np.unique(models)), few_shared(secrets)
    other, half = unseen(count if these else len(np.unique(secrets)), confidence), 0.0
    if n > 1:
        moved, alone = (values - mean) / n, float(values.var(ddof=1)) / n
        spread = clustered_variance(moved, alone, n - 1, models, count, secrets)
        half = float(student.isf((1 - confidence) / 2, spread.freedom)) * math.sqrt(spread.variance)
    low = min(mean - half, mean * (1 - other))
    high = max(mean + half, mean + (most - mean) * other)
    alike = count < 2 or (np.ptp(values) <= 1e-9 * most and not these)
    of_these: About = "models" if alike else "canaries" if these else ""
    return ScopedInterval(mean, max(0.0, low), max(mean, min(most, high)), of_these=of_these)


def _trials(success: NDArray[np.bool_], cluster: NDArray[np.int64], confidence: float) -> float:
    """How many independent trials clustered ones are worth; as many as there are where one cluster shows no variance.

    A fraction of a trial, where it comes to that, is what Student's law makes of two clusters.
    """
    n, rate = len(success), float(success.mean())
    _, label = np.unique(cluster, return_inverse=True)
    count = int(label.max()) + 1
    if count < 2:
        return float(n)
    residuals = np.bincount(label, success - rate)
    variance = count / (count - 1) * float((residuals**2).sum()) / n**2
    effect = max(1.0, variance / (rate * (1 - rate) / n))
    tail = (1 - confidence) / 2
    return n / effect * float(norm.isf(tail) / student.isf(tail, count - 1)) ** 2


def _group(repetitions: int, scores: Scores, claim: Claim | None) -> Extraction:
    counted = scores.member if repetitions else np.ones_like(scores.member)
    models, columns = np.nonzero(counted)
    secrets = scores.secret_numbers[models, columns]

    def share(name: str) -> Interval:
        return clustered_rate(scores.evidence[name][models, columns].astype(bool), models, secrets)

    def mean(name: str) -> float:
        if name not in scores.evidence or not len(models):
            return math.nan
        return float(np.asarray(scores.evidence[name], dtype=np.float64)[models, columns].mean())

    ranked = np.asarray(scores.evidence["exposure"], dtype=np.float64) if "exposure" in scores.evidence else None
    looked = auc_interval(scores) if repetitions else ScopedInterval(math.nan, math.nan, math.nan)
    space = float(scores.space.max())
    bits = math.log2(space)
    one_guess = bool(repetitions) and "top_1" in scores.evidence  # Several draws are allowed more.
    return Extraction(
        repetitions=repetitions,
        secrets=len(models),
        rate=share("extracted"),
        exposure=mean("exposure"),
        exposure_max=bits,
        exposure_interval=None if ranked is None else clustered_mean(ranked[models, columns], models, secrets, bits),
        auc=None if math.isnan(looked.value) else looked.value,
        auc_interval=None if math.isnan(looked.value) else looked,
        top=tuple((k, share(f"top_{k}")) for k in sorted(int(n[4:]) for n in scores.evidence if n.startswith("top_"))),
        exact=mean("exact") if "exact" in scores.evidence else 1.0,
        exposure_floor=mean("exposure_floor"),
        exposure_cap=mean("exposure_cap"),
        allowed=allowed_by(claim, repetitions)(1 / space) if one_guess and claim and not claim.is_control else None,
        models=len(np.unique(models)),
        effects={
            name: design_effect(scores.evidence[name][models, columns].astype(bool), models, secrets)
            for name in ("extracted", "top_1")
            if name in scores.evidence
        },
    )
