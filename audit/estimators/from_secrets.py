"""What bounds from secrets share: a test of every epsilon, for one record, for a whole secret, and for none."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from attacks.scores import Scores
from audit.estimators.base import Estimator
from audit.estimators.group import largest_refuted

LogP = Callable[[float, float], float]
"""(epsilon, delta) -> log of the p-value of "adding or removing one record is (epsilon, delta)-DP"."""


@dataclass(frozen=True)
class FromSecrets(Estimator):
    """Epsilon from how often secrets were guessed, ranked high or rebuilt, given what chance would do.

    A claim is for one record, and a secret in r records has the group guarantee alone. So there are two bounds: for one
    record, in which each secret's own r enters, and for a whole secret, all its records at once, in which it does not.
    Both hold together: the p-value only falls as the allowed success falls, and what is true of the mechanism allows
    less than either bound's hypothesis does.
    """

    @abstractmethod
    def log_p(self, scores: Scores) -> LogP | None:
        """The test; None where `scores` hold no inserted secret."""

    def epsilon(self, scores: Scores, delta: float, confidence: float, seed: int) -> float:
        """The largest epsilon with a p-value of at most 1 - confidence."""
        test = self.log_p(scores)
        level = math.log(1 - confidence)
        return 0.0 if test is None else largest_refuted(lambda epsilon: test(epsilon, delta) <= level)

    def whole(self, scores: Scores, delta: float, confidence: float, seed: int) -> float | None:
        """The same for a whole secret; None where each stands in one record."""
        if not scores.ids or scores.repetitions.max() == 1:
            return None
        return self.epsilon(_as_one(scores), delta, confidence, seed)

    @abstractmethod
    def e_values(self, scores: Scores) -> NDArray[np.float64]:
        """float64[models, canaries]: for a secret that the model never saw, at least 0 with a mean of at most 1.

        Whether members or not; NaN where there is nothing to guess.
        """

    def chance(self, scores: Scores, pairs: NDArray[np.bool_]) -> float:
        """P-value of "secrets fare as chance allows in models that never saw them"; a small one says the audit errs.

        Given a model, the secrets that it never saw are still uniform and independent of each other, so its pairs are
        independent, and so are those of models with other secrets. Models with the same secrets are not: one may hold
        what another lacks. So models are taken in rounds, in each of which no two share secrets. A round's e-value is
        the mean of two: the mean of its pairs' e-values, for one lucky guess; and the mean over bets b = 1/2, 1/4, ...
        of the product of 1 - b + b e, for many. Means of e-values are e-values whatever they have in common, so rounds
        are averaged, and 1 / e is a p-value (Vovk, Wang 2021, E-values: Calibration, Combination and Applications).

        Args:
            scores: whose evidence is looked at.
            pairs: bool[models, canaries], where the model never saw the canary's secret.
        """
        values = self.e_values(scores)
        pairs = pairs & ~np.isnan(values)
        of_rounds = [_log_e_value(values[mine][pairs[mine]]) for mine in _rounds(scores) if pairs[mine].any()]
        if not of_rounds:
            return 1.0
        return math.exp(min(0.0, math.log(len(of_rounds)) - float(logsumexp(of_rounds))))


def _rounds(scores: Scores) -> list[NDArray[np.intp]]:
    """Numbers of models, in rounds in which no two share secrets."""
    sets = np.zeros(scores.models, dtype=np.int64) if scores.secret_set is None else scores.secret_set
    seen: dict[int, int] = {}
    rounds: list[list[int]] = []
    for model, one in enumerate(sets.tolist()):
        number = seen[one] = seen.get(one, -1) + 1
        if number == len(rounds):
            rounds.append([])
        rounds[number].append(model)
    return [np.array(models, dtype=np.intp) for models in rounds]


def _log_e_value(values: NDArray[np.float64]) -> float:
    """Log of an e-value from at least one independent e-value."""
    bets = 0.5 ** np.arange(1, math.ceil(math.log2(len(values))) + 2)
    with np.errstate(divide="ignore"):
        one = float(np.log(values.mean()))
    products: NDArray[np.float64] = np.log1p(bets[:, None] * (values - 1)).sum(axis=1)
    return float(np.logaddexp(one, logsumexp(products) - math.log(len(bets)))) - math.log(2)


def _as_one(scores: Scores) -> Scores:
    return replace(scores, repetitions=np.ones_like(scores.repetitions))
