"""Clopper-Pearson: epsilon from the error rates of one threshold over independent runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from attacks.scores import Scores
from audit.estimators.base import Estimator
from audit.estimators.group import per_copy
from audit.estimators.threshold import Floats, check_threshold, error_limits


@dataclass(frozen=True)
class ClopperPearson(Estimator):
    """Epsilon from the false positive and false negative rates of a threshold; assumes no shape of the mechanism.

    (eps, delta)-DP allows 1 - FNR <= e^eps FPR + delta and 1 - FPR <= e^eps FNR + delta (Kairouz, Oh, Viswanath 2015,
    Theorem 2.1). With upper limits of both rates, Jagielski, Ullman, Oprea (2020) and Nasr et al. (2021):

        eps >= ln((1 - delta - FPR_hi) / FNR_hi)   and   eps >= ln((1 - delta - FNR_hi) / FPR_hi).

    What is paid for: each limit is a Clopper-Pearson limit at 1 - (1 - confidence) / 2, so both hold at once at
    `confidence` (Bonferroni). Both inequalities follow from these same two limits, so taking the larger costs
    nothing more. The threshold is named in advance, or chosen on models that the limits never see. It errs downwards:
    with n models in each arm and no error at all it shows ln(n / 3.7) at 95%.

    The models must be independent, hence one canary only. A canary of r copies is held against group privacy.

    Attributes:
        threshold: guess "in" at this score or more, named in advance, in score units; None to choose it.
        held_out: share of each arm's models on which the threshold is chosen when none is named.
    """

    name: ClassVar[str] = "clopper-pearson"
    assumptions: ClassVar[tuple[str, ...]] = (
        "models are trained and scored independently of each other",
        "models with and without the canary were made in the same way otherwise",
    )

    threshold: float | None = None
    held_out: float = 0.2

    def __post_init__(self) -> None:
        check_threshold(self.threshold, self.held_out)

    def epsilon(self, scores: Scores, delta: float, confidence: float, seed: int) -> float:
        """The larger of the two sides at the limits of both rates; 0 where neither says anything."""

        def strength(fpr: Floats, fnr: Floats) -> Floats:
            return epsilon_of_rates(fpr, fnr, delta)

        fpr, fnr = error_limits(scores, self.threshold, self.held_out, strength, confidence, seed)
        copies = int(scores.repetitions.max())
        return per_copy(lambda eps, dlt: float(epsilon_of_rates(fpr, fnr, dlt)) > eps, delta, copies)

    def inapplicable(self, scores: Scores) -> str | None:
        """One canary, so that every score comes from a run of its own."""
        if len(scores.ids) != 1:
            return f"it needs independent runs of exactly one canary, got {len(scores.ids)} canaries in each model."
        return None

    def corrected_for(self, scores: Scores) -> tuple[str, ...]:
        """Two limits, and the threshold where it was chosen."""
        return corrections(self.threshold, self.held_out)

    def samples(self, scores: Scores) -> dict[str, Any]:
        """The counts, and the share of models that the threshold took."""
        return super().samples(scores) | {"held_out": 0.0 if self.threshold is not None else self.held_out}

    def perfect(self, scores: Scores) -> Scores:
        """Members above every threshold, all others below."""
        return replace(scores, score=np.where(scores.member, np.inf, -np.inf))


def corrections(threshold: float | None, held_out: float) -> tuple[str, ...]:
    """What a bound from the two limits of one threshold has paid for, in words."""
    limits = "two limits (FPR and FNR), Bonferroni"
    if threshold is not None:
        return (limits,)
    return (limits, f"threshold chosen on a held-out {held_out:g} of the models")


def epsilon_of_rates(fpr: Floats | float, fnr: Floats | float, delta: float) -> Floats:
    """The larger side of the two inequalities, elementwise; -inf where delta or an error rate leaves nothing."""
    with np.errstate(divide="ignore"):
        one = np.log(np.maximum(1 - delta - np.asarray(fpr), 0)) - np.log(fnr)
        two = np.log(np.maximum(1 - delta - np.asarray(fnr), 0)) - np.log(fpr)
    return np.asarray(np.maximum(one, two))
