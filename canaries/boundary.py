"""Boundary canaries: blends of two hot pixels between which models change their mind, for attacks that see labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from canaries.base import CanaryDesign, Secret
from canaries.errors import InputError
from canaries.labels import InitialModel
from canaries.records import ArrayRecords, Dataset, Records

OF_EACH_CLASS, PLACES, HALVINGS = 3, 41, 12
"""Hot pixels of each class that are paired; places looked at along a line; bisections of the last step."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Boundary(CanaryDesign):
    """Records on a line between two hot pixels, near where the model that training starts from changes its label.

    A label alone says most about membership where models without the canary mostly say one thing and models with it
    another; anywhere else it hardly ever changes (the gap attack of Yeom et al. 2018 sees nothing of a canary that is
    always misclassified). Each canary lies (1 - s) of the way from one hot pixel to another; the initial model gives
    the two different labels, and changes from the first to the second at s. The canary's label is the second, and it
    stands `shift` before that place, where the first is given still: a model that has learnt it moves the change
    towards the first. How far training alone moves it, only trained models tell: try several shifts in a pilot, with
    "gap" or "noise-robustness" as the audit's first attack.

    Pairs without a third label on the line are taken in the order of what the initial model gives both classes together
    where it changes: a third class would move losses and no label.

    Attributes:
        value: of a hot pixel, in the units of the data as the model sees it.
        shift: from the initial model's change towards the first hot pixel, as a share of the line; may be negative.
    """

    name: ClassVar[str] = "boundary"
    kind: ClassVar[Literal["array", "text"]] = "array"

    value: float = 10.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.value) or self.value == 0:
            raise InputError(f"Expected a finite value other than 0 for boundary canaries, got {self.value}.")
        if not -1 < self.shift < 1:
            raise InputError(f"Expected shift in (-1, 1) for boundary canaries, got {self.shift}.")

    @property
    def needs_initial_model(self) -> bool:
        """Always: it says where the boundary is."""
        return True

    def craft(self, dataset: Dataset, count: int, rng: np.random.Generator) -> tuple[Records, tuple[Secret, ...]]:
        """`count` blank records, which `settle` replaces; nothing is random."""
        del rng
        train = dataset.train
        assert isinstance(train, ArrayRecords)
        x = np.zeros((count, *train.x.shape[1:]), dtype=np.float32)
        return ArrayRecords(x, np.zeros(count, dtype=np.int64), train.classes), ()

    def settle(self, initial: InitialModel, records: ArrayRecords) -> ArrayRecords:
        """As many records on the initial model's boundary, the best pair first, all over again where pairs run out.

        Raises:
            InputError: if the initial model gives all hot pixels one label, or always a third between two.
        """
        line = _Lines(initial, records.x.shape[1:], records.classes, self.value)
        first, second, at, both = line.crossings()
        if not len(at):
            raise InputError(
                "Boundary canaries lie between two hot pixels of different labels, but the initial model gives none, "
                f"or a third label between them, at value {self.value}."
            )
        best = np.resize(np.argsort(-both, kind="stable"), len(records))
        first, second, at = first[best], second[best], at[best]
        y = line.labels(first, second, np.ones(len(best)))
        return ArrayRecords(line.records(first, second, np.clip(at - self.shift, 0.0, 1.0)).x, y, records.classes)


@dataclass(frozen=True, eq=False)
class _Lines:
    """Lines between hot pixels, and what the initial model says along them."""

    initial: InitialModel
    shape: tuple[int, ...]
    classes: int
    value: float

    def records(self, first: NDArray[np.int64], second: NDArray[np.int64], place: Floats) -> ArrayRecords:
        """Record i: pixel first[i] is 1 - place[i] of the value, pixel second[i] place[i] of it."""
        x = np.zeros((len(first), math.prod(self.shape)), dtype=np.float32)
        row = np.arange(len(first))
        x[row, first] = self.value * (1 - place)
        x[row, second] = self.value * place
        return ArrayRecords(x.reshape(-1, *self.shape), np.zeros(len(first), dtype=np.int64), self.classes)

    def labels(self, first: NDArray[np.int64], second: NDArray[np.int64], place: Floats) -> NDArray[np.int64]:
        """int64[n], the initial model's."""
        return np.asarray(self.initial(self.records(first, second, place))).argmax(axis=1)

    def crossings(self) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats, Floats]:
        """Pairs of pixels, where the label changes between them, and the probability of both labels there."""
        pixels = np.arange(math.prod(self.shape))
        p = np.asarray(self.initial(self.records(pixels, pixels, np.ones(len(pixels)))))
        label, sure = p.argmax(axis=1), p.max(axis=1)
        order = np.argsort(-sure, kind="stable")
        chosen = np.concatenate([order[label[order] == c][:OF_EACH_CLASS] for c in range(self.classes)])
        first, second = (side.ravel() for side in np.meshgrid(chosen, chosen, indexing="ij"))
        first, second = first[label[first] != label[second]], second[label[first] != label[second]]
        a, b = label[first], label[second]
        said = np.stack([self.labels(first, second, np.full(len(first), s)) for s in np.linspace(0, 1, PLACES)])
        changes = (said[1:] != said[:-1]).sum(axis=0)
        once = ((said == a) | (said == b)).all(axis=0) & (changes == 1)
        first, second, a, b = first[once], second[once], a[once], b[once]
        low, high = np.zeros(len(a)), np.ones(len(a))
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            beyond = self.labels(first, second, middle) == b
            low, high = np.where(beyond, low, middle), np.where(beyond, middle, high)
        p, row = np.asarray(self.initial(self.records(first, second, high))), np.arange(len(a))
        return first, second, high, p[row, a] + p[row, b]
