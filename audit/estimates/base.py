"""Heuristics: scores in, an `Estimate` out, which no gate accepts."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from attacks.scores import Scores
from audit.bounds import Estimate
from audit.estimators.threshold import Floats
from canaries.errors import InputError


@dataclass(frozen=True)
class Heuristic(ABC):
    """One way to estimate epsilon. A subclass is a frozen dataclass; its fields are its configuration.

    Class attributes:
        name: what reports call it.
        caveat: why it is no bound.
    """

    name: ClassVar[str]
    caveat: ClassVar[str]

    @abstractmethod
    def interval(self, ins: Floats, outs: Floats, delta: float, level: float, seed: int) -> tuple[float, float, float]:
        """(epsilon, low, high) from float[n_in] and float[n_out] finite scores."""

    def estimate(self, scores: Scores, delta: float, level: float = 0.95, seed: int = 0) -> Estimate:
        """The estimate; scores of all models and canaries are taken as draws from two laws, references left out.

        Raises:
            InputError: for delta or level outside (0, 1), fewer than two scores of a side, or infinite ones.
        """
        if not 0 < delta < 1:
            raise InputError(f"Expected delta in (0, 1), got {delta}.")
        if not 0 < level < 1:
            raise InputError(f"Expected level in (0, 1), got {level}.")
        scores = scores.select(~scores.reference)
        ins, outs = scores.score[scores.member], scores.score[~scores.member]
        if min(len(ins), len(outs)) < 2:
            raise InputError(f"Expected two scores of either side at least, got {len(ins)} in and {len(outs)} out.")
        if not (np.isfinite(ins).all() and np.isfinite(outs).all()):
            raise InputError(f"Estimate '{self.name}' needs finite scores.")
        epsilon, low, high = self.interval(ins, outs, delta, level, seed)
        if math.isnan(epsilon):
            raise ArithmeticError(f"Estimate '{self.name}' returned {epsilon}.")
        return Estimate(epsilon, low, high, level, delta, self.name, self.caveat)
