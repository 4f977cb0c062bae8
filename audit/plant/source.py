"""What a training set's file can do for planting, whatever its format."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from canaries.errors import InputError
from canaries.records import Dataset, Records, TextRecords

Order = NDArray[np.int64]
"""int64[originals + inserted]: positions in the original rows followed by the inserted ones."""


class Source(ABC):
    """A training set as its file holds it.

    Attributes:
        dataset: its records; the pool is the training part itself, and there is no test part.
        rows: how many original rows there are.
    """

    dataset: Dataset
    rows: int

    @abstractmethod
    def express(self, records: Records, rng: np.random.Generator) -> list[Any]:
        """Each record as a row of this file; what the record does not say is copied from a random original row."""

    @abstractmethod
    def seeded(self, inserted: Sequence[Any], order: Order) -> bytes:
        """The file with the rows `inserted`, original and inserted rows in the given order."""

    @abstractmethod
    def listing(self, ids: Sequence[str], rows: Sequence[Any]) -> bytes:
        """A file of the same format that lists rows with the ids of their canaries, for scoring."""

    def describe(self, row: Any) -> Any:
        """A row as the manifest shows it."""
        return row


class Lines:
    """The lines of a text file, each with its ending.

    Args:
        data: the file.
        encoding: the file's; a byte order mark is kept.
        path: what messages call it.

    Raises:
        InputError: if the bytes are not in that encoding.
    """

    def __init__(self, data: bytes, encoding: str, path: str) -> None:
        try:
            text = data.decode(encoding)
        except (UnicodeDecodeError, LookupError) as error:
            raise InputError(f"Cannot read {path} as {encoding}: {error}; name its encoding.") from None
        self.encoding, self.path = encoding, path
        self.mark = "\ufeff" if text.startswith("\ufeff") else ""
        self.lines: list[str] = re.findall(r"[^\n]*\n|[^\n]+", text.removeprefix("\ufeff"))
        self.ending = "\r\n" if self.lines and self.lines[0].endswith("\r\n") else "\n"
        self.closed = bool(self.lines) and self.lines[-1].endswith("\n")

    def join(self, head: Sequence[str], rows: Sequence[str], inserted: Sequence[str], order: Order) -> bytes:
        """`head`, then original `rows` and `inserted` ones in order; the file ends in a line ending if it did."""
        both = [row if row.endswith("\n") else row + self.ending for row in [*rows, *inserted]]
        text = self.mark + "".join(head) + "".join(both[i] for i in order)
        return self.encode(text if self.closed else re.sub(r"\r?\n\Z", "", text))

    def encode(self, text: str) -> bytes:
        """`text` in the file's encoding.

        Raises:
            InputError: for a canary that cannot be written in it.
        """
        try:
            return text.encode(self.encoding)
        except UnicodeEncodeError as error:
            raise InputError(f"The canaries cannot be written in the encoding of {self.path}: {error}.") from None


class TextSource(Source):
    """Plain text, one record on each line; empty lines are kept and are no records."""

    def __init__(self, data: bytes, encoding: str, path: str) -> None:
        self._lines = Lines(data, encoding, path)
        self.rows = len(self._lines.lines)
        self.dataset = text_dataset([line.rstrip("\r\n") for line in self._lines.lines if line.strip()], path)

    def express(self, records: Records, rng: np.random.Generator) -> list[Any]:
        """The texts themselves."""
        assert isinstance(records, TextRecords)
        if broken := [text for text in records.texts if "\n" in text or "\r" in text]:
            raise InputError(f"A canary of a text file must be one line, got {broken[0]!r}.")
        return list(records.texts)

    def seeded(self, inserted: Sequence[Any], order: Order) -> bytes:
        """Original lines byte for byte, and the canaries among them."""
        return self._lines.join([], self._lines.lines, inserted, order)

    def listing(self, ids: Sequence[str], rows: Sequence[Any]) -> bytes:
        """Lines of an id, a tab and the text."""
        return self._lines.encode("".join(f"{i}\t{row}{self._lines.ending}" for i, row in zip(ids, rows, strict=True)))


def text_dataset(texts: Sequence[str], path: str) -> Dataset:
    """Texts as a data set called `path`.

    Raises:
        InputError: if there is none.
    """
    if not texts:
        raise InputError(f"Expected one row or more in {path}.")
    records = TextRecords(tuple(texts))
    return Dataset(path, records, records, TextRecords(()))


def free_name(taken: Sequence[str]) -> str:
    """A name for the column of canary ids that no column in `taken` has."""
    name = "canary"
    while name in taken:
        name = f"firedamp_{name}"
    return name


def choose(given: str | None, default: str, names: Sequence[str], what: str, path: str) -> str:
    """The column `given`, or the one called `default`.

    Raises:
        InputError: if `names` has no such column.
    """
    wanted = given or default
    if wanted not in names:
        hint = "" if given else f" (the default; name another as {what})"
        raise InputError(f"{path} has no column '{wanted}'{hint}; it has {', '.join(names)}.")
    return wanted
