"""Rates held against a budget: what a rate is at least, with stated confidence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.stats import beta, binom

from attacks.scores import Scores
from audit.design_effect import INDEPENDENT, DesignEffect, design_effect
from audit.estimators.base import LEAVE_ONE_OUT
from canaries.errors import InputError


def rate_at_least(successes: int, trials: int, confidence: float, effect: DesignEffect = INDEPENDENT) -> float:
    """The lower limit of a rate (Clopper, Pearson 1934), one-sided.

    Exact for independent trials. Others count for as many as their design effect leaves (Korn, Graubard 1998), and
    never prove more than one success for each cluster would.

    >>> round(rate_at_least(10, 10, 0.95), 4), rate_at_least(0, 10, 0.95)
    (0.7411, 0.0)

    Args:
        successes: among the trials.
        trials: pairs (model, canary).
        confidence: of the limit.
        effect: how the trials depend on each other.

    Raises:
        InputError: for successes outside [0, trials], or a confidence outside (0, 1).
    """
    if not 0 <= successes <= trials:
        raise InputError(f"Expected successes in [0, {trials}], got {successes}.")
    if not 0 < confidence < 1:
        raise InputError(f"Expected confidence in (0, 1), got {confidence}.")
    if not successes:
        return 0.0
    worth = effect.trials(trials, confidence)
    hits = successes * worth / trials
    least = float(beta.ppf(1 - confidence, hits, worth - hits + 1))
    return min(least, float((1 - confidence) ** (1 / effect.clusters))) if effect.clusters else least


def tpr_at_least(scores: Scores, fpr: float, confidence: float) -> float:
    """The true positive rate that an attack reaches at false positive rate `fpr`, at least; references left out.

    Half of the error pays for the threshold: the (k + 1)-th largest "out" score, with the largest k for which its false
    positive rate is at most `fpr` with that confidence, whatever the law of the scores (Wilks 1941). The other half
    pays for the rate of "in" scores above it. It errs downwards, and is 0 where "out" scores are too few to place any
    threshold (at fpr 0.01 and confidence 0.999 below 757).

    With one canary or one model this is distribution-free; of one model's canaries it speaks of that model. Otherwise
    scores of one model, and of one canary, depend on each other, and both rates count for fewer trials
    (`design_effect`): an approximation, in which the threshold's effect is that of the scores above the threshold that
    independent trials would set.

    Raises:
        InputError: for fpr or confidence outside (0, 1), or scores that were made from each other's coins.
    """
    if not 0 < fpr < 1:
        raise InputError(f"Expected fpr in (0, 1), got {fpr}.")
    if scores.calibrated == "leave-one-out":
        raise InputError(LEAVE_ONE_OUT)
    scores = scores.select(~scores.reference).centred()
    model = np.broadcast_to(np.arange(scores.models)[:, None], scores.score.shape)
    ins, outs = ((scores.score[of], model[of], scores.secret_numbers[of]) for of in (scores.member, ~scores.member))
    each = (1 + confidence) / 2
    ordered = np.sort(outs[0])[::-1]
    above = _most_above(len(ordered), fpr, each)
    if above < 0 or not len(ins[0]):
        return 0.0
    worth = int(design_effect(outs[0] > ordered[above], *outs[1:]).trials(len(ordered), each))
    above = _most_above(worth, fpr, each)
    if above < 0:
        return 0.0
    success = ins[0] > ordered[above * len(ordered) // worth]
    return rate_at_least(int(success.sum()), len(success), each, design_effect(success, *ins[1:]))


def _most_above(trials: int, fpr: float, confidence: float) -> int:
    """The most of `trials` "out" scores above a threshold that still show a rate of `fpr` at most; -1 for none."""
    return int(np.searchsorted(binom.cdf(np.arange(trials), trials, fpr), 1 - confidence, side="right")) - 1


def most_tpr_at_least(scores: Scores, fpr: float, confidence: float) -> float:
    """What `tpr_at_least` says of a perfect attack with as many scores; 0 where no threshold can be placed.

    Raises:
        InputError: as `tpr_at_least`.
    """
    return tpr_at_least(replace(scores, score=scores.member.astype(float)), fpr, confidence)
