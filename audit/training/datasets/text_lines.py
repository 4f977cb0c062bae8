"""Texts of your own, one on each line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from audit.training.datasets.base import DatasetSource, existing, split_records
from audit.training.datasets.json_lines import check_writable, strings
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
            content = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"Cannot read {path} as UTF-8 text: {error}.") from None
        if self.field is None:
            return [line.removesuffix("\r") for line in content.split("\n")]
        found = [(number, text) for number, (text,) in strings(content, path, self.field)]
        if not self.normalised:
            for number, text in found:
                check_writable(text, f"Line {number} of {path}")
        return [text for _, text in found]
