"""What bounds from secrets share: a test of every epsilon, for one record, for a whole secret, and for none."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

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

    def chance(self, references: Scores) -> float:
        """P-value of "secrets that were never inserted fare as chance allows"; a small one says that the audit errs."""
        test = self.log_p(_as_one(replace(references, member=np.ones_like(references.member))))
        return 1.0 if test is None else math.exp(test(0.0, 0.0))


def _as_one(scores: Scores) -> Scores:
    return replace(scores, repetitions=np.ones_like(scores.repetitions))
