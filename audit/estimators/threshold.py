"""Error rates at a threshold: limits that hold together, and a threshold chosen on models set aside for it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import beta

from attacks.scores import Scores
from canaries.errors import InputError
from canaries.randomness import generator

Floats = NDArray[np.float64]
Strength = Callable[[Floats, Floats], Floats]


def upper_limit(errors: ArrayLike, trials: int, confidence: float) -> Floats:
    """One-sided upper limit of an error rate from independent trials; 1 where there are no trials.

    Clopper, Pearson (1934): exact, so it errs upwards. `errors` has any shape and may lie between integers.
    """
    errors = np.asarray(errors, dtype=np.float64)
    inner = errors < trials
    limit = beta.ppf(confidence, np.where(inner, errors, 0) + 1, np.where(inner, trials - errors, 1))
    return np.asarray(np.where(inner, limit, 1.0))


def error_limits(
    scores: Scores, threshold: float | None, held_out: float, strength: Strength, confidence: float, seed: int
) -> tuple[float, float]:
    """Upper limits of FPR and FNR of "in if score >= threshold", both true at once at `confidence`.

    Each limit is taken at 1 - (1 - confidence) / 2, and Bonferroni gives both at once. `scores` has one canary and
    independent models. Where `threshold` is None, a share `held_out` of each arm's models, drawn by `seed` alone,
    serves to choose it and the limits come from the other models; `strength` says how good FPR and FNR limits are.
    """
    score, member = scores.score[:, 0], scores.member[:, 0]
    outs, ins = score[~member], score[member]
    if threshold is None:
        chosen_outs, outs = _split(outs, held_out, generator(seed, "held out", "non-members"))
        chosen_ins, ins = _split(ins, held_out, generator(seed, "held out", "members"))
        threshold = _choose(chosen_outs, chosen_ins, len(outs), len(ins), strength, confidence)
    each = (1 + confidence) / 2
    fpr = upper_limit((outs >= threshold).sum(), len(outs), each)
    fnr = upper_limit((ins < threshold).sum(), len(ins), each)
    return float(fpr), float(fnr)


def check_threshold(threshold: float | None, held_out: float) -> None:
    """Reject a threshold that is not a finite number, and a share outside (0, 1)."""
    if threshold is not None and not np.isfinite(threshold):
        raise InputError(f"Expected a finite threshold or none, got {threshold}.")
    if not 0 < held_out < 1:
        raise InputError(f"Expected held_out in (0, 1), got {held_out}.")


def _split(scores: Floats, share: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """A random `share` of the scores, at least one where two are there, and the rest."""
    n = len(scores)
    count = min(max(1, round(share * n)), n - 1) if n > 1 else 0
    order = rng.permutation(n)
    return scores[order[:count]], scores[order[count:]]


def _choose(outs: Floats, ins: Floats, trials_out: int, trials_in: int, strength: Strength, confidence: float) -> float:
    """The seen score that would be the strongest threshold if the other models erred at these models' rates.

    Rates are smoothed by half an error, and of equally strong thresholds the middle one is taken. Only the order
    of scores counts, so the choice follows every increasing transformation of them.
    """
    seen = np.unique(np.concatenate([outs, ins]))
    if not (len(outs) and len(ins)):
        return np.inf
    false_positives = len(outs) - np.searchsorted(np.sort(outs), seen)
    false_negatives = np.searchsorted(np.sort(ins), seen)
    each = (1 + confidence) / 2
    fpr = upper_limit((false_positives + 0.5) / (len(outs) + 1) * trials_out, trials_out, each)
    fnr = upper_limit((false_negatives + 0.5) / (len(ins) + 1) * trials_in, trials_in, each)
    value = strength(fpr, fnr)
    best = np.flatnonzero(value >= value.max() - 1e-12)
    return float(seen[best[len(best) // 2]])
