"""scikit-learn's breast cancer data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from sklearn.datasets import load_breast_cancer

from audit.training.datasets.base import DatasetSource, split, standardise
from canaries.records import ArrayRecords, Dataset


@dataclass(frozen=True)
class BreastCancer(DatasetSource):
    """569 tumours with 30 features, malignant (0) or benign (1) (UCI Wisconsin diagnostic, by scikit-learn).

    Features are standardised by the mean and deviation of the test part, which stands for public data: statistics of
    the training part would leak, outside of any claim.

    Attributes:
        train, pool, test: sizes of the parts; train None takes all that is left.
    """

    name: ClassVar[str] = "breast-cancer"
    kind: ClassVar[Literal["array", "text"]] = "array"

    train: int | None = None
    pool: int = 100
    test: int = 100

    def load(self, seed: int) -> Dataset:
        """The tumours, split by `seed`."""
        x, y = load_breast_cancer(return_X_y=True)
        parts = split(self.name, len(x), self.train, self.pool, self.test, seed)
        records = ArrayRecords(standardise(self.name, x.astype(np.float32), parts[2]), y, 2)
        return Dataset(self.name, *(records.take(part) for part in parts))
