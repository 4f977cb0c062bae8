"""One run: epsilon from guessing many independent coins, in one model or in all models together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from scipy.special import expit, gammaln
from scipy.stats import binom

from attacks.scores import Scores
from audit.estimators.base import Estimator
from audit.estimators.group import largest_refuted, per_copy
from canaries.errors import InputError
from canaries.randomness import generator


@dataclass(frozen=True)
class OneRun(Estimator):
    """Epsilon from how many of r guesses about m fair coins are right; one model is enough.

    Steinke, Nasr, Jagielski (2023), Privacy Auditing with One (1) Training Run, Theorem 5.2. Each canary is in with
    probability 1/2, independently; the guesses are any function of what the mechanism releases.

    Several models: the coins of one model reach no other, so the outputs of all models together are one
    (eps, delta)-DP mechanism in each single coin, and all m = models * canaries coins are pooled. Guessing from all
    scores at once is post-processing of that output, so `centre` is free: it subtracts each canary's mean over the
    models, shrunk (`Scores.centred`; known from scores alone), which removes what makes one canary's loss higher than
    another's whether it is in or not. The number of guesses is fixed before scores are seen; ties break by chance,
    independent of the coins.

    It errs downwards, and for the Gaussian mechanism by much: it takes the worst (eps, delta) mechanism for granted.
    Canaries that differ in copies are held against the group of the most copies, which is valid and conservative.

    Attributes:
        guesses: share of the coins that are guessed, half "in" from the top and half "out" from the bottom.
        centre: with two models or more, compare each score with its canary's mean over models.
    """

    name: ClassVar[str] = "one-run"
    assumptions: ClassVar[tuple[str, ...]] = (
        "each canary of each model was in by an independent fair coin",
        "scores come from the models and the canaries, never from the coins",
    )

    guesses: float = 0.15
    centre: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.guesses <= 1:
            raise InputError(f"Expected guesses in (0, 1], got {self.guesses}.")

    def epsilon(self, scores: Scores, delta: float, confidence: float, seed: int) -> float:
        """The largest epsilon at which so many right guesses have probability below 1 - confidence."""
        score = scores.centred().score if self.centre else scores.score
        m, half = score.size, self._half(score.size)
        order = np.lexsort((generator(seed, "ties").permutation(m), score.ravel()))
        right = scores.member.ravel()[order]
        v = int(right[m - half :].sum() + (~right[:half]).sum())
        return per_copy(
            lambda eps, dlt: one_run_p_value(m, 2 * half, v, eps, dlt) < 1 - confidence,
            delta,
            int(scores.repetitions.max()),
        )

    def _half(self, m: int) -> int:
        return min(max(1, round(self.guesses * m / 2)), m // 2)

    def inapplicable(self, scores: Scores) -> str | None:
        """A coin for each canary of each model."""
        if scores.randomised != "canary":
            return "it needs an independent coin for each canary, but whole models were randomised."
        return (
            None if scores.score.size else f"it needs a coin, got {scores.models} models of {len(scores.ids)} canaries."
        )

    def corrected_for(self, scores: Scores) -> tuple[str, ...]:
        """Nothing is chosen on the data."""
        return ("number of guesses named in advance; abstentions counted",)

    def samples(self, scores: Scores) -> dict[str, Any]:
        """The counts, and how many guesses were made."""
        return super().samples(scores) | {"guesses": 2 * self._half(scores.score.size)}

    def perfect(self, scores: Scores) -> Scores:
        """Members above everything, all others below; infinite scores are not moved by centring."""
        return replace(scores, score=np.where(scores.member, np.inf, -np.inf))


def one_run_p_value(m: int, r: int, v: int, epsilon: float, delta: float) -> float:
    """Largest probability of v or more right among r guesses about m coins, under (epsilon, delta)-DP.

    Steinke, Nasr, Jagielski (2023), Theorem 5.2: beta + 2 m delta alpha, with W ~ Bin(r, e^eps / (1 + e^eps)),
    beta = P[W >= v] and alpha = max over 1 <= i <= v of P[v > W >= v - i] / i.
    """
    if not 0 <= v <= r <= m:
        raise InputError(f"Expected 0 <= v <= r <= m, got v = {v}, r = {r}, m = {m}.")
    if v == 0 or delta >= 1:
        return 1.0
    p = float(binom.sf(v - 1, r, expit(epsilon)))
    if delta > 0:
        below = np.arange(v - 1, -1, -1.0)  # W = v-1, v-2, ..., 0
        log_pmf = gammaln(r + 1) - gammaln(below + 1) - gammaln(r - below + 1)
        # ln q = -ln(1 + e^-eps) and ln(1 - q) = -eps + ln q.
        log_pmf += -r * np.logaddexp(0, -epsilon) - (r - below) * epsilon
        p += 2 * m * delta * float((np.cumsum(np.exp(log_pmf)) / np.arange(1, v + 1)).max())
    return min(1.0, p)


def one_run_epsilon(m: int, r: int, v: int, delta: float, confidence: float) -> float:
    """The largest epsilon refuted at `confidence` by v right of r guesses about m coins; 0 if none.

    m counts the coins that were not guessed too.

    >>> round(one_run_epsilon(500, 100, 100, 1e-5, 0.95), 4)
    3.4792
    """
    return largest_refuted(lambda epsilon: one_run_p_value(m, r, v, epsilon, delta) < 1 - confidence)
