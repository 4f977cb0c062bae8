"""What an estimator returns: a proven `Bound`, or an `Estimate` that proves nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from canaries.neighbours import ADD_OR_REMOVE_ONE, REPLACE_LABEL, REPLACE_ONE

__all__ = ["ADD_OR_REMOVE_ONE", "REPLACE_LABEL", "REPLACE_ONE", "Bound", "Estimate"]


@dataclass(frozen=True)
class Bound:
    """A lower bound on epsilon that holds with the stated confidence, if its assumptions hold.

    Attributes:
        epsilon: the bound, in nats, at least 0.
        delta: the delta that it is stated at.
        confidence: probability, over the audit's randomness, that epsilon is at least this.
        adjacency: which neighbours the canaries realise.
        estimator: the name of what computed it.
        assumptions: what it needs, in words.
        corrected_for: what was chosen or tried, and paid for.
        ceiling: the largest epsilon that a perfect attack could have shown with as many models and canaries.
        parametric: true if it assumes the shape of the mechanism's trade-off curve.
        samples: the counts behind it, for the report.
        unit: what it is stated for one of: "record", "text", "user", ...
        whole: where secrets stand in several records, the bound for adding or removing a whole secret, all its records
            at once, at the same delta; it holds together with `epsilon`. None where there is no such bound.
    """

    epsilon: float
    delta: float
    confidence: float
    adjacency: str
    estimator: str
    assumptions: tuple[str, ...]
    corrected_for: tuple[str, ...]
    ceiling: float
    parametric: bool
    samples: dict[str, Any]
    unit: str = "record"
    whole: float | None = None


@dataclass(frozen=True)
class Estimate:
    """A point estimate of epsilon. It proves nothing; the gate does not accept it.

    Attributes:
        epsilon: the estimate, in nats.
        low: lower end of its interval.
        high: upper end.
        level: what the interval is meant to hold with; nothing guarantees that it does.
        delta: the delta that it is stated at.
        estimator: the name of what computed it.
        caveat: why it is no bound.
    """

    epsilon: float
    low: float
    high: float
    level: float
    delta: float
    estimator: str
    caveat: str
