"""A table of your own, in a CSV file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.csv_text import read_csv_text
from audit.training.datasets.base import DatasetSource, classes_of, existing, split, standardise
from canaries.errors import InputError
from canaries.records import ArrayRecords, Dataset


@dataclass(frozen=True)
class Csv(DatasetSource):
    """A CSV file with a header: columns of numbers become one feature each, all others one feature for each value.

    Features are standardised by the test part, which stands for public data. Which values a column has is taken from
    the whole file: it counts as public.

    Attributes:
        path: the file.
        label: the name of the column to predict; class i is its i-th value in sorted order.
        train, pool, test: sizes of the parts; train None takes all that is left.
        categorical: columns whose numbers are names of categories.
        standardised: false keeps columns of numbers as they are.
    """

    name: ClassVar[str] = "csv"
    kind: ClassVar[Literal["array", "text"]] = "array"

    path: str
    label: str
    train: int | None = None
    pool: int = 0
    test: int = 0
    categorical: tuple[str, ...] = ()
    standardised: bool = True

    def load(self, seed: int) -> Dataset:
        """The table, split by `seed`.

        Raises:
            InputError: if the file is missing or malformed, a cell is empty or no number among numbers, or the sizes
                do not fit.
        """
        table = self._read(existing(self.path, "Give the path of a CSV file with a header."))
        parts = split(self.name, len(table), self.train, self.pool, self.test, seed)
        labels = pd.to_numeric(table[self.label], errors="coerce").to_numpy()
        if np.isnan(labels).any():
            labels = table[self.label].to_numpy(dtype=str)
        y, classes = classes_of(labels)
        features = [self._features(table[column], parts[2]) for column in table.columns if column != self.label]
        if not features:
            raise InputError(f"{self.path} has no column beside the label '{self.label}'.")
        records = ArrayRecords(np.concatenate(features, axis=1), y, classes)
        return Dataset(self.name, *(records.take(part) for part in parts))

    def _read(self, path: Path) -> pd.DataFrame:
        table = read_csv_text(path)
        for column in (self.label, *self.categorical):
            if column not in table.columns:
                raise InputError(f"{path} has no column '{column}'; it has {', '.join(map(str, table.columns))}.")
        for column in table.columns:
            if (blank := (table[column].str.strip() == "").to_numpy()).any():
                raise InputError(f"Data row {blank.argmax() + 1} of {path} has no value in column '{column}'.")
        return table

    def _features(self, cells: pd.Series[str], test: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32[n, 1] of a column of numbers, float32[n, values] of another."""
        numbers = pd.to_numeric(cells, errors="coerce").to_numpy(dtype=np.float64)
        bad = ~np.isfinite(numbers)
        if cells.name in self.categorical or bad.all():
            value, count = classes_of(cells.to_numpy(dtype=str))
            return np.eye(count, dtype=np.float32)[value]
        if bad.any():
            row = int(bad.argmax())
            raise InputError(
                f"Data row {row + 1} of {self.path} has {cells.iloc[row]!r} in column '{cells.name}', whose other "
                f"cells are numbers (if they name categories, list the column in categorical)."
            )
        column = numbers.astype(np.float32)[:, None]
        return standardise(self.name, column, test) if self.standardised else column
