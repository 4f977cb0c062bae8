"""CSV training sets."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from audit.plant.source import Lines, Order, Source, choose, free_name, text_dataset
from audit.plant.tables import ArrayTable
from canaries.errors import InputError
from canaries.records import ArrayRecords, Records, TextRecords


class CsvSource(Source):
    """A CSV file with a header; delimiter, line ending and which columns are quoted are taken from the file.

    Array designs: columns of numbers are features, those of anything else are categories in sorted order; every
    column is scaled to a greatest absolute value of 1 while canaries are made. Text designs: the canary's text goes
    into the column `field`, all else is copied from a random row.

    Args:
        data: the file.
        encoding: the file's.
        path: what messages call it.
        kind: the records that the design makes.
        label: the label column, "label" by default, for array designs.
        field: the text column, "text" by default, for text designs.

    Raises:
        InputError: for malformed rows and missing columns.
    """

    def __init__(
        self,
        data: bytes,
        encoding: str,
        path: str,
        kind: Literal["array", "text"],
        label: str | None,
        field: str | None,
    ) -> None:
        self._lines = Lines(data, encoding, path)
        raw = logical_rows(self._lines.lines)
        if not raw or not raw[0].strip():
            raise InputError(f"{path} has no header row.")
        self._header, self._raw = raw[0], raw[1:]
        self.rows = len(self._raw)
        self._delimiter = max(",;\t|", key=self._header.count)
        self._names = self._cells(self._header)
        parsed = [(i, self._cells(row)) for i, row in enumerate(self._raw, 1) if row.strip()]
        for i, row in parsed:
            if len(row) != len(self._names):
                raise InputError(f"Data row {i} of {path} has {len(row)} cells, the header has {len(self._names)}.")
        self._table = [row for _, row in parsed]
        self._quoted = self._quoted_columns()
        if kind == "array":
            self._arrays = ArrayTable(
                self._names, self._table, choose(label, "label", self._names, "label", path), path
            )
            self.dataset = self._arrays.dataset
        else:
            self._field = self._names.index(choose(field, "text", self._names, "field", path))
            self.dataset = text_dataset([row[self._field] for row in self._table], path)

    def express(self, records: Records, rng: np.random.Generator) -> list[Any]:
        """Each record as a raw row without its line ending."""
        if isinstance(records, ArrayRecords):
            return [self._row(cells) for cells in self._arrays.cells(records)]
        assert isinstance(records, TextRecords)
        rows = [list(self._table[i]) for i in rng.integers(len(self._table), size=len(records))]
        for row, text in zip(rows, records.texts, strict=True):
            row[self._field] = text
        return [self._row(row) for row in rows]

    def seeded(self, inserted: Sequence[Any], order: Order) -> bytes:
        """Header and original rows byte for byte, and the canaries among them."""
        header = self._header if self._header.endswith("\n") else self._header + self._lines.ending
        return self._lines.join([header], self._raw, inserted, order)

    def listing(self, ids: Sequence[str], rows: Sequence[Any]) -> bytes:
        """The same columns after one of canary ids."""
        end = self._lines.ending
        head = free_name(self._names) + self._delimiter + self._header.rstrip("\r\n") + end
        body = "".join(f"{i}{self._delimiter}{row}{end}" for i, row in zip(ids, rows, strict=True))
        return self._lines.encode(self._lines.mark + head + body)

    def _cells(self, row: str) -> list[str]:
        try:
            return next(csv.reader(io.StringIO(row, newline=""), delimiter=self._delimiter))
        except csv.Error as error:
            raise InputError(f"{self._lines.path} has a row that is no CSV ({error}): {row[:80]!r}.") from None

    def _row(self, cells: Sequence[str]) -> str:
        return self._delimiter.join(
            '"' + cell.replace('"', '""') + '"'
            if quoted or any(special in cell for special in (self._delimiter, '"', "\n", "\r"))
            else cell
            for cell, quoted in zip(cells, self._quoted, strict=True)
        )

    def _quoted_columns(self) -> list[bool]:
        """Which columns are in quotes in every row that can be told apart simply."""
        simple = [row.rstrip("\r\n").split(self._delimiter) for row in self._raw]
        simple = [row for row in simple if len(row) == len(self._names)]
        return [bool(simple) and all(row[i].startswith('"') for row in simple) for i in range(len(self._names))]


def logical_rows(lines: Sequence[str]) -> list[str]:
    """Lines joined where a quoted cell goes on over the line's end (an odd number of quotes so far)."""
    rows, open_row = [], ""
    for line in lines:
        open_row += line
        if open_row.count('"') % 2 == 0:
            rows.append(open_row)
            open_row = ""
    return [*rows, open_row] if open_row else rows
