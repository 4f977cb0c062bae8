"""DKW: error rates at every threshold at once, by a band around both empirical distributions."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from attacks.scores import Scores
from audit.estimators.base import Estimator
from audit.estimators.calibrated import arms
from audit.estimators.clopper_pearson import epsilon_of_rates
from audit.estimators.group import per_copy
from audit.estimators.independent import INDEPENDENT_RUNS, needs_one_canary


@dataclass(frozen=True)
class DKW(Estimator):
    """Epsilon from the best of all thresholds, within Dvoretzky-Kiefer-Wolfowitz bands. Simple; no simulation.

    Massart (1990): an empirical distribution of n scores is nowhere more than sqrt(ln(1/a) / (2 n)) below the true one
    with probability 1 - a, likewise above. With a = (1 - confidence) / 2 for either arm, limits of FPR and FNR hold at
    every threshold at once, and the best threshold by the inequalities of `ClopperPearson` costs nothing more. The
    bands are as wide in the tails as in the middle: few thousand models show little. Use it where a bound has to be
    checked by hand; `CalibratedEpsilonDelta` is sharper.
    """

    name: ClassVar[str] = "dkw"
    assumptions: ClassVar[tuple[str, ...]] = INDEPENDENT_RUNS

    def epsilon(self, scores: Scores, delta: float, confidence: float, seed: int) -> float:
        """The best over all thresholds of both sides at the bands' limits."""
        ins, outs = arms(scores)
        if not (len(ins) and len(outs)):
            return 0.0
        log = math.log(2 / (1 - confidence))
        seen = np.unique(np.concatenate([ins, outs]))
        fpr = (len(outs) - np.searchsorted(np.sort(outs), seen)) / len(outs) + math.sqrt(log / (2 * len(outs)))
        fnr = np.searchsorted(np.sort(ins), seen) / len(ins) + math.sqrt(log / (2 * len(ins)))
        fpr, fnr = np.minimum(fpr, 1.0), np.minimum(fnr, 1.0)
        copies = int(scores.repetitions.max())
        return per_copy(lambda eps, dlt: float(epsilon_of_rates(fpr, fnr, dlt).max()) > eps, delta, copies)

    def inapplicable(self, scores: Scores) -> str | None:
        """One canary, so that every score comes from a run of its own."""
        return needs_one_canary(scores)

    def corrected_for(self, scores: Scores) -> tuple[str, ...]:
        """All thresholds."""
        return ("all thresholds, by bands that hold everywhere", "two bands, Bonferroni")

    def perfect(self, scores: Scores) -> Scores:
        """Members above every threshold, all others below."""
        return replace(scores, score=np.where(scores.member, np.inf, -np.inf))
