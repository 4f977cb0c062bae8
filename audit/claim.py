"""The claim under audit: what the accountant says about a training pipeline."""

from __future__ import annotations

import math
from dataclasses import dataclass

from audit.bounds import ADD_OR_REMOVE_ONE
from audit.mechanism import DPSGD
from canaries.errors import InputError
from canaries.neighbours import NEIGHBOURS


@dataclass(frozen=True)
class Claim:
    """(epsilon, delta)-DP for one `unit`, as somebody claims it.

    Attributes:
        epsilon: in nats, > 0; infinity says that nothing is claimed (a control).
        delta: in [0, 1).
        unit: what one neighbour adds or removes: "record", "text", "user", ...
        adjacency: "add-or-remove-one", "replace-one", or "replace-label" (label privacy).
        sampling: how batches are drawn: "poisson", "full-batch", "unknown", or other words.
        accountant: who computed it: "pld", "opacus-prv", "stated", ...
        mechanism: what is claimed to have been run; the test of the claim then uses its whole trade-off curve.

    Raises:
        InputError: for values out of these ranges.
    """

    epsilon: float
    delta: float
    unit: str = "record"
    adjacency: str = ADD_OR_REMOVE_ONE
    sampling: str = "unknown"
    accountant: str = "stated"
    mechanism: DPSGD | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "epsilon", float(self.epsilon))  # So that 8 and 8.0 draw the same coins.
        if math.isnan(self.epsilon) or self.epsilon <= 0:
            raise InputError(f"Expected a claimed epsilon > 0 (inf allowed), got {self.epsilon}.")
        if not 0 <= self.delta < 1:
            raise InputError(f"Expected delta in [0, 1), got {self.delta}.")
        if self.adjacency not in NEIGHBOURS:
            raise InputError(
                f"Expected adjacency to be one of {', '.join(map(repr, NEIGHBOURS))}, got '{self.adjacency}'."
            )

    @property
    def is_control(self) -> bool:
        """True where nothing is claimed: the positive control of a sweep."""
        return math.isinf(self.epsilon)

    @property
    def has_curve(self) -> bool:
        """True where the claim is a whole trade-off curve, and not (epsilon, delta) alone."""
        return not self.is_control and self.mechanism is not None and self.mechanism.noise_multiplier > 0

    def __str__(self) -> str:
        if self.is_control:
            return "no privacy claimed"
        neighbours = "" if self.adjacency == ADD_OR_REMOVE_ONE else f" under {self.adjacency}"
        return f"({self.epsilon:g}, {self.delta:g})-DP per {self.unit}{neighbours}"
