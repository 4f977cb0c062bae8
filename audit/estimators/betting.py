"""Betting: a bound that holds at every moment of an audit that may stop whenever it likes."""

from __future__ import annotations

import math
from bisect import insort
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from attacks.scores import Scores
from audit.estimators.base import Estimator
from audit.estimators.group import per_copy
from audit.estimators.independent import INDEPENDENT_RUNS, needs_one_canary
from audit.estimators.threshold import Floats

LEVELS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98, 0.99, 1.0)
"""False positive rates, among past "out" scores, of the thresholds that are bet on."""

STAKES = (0.05, 0.15, 0.4, 0.8)
"""Shares of the wealth that are staked."""


@dataclass(frozen=True)
class Betting(Estimator):
    """Epsilon by betting against the claim, run after run; valid however the number of models was decided.

    The k-th model with the canary is paired with the k-th without, in the order of the scores. For a threshold that
    was fixed before the pair is seen, X = [in score above it] and Y = [out score above it], (eps, delta)-DP says
    E[e^-eps X - Y - delta] <= 0, and mirrored E[e^-eps (1 - Y) - (1 - X) - delta] <= 0. So each 1 + stake * (...) has
    expectation at most 1 given the past, the wealth of every gambler is a supermartingale, and so is their mean over
    thresholds (quantiles of the past out scores), stakes and both sides: a mixture chosen in advance. By Ville's
    inequality (1939) it ever reaches 1 / (1 - confidence) with probability at most 1 - confidence if the claim is true
    (Waudby-Smith, Ramdas 2024, Estimating Means of Bounded Random Variables by Betting). The bound is the largest
    epsilon against which the wealth has been that high at some time; it never falls as models are added.

    Needs no planned number of models and may be looked at after each. It pays for that: with a fixed number of models
    `CalibratedEpsilonDelta` is sharper. The order of scores counts. A canary of r copies is held against group privacy.
    """

    name: ClassVar[str] = "betting"
    assumptions: ClassVar[tuple[str, ...]] = (
        *INDEPENDENT_RUNS,
        "scores stand in the order in which models were trained",
    )

    def epsilon(self, scores: Scores, delta: float, confidence: float, seed: int) -> float:
        """The largest epsilon against which the wealth has ever reached 1 / (1 - confidence)."""
        score, member = scores.score[:, 0], scores.member[:, 0]
        pairs = min(int(member.sum()), int((~member).sum()))
        if not pairs:
            return 0.0
        above_in, above_out = _above(score[member][:pairs], score[~member][:pairs])
        gains = np.stack([above_in, ~above_out]), np.stack([above_out, ~above_in])
        copies = int(scores.repetitions.max())
        target = -math.log(1 - confidence)
        return per_copy(lambda eps, dlt: _most_wealth(*gains, eps, dlt) >= target, delta, copies, 1e-4)

    def inapplicable(self, scores: Scores) -> str | None:
        """One canary, so that every score comes from a run of its own."""
        return needs_one_canary(scores)

    def corrected_for(self, scores: Scores) -> tuple[str, ...]:
        """Thresholds, stakes and the time to stop."""
        return ("thresholds and stakes, by a mixture named in advance", "stopping at any time")

    def samples(self, scores: Scores) -> dict[str, Any]:
        """The counts, and how many pairs were bet on."""
        counts = super().samples(scores)
        return counts | {"pairs": min(counts["members"], counts["non_members"])}

    def perfect(self, scores: Scores) -> Scores:
        """Members above every threshold, all others below."""
        return replace(scores, score=np.where(scores.member, np.inf, -np.inf))


def _above(ins: Floats, outs: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """bool[pairs, levels] each: whether the in and the out score lie above the thresholds made of past out scores."""
    past: list[float] = []
    above = np.zeros((2, len(ins), len(LEVELS)), dtype=bool)
    for t, (inside, outside) in enumerate(zip(ins, outs, strict=True)):
        if past:
            at = [past[max(0, len(past) - 1 - math.floor(level * len(past)))] for level in LEVELS]
            above[0, t], above[1, t] = inside > np.array(at), outside > np.array(at)
        insort(past, float(outside))
    return above[0], above[1]


def _most_wealth(won: NDArray[np.bool_], lost: NDArray[np.bool_], epsilon: float, delta: float) -> float:
    """The largest log wealth at any time; `won` and `lost` are bool[sides, pairs, levels]."""
    gain = np.exp(-epsilon) * won - lost - delta
    stakes = np.array(STAKES)[:, None, None, None]
    logs = np.log1p(stakes / (1 + delta) * gain).cumsum(axis=2)
    gamblers = logs.shape[0] * logs.shape[1] * logs.shape[3]
    return float(logsumexp(logs, axis=(0, 1, 3)).max() - math.log(gamblers))
