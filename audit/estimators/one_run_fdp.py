"""One run under a Gaussian trade-off curve: far sharper than (epsilon, delta), if the curve is true."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from attacks.scores import Scores
from audit.estimators.base import Estimator
from audit.estimators.coins import FAIR_COINS, check_share, guesses_each_way, needs_coins, right_guesses
from audit.estimators.threshold import Floats
from audit.gaussian import epsilon_of
from canaries.errors import InputError

MOST_MU = 100.0


@dataclass(frozen=True)
class OneRunFDP(Estimator):
    """The mu of a Gaussian trade-off curve from how many guesses about m fair coins are right. Parametric.

    Mahloujifar, Melis, Chaudhuri (2024), Auditing f-Differential Privacy in One Run, Algorithm 3: a recursion over the
    number of right guesses says whether as many as were seen have probability below 1 - confidence under mu-GDP of each
    coin (`fdp_refutes`). The bound is the largest mu that is refuted, turned into epsilon at delta exactly. The number
    of guesses is named in advance: no tight correction for choosing it on the data is known. Valid for curves that are
    Gaussian or below, only. Several models: coins are pooled, as in `OneRun`.

    Canaries of r copies are r mu-GDP (Dong, Roth, Su 2022, Theorem 2.14), so mu is divided by the most copies. At
    delta = 0 no epsilon is true of a Gaussian mechanism, and the answer is 0.

    Attributes:
        guesses: share of the coins that are guessed, half "in" from the top and half "out" from the bottom.
        centre: with enough models, compare each score with its canary's mean over models (`Scores.centred`).
    """

    name: ClassVar[str] = "one-run-fdp"
    assumptions: ClassVar[tuple[str, ...]] = (*FAIR_COINS, "the mechanism's trade-off curve is Gaussian")
    parametric: ClassVar[bool] = True

    guesses: float = 0.15
    centre: bool = True

    def __post_init__(self) -> None:
        check_share(self.guesses)

    def epsilon(self, scores: Scores, delta: float, confidence: float, seed: int) -> float:
        """Epsilon at delta of the largest refuted mu; 0 where delta is 0."""
        if delta == 0:
            return 0.0
        coins, guesses, right = right_guesses(scores, self.guesses, self.centre, seed)
        copies = int(scores.repetitions.max())
        return epsilon_of(gaussian_mu_refuted(coins, guesses, right, 1 - confidence) / copies, delta)

    def inapplicable(self, scores: Scores) -> str | None:
        """A coin for each canary of each model."""
        return needs_coins(scores)

    def corrected_for(self, scores: Scores) -> tuple[str, ...]:
        """Nothing is chosen on the data."""
        return ("number of guesses named in advance; abstentions counted",)

    def samples(self, scores: Scores) -> dict[str, Any]:
        """The counts, and how many guesses were made."""
        return super().samples(scores) | {"guesses": 2 * guesses_each_way(self.guesses, scores.score.size)}

    def perfect(self, scores: Scores) -> Scores:
        """Members above everything, all others below; infinite scores are not moved by centring."""
        return replace(scores, score=np.where(scores.member, np.inf, -np.inf))


def fdp_refutes(
    invert: Callable[[Floats], Floats], coins: int, guesses: int, right: int, level: Floats
) -> NDArray[np.bool_]:
    """bool[K]: whether `right` of `guesses` right guesses about `coins` coins have probability below `level`, float[K].

    Mahloujifar, Melis, Chaudhuri (2024), Algorithm 3, for two choices. `invert` gives, for float[K] true positive
    rates, the least false positive rates that the K curves allow. With c right of c' guesses: r[c] = level c / m,
    h[c] = level (c' - c) / m, and for i = c-1, ..., 0: h[i] = max(h[i+1], invert(r[i+1])), r[i] = r[i+1] +
    i / (c' - i) (h[i] - h[i+1]); refuted if r[0] + h[0] > c' / m.
    """
    if not 0 <= right <= guesses <= coins:
        raise InputError(f"Expected 0 <= right <= guesses <= coins, got {right}, {guesses} and {coins}.")
    r, h = level * right / coins, level * (guesses - right) / coins
    for i in range(right - 1, -1, -1):
        higher = np.maximum(h, invert(np.minimum(r, 1.0)))
        r = r + i / (guesses - i) * (higher - h)
        h = higher
    return np.asarray(r + h > guesses / coins)


def gaussian_mu_refuted(coins: int, guesses: int, right: int, level: float) -> float:
    """The largest mu in [0, 100] that is refuted, from below to 1e-9; 0 if none.

    64 values at a time, so that a hundred thousand coins take a second or two.
    """
    low, high = 0.0, MOST_MU
    while high - low > 1e-9:
        mu = np.linspace(low, high, 66)[:-1]
        refuted = fdp_refutes(partial(_gaussian, mu), coins, guesses, right, np.full(mu.shape, level))
        last = int(np.argmin(refuted)) - 1 if not refuted.all() else len(mu) - 1
        if last < 0:
            return 0.0
        low, high = float(mu[last]), float(mu[last] + mu[1] - mu[0])
    return low


def _gaussian(mu: Floats, tpr: Floats) -> Floats:
    return np.asarray(ndtr(ndtri(tpr) - mu))


def fdp_p_value(invert: Callable[[Floats], Floats], coins: int, guesses: int, right: int) -> float:
    """The smallest level, to 2%, at which one curve is refuted; 1 if none below 1. From above."""
    level = np.geomspace(1e-12, 1.0, 1400)
    refuted = fdp_refutes(invert, coins, guesses, right, level)
    return float(level[np.argmax(refuted)]) if refuted.any() else 1.0
