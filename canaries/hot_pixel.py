"""Hot-pixel canaries: records that are zero but for one large feature."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from canaries.base import CanaryDesign, Secret
from canaries.errors import InputError
from canaries.labels import LEAST_LIKELY, InitialModel, Label, check_label, draw_labels
from canaries.records import ArrayRecords, Dataset, Records

PORTION = 2**24
"""Values that the initial model is asked about at once: 64 MB."""


@dataclass(frozen=True)
class HotPixel(CanaryDesign):
    """One feature of `value`, all others zero: a clipped gradient that hardly any other record's points along.

    Its gradient in the first layer lies in the weights of that one feature, which no record moves where the feature is
    dead; the blank record of Nasr et al. (2023) has only the biases there, which every record moves.

    The first canary's hot feature is the one that is smallest in the training data (the least sum of squares, the
    lowest index first), the second's is the next, and so on, over again. Under `pixel = "least-likely"` it is the one
    whose record's least likely label is least likely of all under the model that training starts from. Such a feature
    weighs much in the model: the noise of training changes less which hidden units it turns on, and the directions in
    which the canary pulls stay aligned from step to step.

    Attributes:
        value: of the hot feature, in the units of the data as the model sees it.
        pixel: which feature is hot, "darkest" or "least-likely"; the latter goes with the label of that name.
        label: the label of every canary; "least-likely" asks the model that training starts from; None draws each
            class once before any comes again.
    """

    name: ClassVar[str] = "hot-pixel"
    kind: ClassVar[Literal["array", "text"]] = "array"

    value: float = 10.0
    pixel: Literal["darkest", "least-likely"] = "darkest"
    label: Label = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.value) or self.value == 0:
            raise InputError(f"Expected a finite value other than 0 for hot-pixel canaries, got {self.value}.")
        check_label(self.label, self.name)
        if self.pixel not in ("darkest", LEAST_LIKELY):
            raise InputError(
                f"Expected pixel to be 'darkest' or '{LEAST_LIKELY}' for hot-pixel canaries, got {self.pixel!r}."
            )
        if self.pixel == LEAST_LIKELY and self.label != LEAST_LIKELY:
            raise InputError(
                f"Hot-pixel canaries with pixel = '{LEAST_LIKELY}' need label = '{LEAST_LIKELY}', got {self.label!r}."
            )

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
        darkest = np.resize(np.argsort(energy, kind="stable"), count)
        return replace(self._hot(darkest, energy.size, train.x.shape[1:], train.classes), y=y), ()

    def settle(self, initial: InitialModel, records: ArrayRecords) -> ArrayRecords:
        """The least likely labels; before them, where `pixel` says so, the features where those are least likely."""
        if self.pixel == LEAST_LIKELY:
            shape, n = records.x.shape[1:], math.prod(records.x.shape[1:])
            least = np.concatenate(
                [initial(self._hot(part, n, shape, records.classes)).min(axis=1) for part in _parts(n)]
            )
            order = np.resize(np.argsort(least, kind="stable"), len(records))
            records = self._hot(order, n, shape, records.classes)
        return super().settle(initial, records)

    def _hot(self, places: NDArray[np.int64], features: int, shape: tuple[int, ...], classes: int) -> ArrayRecords:
        x = np.zeros((len(places), features), dtype=np.float32)
        x[np.arange(len(places)), places] = self.value
        return ArrayRecords(x.reshape(len(places), *shape), np.zeros(len(places), dtype=np.int64), classes)


def _parts(features: int) -> list[NDArray[np.int64]]:
    """All features, in portions of so many that one record for each is PORTION values at most."""
    size = max(1, PORTION // features)
    return [np.arange(start, min(start + size, features)) for start in range(0, features, size)]
