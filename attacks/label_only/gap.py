"""The gap attack: a canary is called a member where the model is right about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from attacks.label_only.base import Floats, LabelOnly
from attacks.view import ArrayView
from canaries.records import ArrayRecords


@dataclass(frozen=True)
class Gap(LabelOnly):
    """Score = 1 where the model gives the canary its label, 0 elsewhere. One query for each canary.

    Yeom, Giacomelli, Fredrikson, Jha (2018), "Privacy Risk in Machine Learning: Analyzing the Connection to
    Overfitting", section 3.2: its advantage is the gap between training and test accuracy.
    """

    name: ClassVar[str] = "gap"

    def measure(self, view: ArrayView, records: ArrayRecords, ids: tuple[str, ...], seed: int) -> Floats:
        """1 or 0, float64[models, canaries]."""
        return (view.labels(records.x) == records.y).astype(np.float64)
