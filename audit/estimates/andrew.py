"""Andrew et al. (2023): epsilon between two normal laws of different spreads, from the canaries of one run."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
from scipy.special import ndtr

from audit.estimates.base import Heuristic
from audit.estimators.group import largest_refuted
from audit.estimators.threshold import Floats
from canaries.randomness import generator


@dataclass(frozen=True)
class Andrew(Heuristic):
    """Epsilon of telling N(mean_in, spread_in) from N(mean_out, spread_out), the normal laws fitted to both sides.

    Andrew et al. (2023), One-shot Empirical Privacy Estimation for Federated Learning, Algorithm 1 and section 4:
    scores are cosines of random canary directions with the update or the final model, which are close to normal; here
    they may be any scores. Canaries of one model are taken as independent, which nobody has shown. The interval is a
    percentile bootstrap over scores. Spreads that differ by chance alone add to epsilon, so it errs upwards.

    Attributes:
        resamples: bootstrap resamples.
    """

    name: ClassVar[str] = "andrew"
    caveat: ClassVar[str] = "fits two normal laws and takes canaries of one model as independent"

    resamples: int = 200

    def interval(self, ins: Floats, outs: Floats, delta: float, level: float, seed: int) -> tuple[float, float, float]:
        """The fit, and percentiles of fits to resampled scores."""
        rng = generator(seed, "andrew")
        draws = [_epsilon(rng.choice(ins, len(ins)), rng.choice(outs, len(outs)), delta) for _ in range(self.resamples)]
        low, high = np.percentile(draws, [50 * (1 - level), 50 * (1 + level)])
        return _epsilon(ins, outs, delta), float(low), float(high)


def _epsilon(ins: Floats, outs: Floats, delta: float) -> float:
    """The smallest epsilon, to 1e-3, at which both fitted laws are (epsilon, delta)-close; at most 2^14."""
    a, b = (float(ins.mean()), float(ins.std(ddof=1))), (float(outs.mean()), float(outs.std(ddof=1)))
    if a == b:
        return 0.0
    if min(a[1], b[1]) <= 0:
        return float(2**14)
    return largest_refuted(lambda eps: max(normal_delta(a, b, eps), normal_delta(b, a, eps)) > delta, tolerance=1e-4)


def normal_delta(p: tuple[float, float], q: tuple[float, float], epsilon: float) -> float:
    """The largest P(A) - e^eps Q(A) over events A, for normal P, Q given as (mean, standard deviation).

    A = {log p - log q > eps}, where the log ratio is a quadratic: an interval, the outside of one, or a half-line.
    """
    (mp, sp), (mq, sq) = p, q
    c2 = (1 / sq**2 - 1 / sp**2) / 2
    c1 = mp / sp**2 - mq / sq**2
    c0 = (mq**2 / sq**2 - mp**2 / sp**2) / 2 + np.log(sq / sp) - epsilon
    edges = _roots(c2, c1, c0)
    inside = [-np.inf, *edges, np.inf]
    total = 0.0
    for left, right in pairwise(inside):
        at = _between(left, right)
        if (c2 * at + c1) * at + c0 > 0:
            mass_p = ndtr((right - mp) / sp) - ndtr((left - mp) / sp)
            mass_q = ndtr((right - mq) / sq) - ndtr((left - mq) / sq)
            total += mass_p - np.exp(min(epsilon, 700.0)) * mass_q
    return float(min(1.0, max(0.0, total)))


def _roots(c2: float, c1: float, c0: float) -> list[float]:
    if abs(c2) < 1e-12 * max(1.0, abs(c1)):
        return [-c0 / c1] if c1 else []
    square = c1 * c1 - 4 * c2 * c0
    if square <= 0:
        return []
    root = -(c1 + np.copysign(np.sqrt(square), c1)) / 2
    found = [root / c2] + ([c0 / root] if root else [])
    return sorted(float(x) for x in found)


def _between(left: float, right: float) -> float:
    if np.isinf(left) and np.isinf(right):
        return 0.0
    if np.isinf(left):
        return right - 1 - abs(right)
    return left + 1 + abs(left) if np.isinf(right) else (left + right) / 2
