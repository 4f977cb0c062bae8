"""Distance to the decision boundary along a line, by bisection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from attacks.label_only.base import Floats, LabelOnly
from attacks.view import ArrayView
from canaries.base import CanarySet
from canaries.errors import InputError
from canaries.records import ArrayRecords


@dataclass(frozen=True)
class BoundaryDistance(LabelOnly):
    """Score = share of a line through the canary that the model gives the canary's label, by bisection.

    Choquette-Choo, Tramer, Carlini, Papernot (2021), "Label-Only Membership Inference Attacks", section 4.3, measure
    the distance to the decision boundary in whatever direction it is least, for thousands of queries. Along one line,
    the same for every model, a dozen do: what a model has learnt of a canary moves the boundary there too.

    The line goes from a reference point of another class through the canary and on, by `beyond` times as far. Two
    queries look at its ends; where they differ (canary's label or not), the others bisect, and the score is the share
    of the line on the canary's label's side, to 2^(2 - queries) of its length. Where both ends have the canary's label
    the score is 1, where none has it is 0; the queries are made all the same, so that every model gets equally many.

    Attributes:
        queries: for each canary, the two ends included.
        reference: "canary", the nearest canary of another label, or "blank", the all-zero record (with beyond = 1 the
            line then holds the canary scaled by 0 to 2).
        beyond: how far the line goes on past the canary, in distances between canary and reference. Canaries that are
            calibrated onto the boundary need it: without it half of all models would tie at 0.
    """

    name: ClassVar[str] = "boundary-distance"

    queries: int = 12
    reference: Literal["canary", "blank"] = "canary"
    beyond: float = 1.0

    def __post_init__(self) -> None:
        if self.queries < 3:
            raise InputError(f"Expected queries >= 3 for attack '{self.name}', got {self.queries}.")
        if self.reference not in ("canary", "blank"):
            raise InputError(f"Expected reference 'canary' or 'blank' for '{self.name}', got {self.reference!r}.")
        if not 0 <= self.beyond < float("inf"):
            raise InputError(f"Expected a finite beyond >= 0 for attack '{self.name}', got {self.beyond}.")

    def measure(self, view: ArrayView, records: ArrayRecords, ids: tuple[str, ...], seed: int) -> Floats:
        """The share of the line, float64[models, canaries].

        Raises:
            InputError: where a canary has no reference point: no canary of another label, or the canary is blank.
        """
        start = records.x
        step = self.references(records) - start  # From the canary to the reference, position 0 to 1.

        def at(position: Floats) -> NDArray[np.float32]:
            return start + position.reshape(*position.shape, *(1,) * (start.ndim - 1)).astype(np.float32) * step

        position, sign = bisect(view, at, records.y, -self.beyond, 1.0, self.queries)
        share = (position + self.beyond) / (1 + self.beyond)
        return np.where(sign > 0, share, 1 - share)

    def check(self, canaries: CanarySet) -> None:
        """Refuse canaries that have no reference point.

        Raises:
            InputError: for such canaries.
        """
        super().check(canaries)
        if isinstance(canaries.records, ArrayRecords):
            self.references(canaries.records)

    def references(self, records: ArrayRecords) -> NDArray[np.float32]:
        """float32[canaries, ...]: the reference point of each canary."""
        if self.reference == "blank":
            if not records.x.reshape(len(records), -1).any(axis=1).all():
                raise InputError(f"Attack '{self.name}' found a blank canary, which a blank reference leads nowhere.")
            return np.zeros_like(records.x)
        flat = records.x.reshape(len(records), -1).astype(np.float64)
        nearest = np.empty(len(records), dtype=np.intp)
        for i in range(len(records)):
            others = np.flatnonzero(records.y != records.y[i])
            if not len(others):
                raise InputError(
                    f"Attack '{self.name}' needs a reference point of another class, but all canaries have label "
                    f"{records.y[i]}; use reference = 'blank'."
                )
            nearest[i] = others[((flat[others] - flat[i]) ** 2).sum(axis=1).argmin()]
        return records.x[nearest]


def bisect(
    view: ArrayView,
    at: Callable[[Floats], NDArray[np.float32]],
    y: NDArray[np.int64],
    low: float,
    high: float,
    queries: int,
) -> tuple[Floats, Floats]:
    """Where along a line each model's answer changes between the canary's label and another.

    Args:
        view: the models.
        at: positions float64[models, canaries] -> float32[models, canaries, ...]; model i asks about row i.
        y: int64[canaries], the labels.
        low: one end of the line.
        high: the other end.
        queries: for each canary, at least 2: the ends, then bisection.

    Returns:
        position, float64[models, canaries], and sign: 1 where the label is at `low` and ends at position, -1 where it
        begins at position and is at `high`. Where both ends answer alike, position is `high` with sign 1 (the label at
        both) or -1 (at neither), so that the label's side has all of the line, or nothing.
    """
    shape = (view.models, len(y))

    def given(position: Floats) -> NDArray[np.bool_]:
        return view.labels_each(at(position)) == y

    at_low, at_high = given(np.full(shape, low)), given(np.full(shape, high))
    left, right = np.full(shape, low), np.full(shape, high)
    for _ in range(queries - 2):
        middle = (left + right) / 2
        as_low = given(middle) == at_low
        left, right = np.where(as_low, middle, left), np.where(as_low, right, middle)
    position = np.where(at_low == at_high, high, (left + right) / 2)
    return position, np.where(at_low, 1.0, -1.0)
