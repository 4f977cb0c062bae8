"""Estimators: scores in, a lower bound on epsilon out."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from attacks.scores import Scores
from audit.bounds import ADD_OR_REMOVE_ONE, Bound
from audit.mechanism import DPSGD
from canaries.errors import InputError

LEAVE_ONE_OUT = (
    "Scores that were calibrated leave-one-out depend on each other's coins, so nothing can be proven from them; "
    "calibrate on held-out models instead."
)

HELD_OUT = ("calibration on other models, which are not scored themselves",)


@dataclass(frozen=True)
class Estimator(ABC):
    """One way to turn scores into a bound. A subclass is a frozen dataclass; its fields are its configuration.

    Class attributes:
        name: what the configuration and the report call it.
        assumptions: what the bound needs, in words.
        parametric: true if it assumes the shape of the mechanism's trade-off curve.
        needs: names of the evidence without which it cannot be used; one that needs any reads no scores.
    """

    name: ClassVar[str]
    assumptions: ClassVar[tuple[str, ...]]
    parametric: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def epsilon(self, scores: Scores, delta: float, confidence: float, seed: int) -> float:
        """The largest epsilon >= 0 that the scores refute at `confidence`, for one copy of a canary; 0 if none.

        `scores` holds no references. Deterministic given `seed`.
        """

    def inapplicable(self, scores: Scores) -> str | None:
        """Why this estimator cannot be used on these scores, as a sentence; None if it can."""
        return None

    def misfit(self, mechanism: DPSGD) -> str | None:
        """Why bounds on this mechanism would not be what they are called, as a sentence; None if they are."""
        return None

    @property
    def only_for(self) -> str | None:
        """The one adjacency that its bounds are for; None for any."""
        return None

    def whole(self, scores: Scores, delta: float, confidence: float, seed: int) -> float | None:
        """The bound for a whole canary, all its records at once, which holds beside `epsilon`; None without one."""
        return None

    def corrected_for(self, scores: Scores) -> tuple[str, ...]:
        """What this estimator chose on the data, and how that was paid for."""
        return ()

    def samples(self, scores: Scores) -> dict[str, Any]:
        """The counts behind the bound, for the report."""
        return {
            "models": scores.models,
            "canaries": len(scores.ids),
            "members": int(scores.member.sum()),
            "non_members": int((~scores.member).sum()),
        }

    def perfect(self, scores: Scores) -> Scores:
        """The same coins as a perfect attack would have scored them."""
        return replace(scores, score=scores.member.astype(np.float64))

    def bound(
        self,
        scores: Scores,
        delta: float,
        confidence: float = 0.95,
        adjacency: str = ADD_OR_REMOVE_ONE,
        seed: int = 0,
        corrected_for: tuple[str, ...] = (),
    ) -> Bound:
        """The bound, with its assumptions and with what a perfect attack could have shown.

        References are left out. `corrected_for` names what the caller has already paid for in `confidence`.

        Raises:
            InputError: for delta outside [0, 1), confidence outside (0, 1), scores this estimator cannot use, or scores
                that were made from each other's coins.
        """
        if not 0 <= delta < 1:
            raise InputError(f"Expected delta in [0, 1), got {delta}.")
        if not 0 < confidence < 1:
            raise InputError(f"Expected confidence in (0, 1), got {confidence}.")
        if self.only_for not in (None, adjacency):
            raise InputError(
                f"Estimator '{self.name}' gives bounds for {self.only_for}, but the neighbours are {adjacency}; "
                "set its adjacency."
            )
        if scores.calibrated == "leave-one-out":
            raise InputError(LEAVE_ONE_OUT)
        calibrated = scores.calibrated == "held-out"
        scores = scores.select(~scores.reference)
        if reason := self.inapplicable(scores):
            raise InputError(f"Estimator '{self.name}' cannot be used here: {reason}")
        epsilon = self.epsilon(scores, delta, confidence, seed)
        ceiling = self.epsilon(self.perfect(scores), delta, confidence, seed)
        whole = self.whole(scores, delta, confidence, seed)
        if not math.isfinite(epsilon):
            raise ArithmeticError(f"Estimator '{self.name}' returned {epsilon}.")
        return Bound(
            epsilon=max(0.0, epsilon),
            delta=delta,
            confidence=confidence,
            adjacency=adjacency,
            estimator=self.name,
            assumptions=self.assumptions,
            corrected_for=corrected_for + self.corrected_for(scores) + (HELD_OUT if calibrated else ()),
            ceiling=max(0.0, ceiling),
            parametric=self.parametric,
            samples=self.samples(scores),
            whole=None if whole is None else max(0.0, whole),
        )
