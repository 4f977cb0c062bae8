"""A canary's label: named, drawn, or the least likely one under the model that training starts from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from canaries.errors import InputError
from canaries.records import ArrayRecords

LEAST_LIKELY: Literal["least-likely"] = "least-likely"

Label = int | Literal["least-likely"] | None
"""A class; "least-likely"; or None, drawn by the design."""

InitialModel = Callable[[ArrayRecords], NDArray[np.float64]]
"""The model that every training starts from: n records -> class probabilities float64[n, classes]."""


def check_label(label: Label, design: str) -> None:
    """Refuse a label that no data could have.

    Raises:
        InputError: for a negative class or another word.
    """
    if label is None or label == LEAST_LIKELY or (isinstance(label, int) and label >= 0):
        return
    raise InputError(f"Expected label to be a class, or '{LEAST_LIKELY}', for {design} canaries, got {label!r}.")


def draw_labels(label: Label, classes: int, count: int, rng: np.random.Generator, design: str) -> NDArray[np.int64]:
    """int64[count]: `label`, or each class once in random order before any comes again.

    "least-likely" draws too: the drawn labels stand until the initial model is asked (`least_likely_under`).

    Raises:
        InputError: if `label` is no class of the data.
    """
    if isinstance(label, int):
        if not 0 <= label < classes:
            raise InputError(f"Expected label in [0, {classes}) for {design} canaries, got {label}.")
        return np.full(count, label, dtype=np.int64)
    return np.resize(rng.permutation(classes), count)


def least_likely_under(initial: InitialModel, records: ArrayRecords) -> ArrayRecords:
    """The same features, each with its least likely class under the initial model; ties go to the lowest class.

    Annamalai and De Cristofaro (2024), "Nearly Tight Black-Box Auditing of Differentially Private Machine Learning":
    where training starts from parameters that fit disjoint data, this label's gradient is the largest there is.
    """
    return ArrayRecords(records.x, np.asarray(initial(records)).argmin(axis=1), records.classes)
