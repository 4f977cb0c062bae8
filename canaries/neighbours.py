"""Neighbours: what takes a canary's place where it is out, and which records belong to one user.

A claim of differential privacy names the data sets that it cannot tell apart. Canaries realise such pairs:

    add-or-remove-one   the canary is there, or nothing is in its place
    replace-one         the canary is there, or another record is in its place
    replace-label       the canary is there, or the same features under another label (label privacy)

Each of them for one record, or for a user who owns several: all of the user's records are in, or all are out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import numpy as np

from canaries.base import CanarySet
from canaries.errors import InputError
from canaries.records import ArrayRecords, Dataset, GradientRecords, Records, TextRecords

Neighbours = Literal["add-or-remove-one", "replace-one", "replace-label"]
ADD_OR_REMOVE_ONE: Literal["add-or-remove-one"] = "add-or-remove-one"
REPLACE_ONE: Literal["replace-one"] = "replace-one"
REPLACE_LABEL: Literal["replace-label"] = "replace-label"
NEIGHBOURS: tuple[Neighbours, ...] = (ADD_OR_REMOVE_ONE, REPLACE_ONE, REPLACE_LABEL)


def as_neighbours(canaries: CanarySet, neighbours: str, dataset: Dataset, rng: np.random.Generator) -> CanarySet:
    """The same canaries with what stands in for each where it is out.

    Under replace-one that is a record of the pool, drawn without replacement, whose features (a text: all of it) are
    those of no canary and no reference: else it could be in while its canary is out, or be the canary itself. Under
    replace-label it is the same features with a label drawn uniformly from the other classes.

    Raises:
        InputError: for unknown neighbours, a pool with too few other records, texts under replace-label, a single
            class, or gradients.
    """
    if neighbours == ADD_OR_REMOVE_ONE:
        return replace(canaries, substitutes=None)
    if neighbours in NEIGHBOURS and isinstance(canaries.records, GradientRecords):
        raise InputError(f"Gradients are added or removed; nothing stands in for them under {neighbours!r}.")
    if neighbours == REPLACE_ONE:
        return replace(canaries, substitutes=_others(canaries, dataset, rng))
    if neighbours == REPLACE_LABEL:
        return replace(canaries, substitutes=_relabelled(canaries.records, rng))
    raise InputError(f"Expected neighbours to be one of {', '.join(map(repr, NEIGHBOURS))}, got {neighbours!r}.")


def owned(canaries: CanarySet, records_per_user: int, protected: Literal["record", "user"] = "record") -> CanarySet:
    """The same canaries, each `records_per_user` of them in a row owned by one user.

    Args:
        canaries: canaries without repetitions or secrets; references belong to users of their own.
        records_per_user: how many each user owns.
        protected: what the claim under audit covers; see `CanarySet`.

    Raises:
        InputError: if canaries or references are no multiple of `records_per_user`, or have repetitions or secrets.
    """
    references = int(canaries.reference.sum())
    if records_per_user < 1 or references % records_per_user or (len(canaries) - references) % records_per_user:
        raise InputError(
            f"Expected records_per_user >= 1 that divides {len(canaries) - references} canaries and {references} "
            f"references, got {records_per_user}."
        )
    if canaries.secrets or (canaries.repetitions > 1).any():
        raise InputError("Users own different records: canaries with secrets or repetitions cannot be theirs.")
    counter, users = {True: 0, False: 0}, []
    for reference in canaries.reference:
        owner = counter[bool(reference)] // records_per_user
        users.append(f"{canaries.design}-user-{'reference-' if reference else ''}{owner:04d}")
        counter[bool(reference)] += 1
    return replace(canaries, users=tuple(users), protected=protected)


def _others(canaries: CanarySet, dataset: Dataset, rng: np.random.Generator) -> Records:
    if not len(dataset.pool):
        raise InputError(f"Another record in a canary's place comes from the pool, but '{dataset.name}' has none.")
    planted = set(_features(canaries.records))
    others = np.array([i for i, features in enumerate(_features(dataset.pool)) if features not in planted], np.intp)
    if len(others) < len(canaries):
        raise InputError(
            f"Other records in the place of {len(canaries)} canaries, references included, come from the pool, but "
            f"that of '{dataset.name}' holds {len(others)} that are no canaries themselves; make it larger."
        )
    return dataset.pool.take(rng.choice(others, size=len(canaries), replace=False))


def _features(records: Records) -> Iterator[str | bytes]:
    """What each record is apart from its label, so that equal ones can be found."""
    if isinstance(records, ArrayRecords):
        return (x.tobytes() for x in records.x + 0)  # So that -0 is 0.
    assert isinstance(records, TextRecords)
    return iter(records.texts)


def _relabelled(records: Records, rng: np.random.Generator) -> ArrayRecords:
    if not isinstance(records, ArrayRecords):
        raise InputError("Texts have no label to replace.")
    if records.classes < 2:
        raise InputError("Another label needs at least 2 classes, got 1.")
    shift = rng.integers(1, records.classes, size=len(records))
    return ArrayRecords(records.x, (records.y + shift) % records.classes, records.classes)
