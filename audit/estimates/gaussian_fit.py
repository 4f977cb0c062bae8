"""Gaussian fit: two normal laws with one spread, and a bootstrap interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from audit.estimates.base import Heuristic
from audit.estimators.threshold import Floats
from audit.gaussian import epsilon_of
from canaries.randomness import generator

MOST_MU = 1e3


@dataclass(frozen=True)
class GaussianFit(Heuristic):
    """Epsilon of the mu between the mean scores, in units of their pooled standard deviation; at most 1000.

    The parametric ceiling of many-run audits: as sharp as data allow if scores are normal with one spread and the
    mechanism's curve is Gaussian, and without meaning otherwise. The interval is a percentile bootstrap over scores.

    Attributes:
        resamples: bootstrap resamples.
    """

    name: ClassVar[str] = "gaussian-fit"
    caveat: ClassVar[str] = "fits normal laws to the scores; false for every other shape, in either direction"

    resamples: int = 500

    def interval(self, ins: Floats, outs: Floats, delta: float, level: float, seed: int) -> tuple[float, float, float]:
        """The fit, and percentiles of fits to resampled scores."""
        rng = generator(seed, "gaussian fit")
        draws = [_mu(rng.choice(ins, len(ins)), rng.choice(outs, len(outs))) for _ in range(self.resamples)]
        low, high = np.percentile(draws, [50 * (1 - level), 50 * (1 + level)])
        return tuple(epsilon_of(mu, delta) for mu in (_mu(ins, outs), float(low), float(high)))  # type: ignore[return-value]


def _mu(ins: Floats, outs: Floats) -> float:
    n = len(ins) + len(outs) - 2
    spread = math.sqrt((ins.var() * len(ins) + outs.var() * len(outs)) / n)
    gap = float(ins.mean() - outs.mean())
    return float(np.clip(gap / spread, 0.0, MOST_MU)) if spread > 0 else (MOST_MU if gap > 0 else 0.0)
