"""Texts of your own, one on each line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from audit.training.datasets.base import DatasetSource, existing, split_records
from audit.training.datasets.texts import normalise
from canaries.errors import InputError
from canaries.records import Dataset, TextRecords


@dataclass(frozen=True)
class TextLines(DatasetSource):
    """A file with one text on each line, or one JSON object on each line; empty ones are left out.

    Attributes:
        path: the file.
        field: the key of the text in each JSON object; None for plain lines.
        train, pool, test: sizes of the parts; train None takes all that is left.
        normalised: lower case, and characters outside ALPHABET as spaces; false keeps texts as they are.
    """

    name: ClassVar[str] = "text"
    kind: ClassVar[Literal["array", "text"]] = "text"

    path: str
    field: str | None = None
    train: int | None = None
    pool: int = 0
    test: int = 0
    normalised: bool = True

    @property
    def privacy_unit(self) -> str:
        """The record, in a claim's words."""
        return "line"

    def load(self, seed: int) -> Dataset:
        """The texts, split by `seed`.

        Raises:
            InputError: if the file is missing or malformed, or the sizes do not fit.
        """
        path = existing(self.path, "Give the path of a UTF-8 file with one text, or one JSON object, on each line.")
        texts = [normalise(text) if self.normalised else text for text in self._texts(path)]
        records = TextRecords(tuple(text for text in texts if text.strip()))
        return split_records(self.name, records, self.train, self.pool, self.test, seed)

    def _texts(self, path: Path) -> list[str]:
        try:
            lines = path.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"Cannot read {path} as UTF-8 text: {error}.") from None
        if self.field is None:
            return [line.removesuffix("\r") for line in lines]
        return [self._text(line, path, i) for i, line in enumerate(lines, 1) if line.strip()]

    def _text(self, line: str, path: Path, number: int) -> str:
        try:
            record: Any = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"Line {number} of {path} is no JSON: {error}.") from None
        text = record.get(self.field) if isinstance(record, dict) else None
        if not isinstance(text, str):
            raise InputError(f"Line {number} of {path} has no text in the field '{self.field}'.")
        return text
