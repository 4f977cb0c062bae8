"""Tables of text cells as records: what CSV and JSONL files share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from audit.plant.columns import Column
from canaries.errors import InputError
from canaries.records import ArrayRecords, Dataset


class ArrayTable:
    """Cells with a label column as labelled arrays: one feature for each other column.

    Args:
        names: of the columns.
        cells: [rows][columns].
        label: the name of the label column.
        path: what messages and the data set are called.

    Raises:
        InputError: if there is no row, or no column beside the label.
    """

    def __init__(self, names: Sequence[str], cells: Sequence[Sequence[str]], label: str, path: str) -> None:
        if not cells or len(names) < 2:
            raise InputError(f"Expected one row or more, and columns beside the label '{label}', in {path}.")
        self._label = list(names).index(label)
        columns = list(zip(*cells, strict=True))
        self._columns = [Column.learn(column, i == self._label) for i, column in enumerate(columns)]
        encoded = [column.encode(values) for column, values in zip(self._columns, columns, strict=True)]
        target = self._columns[self._label]
        y = np.rint(encoded[self._label].astype(np.float64) * target.scale).astype(np.int64)
        x = np.stack([feature for i, feature in enumerate(encoded) if i != self._label], axis=1)
        train = ArrayRecords(x, y, len(target.values))
        self.dataset = Dataset(path, train, train, train.take(slice(0)))

    def cells(self, records: ArrayRecords) -> list[list[str]]:
        """[canaries][columns]: each record as cells."""
        features = iter(records.x.T)
        columns = [
            self._label_cells(records.y) if i == self._label else column.decode(next(features))
            for i, column in enumerate(self._columns)
        ]
        return [list(row) for row in zip(*columns, strict=True)]

    def _label_cells(self, y: NDArray[np.int64]) -> list[str]:
        return [self._columns[self._label].values[i] for i in y]
