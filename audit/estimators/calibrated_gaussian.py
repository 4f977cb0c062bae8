"""Calibrated Gaussian DP: as tight as a parametric fit, if the mechanism's trade-off curve is Gaussian."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scipy.special import ndtri

from attacks.scores import Scores
from audit.estimators.base import Estimator
from audit.estimators.calibrated import Family, calibrated_bound, gaussian_statistic
from audit.estimators.independent import INDEPENDENT_RUNS, needs_one_canary
from audit.gaussian import epsilon_of


@dataclass(frozen=True)
class CalibratedGaussian(Estimator):
    """The mu of a Gaussian trade-off curve from all ranks, and the epsilon that it means. Parametric.

    Under mu-GDP (Dong, Roth, Su 2022) a test of false positive rate x has a true positive rate of at most
    Phi(Phi^-1(x) + mu). The statistic (`gaussian_statistic`) looks at the area under the curve and at every threshold;
    its law under the worst mu-GDP mechanism is simulated (`audit.estimators.calibrated`), and the bound is the largest
    mu that is refuted, turned into epsilon at delta exactly. Valid at every sample size if the curve is Gaussian or
    below it; false for other curves (on a Laplace mechanism nearly always). It errs by simulation noise only, which is
    part of the stated confidence.

    r copies of a record are r mu-GDP and no better (Dong, Roth, Su 2022, Theorem 2.14), so mu is divided by r. At
    delta = 0 no epsilon is true of a Gaussian mechanism, and the answer is 0.
    """

    name: ClassVar[str] = "calibrated-gaussian"
    assumptions: ClassVar[tuple[str, ...]] = (*INDEPENDENT_RUNS, "the mechanism's trade-off curve is Gaussian")
    parametric: ClassVar[bool] = True

    def epsilon(self, scores: Scores, delta: float, confidence: float, seed: int) -> float:
        """Epsilon at delta of the largest refuted mu; 0 where delta is 0."""
        if delta == 0:
            return 0.0
        copies = int(scores.repetitions.max())
        family = Family(ndtri, lambda z, mu: z - copies * mu)
        return epsilon_of(calibrated_bound(scores, gaussian_statistic, family, 1 - confidence, seed), delta)

    def inapplicable(self, scores: Scores) -> str | None:
        """One canary, so that every score comes from a run of its own."""
        return needs_one_canary(scores)

    def corrected_for(self, scores: Scores) -> tuple[str, ...]:
        """All thresholds, by simulation."""
        return ("all thresholds and the area under the curve, by calibration",)
