"""Blank canaries: records whose features are all zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from canaries.base import CanaryDesign, Secret
from canaries.labels import LEAST_LIKELY, Label, check_label, draw_labels
from canaries.records import ArrayRecords, Dataset, Records


@dataclass(frozen=True)
class Blank(CanaryDesign):
    """An all-zero record, after Nasr et al. (2023), "Tight Auditing of Differentially Private Machine Learning".

    Made for many-run audits with one canary: two blank canaries of one label are the same record, so each
    class is used once, in random order, before any is used again.

    Attributes:
        label: the label of every canary; "least-likely" asks the model that training starts from; None draws labels at
            random.
    """

    name: ClassVar[str] = "blank"
    kind: ClassVar[Literal["array", "text"]] = "array"

    label: Label = None

    def __post_init__(self) -> None:
        check_label(self.label, self.name)

    @property
    def needs_initial_model(self) -> bool:
        """Where the label is the least likely one."""
        return self.label == LEAST_LIKELY

    def craft(self, dataset: Dataset, count: int, rng: np.random.Generator) -> tuple[Records, tuple[Secret, ...]]:
        """`count` all-zero records.

        Raises:
            InputError: if `label` is no class of the data.
        """
        assert isinstance(dataset.train, ArrayRecords)
        classes = dataset.train.classes
        y = draw_labels(self.label, classes, count, rng, self.name)
        x = np.zeros((count, *dataset.train.x.shape[1:]), dtype=np.float32)
        return ArrayRecords(x, y, classes), ()
