"""Rates held against a budget: what a rate is at least, with stated confidence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.stats import beta, binom

from attacks.scores import Scores
from audit.estimators.base import LEAVE_ONE_OUT
from canaries.errors import InputError


def rate_at_least(successes: int, trials: int, confidence: float) -> float:
    """The lower limit of a rate (Clopper, Pearson 1934), one-sided; trials must be independent.

    >>> round(rate_at_least(10, 10, 0.95), 4), rate_at_least(0, 10, 0.95)
    (0.7411, 0.0)

    Raises:
        InputError: for successes outside [0, trials], or a confidence outside (0, 1).
    """
    if not 0 <= successes <= trials:
        raise InputError(f"Expected successes in [0, {trials}], got {successes}.")
    if not 0 < confidence < 1:
        raise InputError(f"Expected confidence in (0, 1), got {confidence}.")
    return float(beta.ppf(1 - confidence, successes, trials - successes + 1)) if successes else 0.0


def tpr_at_least(scores: Scores, fpr: float, confidence: float) -> float:
    """The true positive rate that an attack reaches at false positive rate `fpr`, at least; references left out.

    Half of the error pays for the threshold: the (k + 1)-th largest "out" score, with the largest k for which its false
    positive rate is at most `fpr` with that confidence, whatever the law of the scores (Wilks 1941). The other half
    pays for the rate of "in" scores above it. Distribution-free; it errs downwards, and is 0 where "out" scores are too
    few to place any threshold (at fpr 0.01 and confidence 0.999 below 757). Each canary of each model is taken for a
    trial of its own.

    Raises:
        InputError: for fpr or confidence outside (0, 1), or scores that were made from each other's coins.
    """
    if not 0 < fpr < 1:
        raise InputError(f"Expected fpr in (0, 1), got {fpr}.")
    if scores.calibrated == "leave-one-out":
        raise InputError(LEAVE_ONE_OUT)
    scores = scores.select(~scores.reference).centred()
    ins, outs = scores.score[scores.member], np.sort(scores.score[~scores.member])[::-1]
    each = (1 + confidence) / 2
    above = int(np.searchsorted(binom.cdf(np.arange(len(outs)), len(outs), fpr), 1 - each, side="right")) - 1
    if above < 0 or not len(ins):
        return 0.0
    return rate_at_least(int((ins > outs[above]).sum()), len(ins), each)


def most_tpr_at_least(scores: Scores, fpr: float, confidence: float) -> float:
    """What `tpr_at_least` says of a perfect attack with as many scores; 0 where no threshold can be placed.

    Raises:
        InputError: as `tpr_at_least`.
    """
    return tpr_at_least(replace(scores, score=scores.member.astype(float)), fpr, confidence)
