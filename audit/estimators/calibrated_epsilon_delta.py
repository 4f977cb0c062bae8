"""Calibrated (epsilon, delta): all thresholds are looked at, and nothing is assumed about the mechanism."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from attacks.scores import Scores
from audit.estimators.base import Estimator
from audit.estimators.calibrated import Family, calibrated_bound, epsilon_delta_statistic
from audit.estimators.group import group_privacy
from audit.estimators.independent import INDEPENDENT_RUNS, needs_one_canary
from audit.estimators.threshold import Floats


def invert_epsilon_delta(tpr: Floats, epsilon: float, delta: float) -> Floats:
    """The least FPR at which (epsilon, delta)-DP allows each TPR; any shape.

    Kairouz, Oh, Viswanath (2015), Theorem 2.1: TPR <= min(1, delta + e^eps FPR, 1 - e^-eps (1 - delta - FPR)). The
    inverse of the smaller of two increasing lines is the larger of their inverses.
    """
    with np.errstate(over="ignore"):
        bottom = 1 - delta - (1 - tpr) * np.exp(np.minimum(epsilon, 700.0))
    return np.asarray(np.maximum(np.maximum(0.0, (tpr - delta) * np.exp(-epsilon)), bottom))


@dataclass(frozen=True)
class CalibratedEpsilonDelta(Estimator):
    """Epsilon from the best of all thresholds, calibrated on the worst (epsilon, delta) mechanism.

    The statistic (`epsilon_delta_statistic`) is the best over all thresholds of ln((TPR - delta) / FPR), and of the
    mirrored quotient, at pointwise Clopper-Pearson limits. Its law under the worst mechanism that is (epsilon,
    delta)-DP (`invert_epsilon_delta`) is simulated (`audit.estimators.calibrated`); the bound is the largest epsilon
    that is refuted. Valid for every mechanism and sample size.

    It errs downwards where the mechanism is not the worst one: Gaussian noise at epsilon 8 shows some 2.7 with
    500 + 500 models. A canary of r copies is held against group privacy.
    """

    name: ClassVar[str] = "calibrated-epsilon-delta"
    assumptions: ClassVar[tuple[str, ...]] = INDEPENDENT_RUNS

    def epsilon(self, scores: Scores, delta: float, confidence: float, seed: int) -> float:
        """The largest epsilon that the best threshold refutes."""
        copies = int(scores.repetitions.max())
        family = Family(
            lambda x: x, lambda tpr, epsilon: invert_epsilon_delta(tpr, *group_privacy(epsilon, delta, copies))
        )
        return calibrated_bound(
            scores, lambda ranks: epsilon_delta_statistic(ranks, delta), family, 1 - confidence, seed
        )

    def inapplicable(self, scores: Scores) -> str | None:
        """One canary, so that every score comes from a run of its own."""
        return needs_one_canary(scores)

    def corrected_for(self, scores: Scores) -> tuple[str, ...]:
        """All thresholds, by simulation."""
        return ("all thresholds, by calibration",)
