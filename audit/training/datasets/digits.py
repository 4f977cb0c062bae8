"""scikit-learn's handwritten digits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from sklearn.datasets import load_digits

from audit.training.datasets.base import DatasetSource, split_records
from canaries.records import ArrayRecords, Dataset


@dataclass(frozen=True)
class Digits(DatasetSource):
    """1,797 handwritten digits of 8x8 pixels in [0, 1], 10 classes (UCI optical recognition, by scikit-learn).

    Attributes:
        train, pool, test: sizes of the parts; train None takes all that is left.
        flat: 64 features; otherwise images of shape [1, 8, 8].
    """

    name: ClassVar[str] = "digits"
    kind: ClassVar[Literal["array", "text"]] = "array"

    train: int | None = None
    pool: int = 300
    test: int = 400
    flat: bool = True

    def load(self, seed: int) -> Dataset:
        """The digits, split by `seed`."""
        pixels, y = load_digits(return_X_y=True)
        x = (pixels / 16).astype(np.float32).reshape((-1, 64) if self.flat else (-1, 1, 8, 8))
        return split_records(self.name, ArrayRecords(x, y, 10), self.train, self.pool, self.test, seed)
