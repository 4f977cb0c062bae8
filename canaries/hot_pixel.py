"""Hot-pixel canaries: records that are zero but for one large feature."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from canaries.base import CanaryDesign, Secret
from canaries.errors import InputError
from canaries.labels import LEAST_LIKELY, Label, check_label, draw_labels
from canaries.records import ArrayRecords, Dataset, Records


@dataclass(frozen=True)
class HotPixel(CanaryDesign):
    """One feature of `value`, all others zero: a clipped gradient that hardly any other record's points along.

    Its gradient in the first layer lies in the weights of that one feature, which no record moves where the feature is
    dead; the blank record of Nasr et al. (2023) has only the biases there, which every record moves.

    The first canary's hot feature is the one that is smallest in the training data (the least sum of squares, the
    lowest index first), the second's is the next, and so on, over again.

    Attributes:
        value: of the hot feature, in the units of the data as the model sees it.
        label: the label of every canary; "least-likely" asks the model that training starts from; None draws each
            class once before any comes again.
    """

    name: ClassVar[str] = "hot-pixel"
    kind: ClassVar[Literal["array", "text"]] = "array"

    value: float = 10.0
    label: Label = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.value) or self.value == 0:
            raise InputError(f"Expected a finite value other than 0 for hot-pixel canaries, got {self.value}.")
        check_label(self.label, self.name)

    @property
    def needs_initial_model(self) -> bool:
        """Where the label is the least likely one."""
        return self.label == LEAST_LIKELY

    def craft(self, dataset: Dataset, count: int, rng: np.random.Generator) -> tuple[Records, tuple[Secret, ...]]:
        """`count` records with one hot feature each.

        Raises:
            InputError: if there is no training record, or `label` is no class of the data.
        """
        train = dataset.train
        assert isinstance(train, ArrayRecords)
        if not len(train):
            raise InputError(f"Hot pixels are placed by training data, but '{dataset.name}' has none.")
        y = draw_labels(self.label, train.classes, count, rng, self.name)
        energy = (train.x.reshape(len(train), -1).astype(np.float64) ** 2).sum(axis=0)
        x = np.zeros((count, energy.size), dtype=np.float32)
        x[np.arange(count), np.resize(np.argsort(energy, kind="stable"), count)] = self.value
        return ArrayRecords(x.reshape(count, *train.x.shape[1:]), y, train.classes), ()
