"""Joint beta posterior of both error rates, and the credible interval of epsilon that it means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from audit.estimates.base import Heuristic
from audit.estimators.clopper_pearson import epsilon_of_rates
from audit.estimators.threshold import Floats
from canaries.randomness import generator


@dataclass(frozen=True)
class JointBeta(Heuristic):
    """Credible interval of epsilon at the best threshold, from independent Jeffreys posteriors of FPR and FNR.

    Zanella-Beguelin et al. (2023), Bayesian Estimation of Differential Privacy, section 4: FPR and FNR have independent
    Beta(1/2 + errors, 1/2 + successes) posteriors, and epsilon the law of the largest bound that the pair implies. The
    threshold is the one of the largest posterior mean, chosen on the same scores, as is common practice; nothing pays
    for that, and a credible interval is no confidence interval: on null data it lies above 0 far too often.

    Attributes:
        draws: posterior draws.
    """

    name: ClassVar[str] = "joint-beta"
    caveat: ClassVar[str] = "a credible interval at a threshold chosen on the same scores; it does not cover"

    draws: int = 20_000

    def interval(self, ins: Floats, outs: Floats, delta: float, level: float, seed: int) -> tuple[float, float, float]:
        """Median and quantiles of epsilon's posterior."""
        seen = np.unique(np.concatenate([ins, outs]))
        false_positives = len(outs) - np.searchsorted(np.sort(outs), seen)
        false_negatives = np.searchsorted(np.sort(ins), seen)
        fpr, fnr = (false_positives + 0.5) / (len(outs) + 1), (false_negatives + 0.5) / (len(ins) + 1)
        best = int(np.argmax(epsilon_of_rates(fpr, fnr, delta)))
        fp, fn = float(false_positives[best]), float(false_negatives[best])
        rng = generator(seed, "joint beta")
        epsilon = epsilon_of_rates(
            rng.beta(fp + 0.5, len(outs) - fp + 0.5, self.draws),
            rng.beta(fn + 0.5, len(ins) - fn + 0.5, self.draws),
            delta,
        )
        low, middle, high = np.quantile(np.maximum(epsilon, 0.0), [(1 - level) / 2, 0.5, (1 + level) / 2])
        return float(middle), float(low), float(high)
