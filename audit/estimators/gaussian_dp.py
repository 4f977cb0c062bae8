"""Gaussian DP: epsilon from the error rates of one threshold, if the mechanism's trade-off curve is Gaussian."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from scipy.special import ndtri

from attacks.scores import Scores
from audit.estimators.base import Estimator
from audit.estimators.clopper_pearson import corrections
from audit.estimators.threshold import Floats, check_threshold, error_limits
from audit.gaussian import epsilon_of


@dataclass(frozen=True)
class GaussianDP(Estimator):
    """The mu of a Gaussian trade-off curve, and the epsilon that it means. Parametric: false for other curves.

    Nasr et al. (2023), Tight Auditing of Differentially Private Machine Learning, section 4: a mu-GDP mechanism has
    Phi^-1(1 - FPR) - Phi^-1(FNR) <= mu for every test (Dong, Roth, Su 2022, Definition 2.6), so upper limits of both
    rates bound mu from below, and `audit.gaussian.epsilon_of` turns mu into epsilon at delta exactly. The limits and
    the threshold are paid for as in `ClopperPearson`. The curve is assumed, not tested: on a Laplace mechanism
    nearly every such bound is too high.

    A canary of r copies: the curve is assumed for one copy, and r copies are then r mu-GDP and no better (Dong, Roth,
    Su 2022, Theorem 2.14), so mu is divided by r; group privacy in (epsilon, delta) would be looser. At delta = 0 no
    epsilon is true of any Gaussian mechanism, the assumption and the claim exclude each other, and the answer is 0.

    Attributes:
        threshold: guess "in" at this score or more, named in advance, in score units; None to choose it.
        held_out: share of each arm's models on which the threshold is chosen when none is named.
    """

    name: ClassVar[str] = "gaussian-dp"
    assumptions: ClassVar[tuple[str, ...]] = (
        "models are trained and scored independently of each other",
        "models with and without the canary were made in the same way otherwise",
        "the mechanism's trade-off curve is Gaussian",
    )
    parametric: ClassVar[bool] = True

    threshold: float | None = None
    held_out: float = 0.2

    def __post_init__(self) -> None:
        check_threshold(self.threshold, self.held_out)

    def epsilon(self, scores: Scores, delta: float, confidence: float, seed: int) -> float:
        """Epsilon at delta of the smallest mu that the limits of both rates leave; 0 where delta is 0."""
        fpr, fnr = error_limits(scores, self.threshold, self.held_out, _mu, confidence, seed)
        mu = max(0.0, float(_mu(fpr, fnr))) / int(scores.repetitions.max())
        return epsilon_of(mu, delta) if delta > 0 else 0.0

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


def _mu(fpr: Floats | float, fnr: Floats | float) -> Floats:
    """Phi^-1(1 - FPR) - Phi^-1(FNR)."""
    return np.asarray(-ndtri(fpr) - ndtri(fnr))
