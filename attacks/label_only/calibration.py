"""Moving a canary onto the decision boundary of pilot models, so that labels alone tell who trained on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

from attacks.label_only.base import Floats
from attacks.label_only.boundary import bisect
from attacks.view import Access, ArrayView, View
from canaries.base import CanarySet
from canaries.errors import InputError
from canaries.records import ArrayRecords

Family = Callable[[float], CanarySet]
"""position -> canaries that differ from those at another position in their features alone."""

Pilot = Callable[[CanarySet, int], tuple[View, NDArray[np.bool_]]]
"""(canaries, round) -> a view of pilot models trained with and without them, and bool[models]: which trained with."""


@dataclass(frozen=True)
class Round:
    """One round of calibration.

    Attributes:
        position: where the canary stood while the pilots were trained.
        label_with: share of pilots trained with it that gave it its label there.
        label_without: the same of those trained without it.
        found: where both together split evenly.
        unmoved: share of pilots whose label did not change anywhere between the ends.
        auc: how well the place of a pilot's change tells those trained with the canary from those without; near 1 for
            a canary that will show much, 0.5 for one that shows nothing. Designs may be chosen by it, on pilots.
        queries: of each pilot.
    """

    position: float
    label_with: float
    label_without: float
    found: float
    unmoved: float
    auc: float
    queries: int


@dataclass(frozen=True, eq=False)
class Calibration:
    """A canary on the boundary, and how it came there.

    Attributes:
        position: of the canary in its family.
        canaries: the canary.
        rounds: what was measured, in order; the position is the last round's `found`.
    """

    position: float
    canaries: CanarySet
    rounds: tuple[Round, ...]


def calibrate(
    family: Family, pilot: Pilot, low: float, high: float, start: float, rounds: int = 3, queries: int = 14
) -> Calibration:
    """Move one canary along a line to where the labels of pilot models split evenly.

    A label carries most about membership where models trained without the canary mostly say one thing and models
    trained with it another. That place depends on the training, and it moves as the canary does, so each round
    trains pilots with and without the canary where the last round put it, finds by bisection where along the line
    each pilot's answer changes, and takes the weighted median, pilots with and without counting half each.

    The pilots must be held out: the canary is chosen on them, so a bound from their scores would be false. Nothing
    else of them is used. Deterministic if `family` and `pilot` are.

    Args:
        family: one array canary (and any references) for each position in [low, high], always of the same label;
            continuous in the position.
        pilot: trains pilots, some with and some without the canary.
        low: one end, where pilots give one answer.
        high: the other end, where they give the other.
        start: where the canary stands in the first round.
        rounds: how often pilots are trained.
        queries: of each pilot and round, to find its change, at least 3; one more looks at the canary.

    Raises:
        InputError: for values out of range, several canaries or texts, pilots of one kind only, or where no more
            than half of the pilots change their answer between the ends.
    """
    if not low <= start <= high or not low < high:
        raise InputError(f"Expected low <= start <= high and low < high, got {low}, {start} and {high}.")
    if rounds < 1 or queries < 3:
        raise InputError(f"Expected rounds >= 1 and queries >= 3, got {rounds} and {queries}.")
    position, log = float(start), []
    for number in range(rounds):
        canaries = family(position)
        _one_array(canaries)
        view, member = pilot(canaries, number)
        log.append(_measure(family, canaries, view.grant(Access.LABELS), member, position, low, high, queries))
        position = log[-1].found
    return Calibration(position, family(position), tuple(log))


def blend(canaries: CanarySet, other: NDArray[np.floating] | float = 0.0) -> Family:
    """The family (1 - p) * other + p * canary at position p: of a blank `other`, the canary scaled by p.

    References stay where they are.

    Args:
        canaries: array canaries.
        other: float[...] of one record's shape, or one number for all features.

    Raises:
        InputError: for texts.
    """
    records = _arrays(canaries)

    def at(position: float) -> CanarySet:
        x = (1 - position) * np.asarray(other, dtype=np.float64) + position * records.x.astype(np.float64)
        x[canaries.reference] = records.x[canaries.reference]
        return replace(canaries, records=replace(records, x=x.astype(np.float32)))

    return at


def _measure(
    family: Family,
    canaries: CanarySet,
    view: View,
    member: NDArray[np.bool_],
    position: float,
    low: float,
    high: float,
    queries: int,
) -> Round:
    records = _one_array(canaries)
    if not isinstance(view, ArrayView):
        raise InputError("Expected pilots that are classifiers of arrays.")
    if member.shape != (view.models,) or member.all() or not member.any():
        raise InputError(
            f"Expected pilots with and without the canary, and bool[{view.models}] that tells them apart, got "
            f"{int(member.sum())} with it of {member.size}."
        )
    here = view.labels(records.x)[:, 0] == records.y[0]

    def at(positions: Floats) -> NDArray[np.float32]:
        return np.stack([_one_array(family(p)).x for p in positions[:, 0].tolist()])

    where, sign = (each[:, 0] for each in bisect(view, at, records.y, low, high, queries))
    # `high` itself is never a midpoint: there the answer did not change.
    unmoved = where == high
    if unmoved.mean() >= 0.5:
        raise InputError(
            f"Pilots cannot be split: {unmoved.mean():.0%} of them answer alike at positions {low} and {high}; choose "
            "ends, or a label, between which the answer changes."
        )
    rising = np.average(sign[~unmoved] < 0) > 0.5  # The label is at the high end for most.
    # Those that answer alike have their change beyond the end that is unlike the others'.
    where = np.where(unmoved, np.where((sign > 0) == rising, low, high), where)
    above = mannwhitneyu(-where[member] if rising else where[member], -where[~member] if rising else where[~member])
    auc = float(above.statistic) / (int(member.sum()) * int((~member).sum()))
    weights = np.where(member, 1 / member.sum(), 1 / (~member).sum())
    found = float(np.quantile(where, 0.5, weights=weights, method="inverted_cdf"))
    shares = float(here[member].mean()), float(here[~member].mean())
    return Round(position, *shares, found, float(unmoved.mean()), auc, view.queries)


def _one_array(canaries: CanarySet) -> ArrayRecords:
    """The one canary that may be inserted; references stay out."""
    records = _arrays(canaries)
    if (inserted := int((~canaries.reference).sum())) != 1:
        raise InputError(f"Expected one canary to calibrate, references apart, got {inserted}.")
    return records.take(~canaries.reference)


def _arrays(canaries: CanarySet) -> ArrayRecords:
    if not isinstance(canaries.records, ArrayRecords):
        raise InputError(f"Expected canaries that are arrays, got {type(canaries.records).__name__}.")
    return canaries.records
