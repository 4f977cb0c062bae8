"""JSONL training sets: one JSON object on each line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np

from audit.plant.source import Lines, Order, Source, choose, free_name, text_dataset
from audit.plant.tables import ArrayTable
from canaries.errors import InputError
from canaries.records import ArrayRecords, Records, TextRecords


class JsonlSource(Source):
    """A JSONL file; separators and escapes are taken from its first line. Empty lines are kept and are no records.

    Array designs: every number, string or other leaf of an object, however nested, is one column, treated as those
    of a CSV file are; all objects must have the same ones. Text designs: the canary's text goes into the key `field`,
    all else is copied from a random object.

    Args:
        data: the file.
        encoding: the file's.
        path: what messages call it.
        kind: the records that the design makes.
        label: the key of the label, "label" by default, for array designs.
        field: the key of the text, "text" by default, for text designs.

    Raises:
        InputError: for malformed lines and missing keys.
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
        self.rows = len(self._lines.lines)
        self._objects = [_object(line, path, i) for i, line in enumerate(self._lines.lines, 1) if line.strip()]
        if not self._objects:
            raise InputError(f"Expected one JSON object or more in {path}.")
        first = next(line for line in self._lines.lines if line.strip()).strip()
        self._style = _style(first, self._objects[0])
        names = list(self._objects[0])
        if kind == "array":
            leaves = [dict(_leaves(item)) for item in self._objects]
            for i, leaf in enumerate(leaves, 1):
                if odd := sorted(leaf.keys() ^ leaves[0].keys()):
                    raise InputError(f"Objects 1 and {i} of {path} differ: only one of them has '{odd[0]}'.")
            columns = list(leaves[0])
            chosen = choose(label, "label", columns, "label", path)
            self._arrays = ArrayTable(columns, [[leaf[c] for c in columns] for leaf in leaves], chosen, path)
            self.dataset = self._arrays.dataset
        else:
            self._field = choose(field, "text", names, "field", path)
            for i, item in enumerate(self._objects, 1):
                if not isinstance(item.get(self._field), str):
                    raise InputError(f"Object {i} of {path} has no text in '{self._field}'.")
            self.dataset = text_dataset([item[self._field] for item in self._objects], path)

    def express(self, records: Records, rng: np.random.Generator) -> list[Any]:
        """Each record as a line without its ending."""
        if isinstance(records, ArrayRecords):
            return [self._dump(_fill(self._objects[0], iter(cells))) for cells in self._arrays.cells(records)]
        assert isinstance(records, TextRecords)
        chosen = rng.integers(len(self._objects), size=len(records))
        return [
            self._dump({**self._objects[i], self._field: text}) for i, text in zip(chosen, records.texts, strict=True)
        ]

    def seeded(self, inserted: Sequence[Any], order: Order) -> bytes:
        """Original lines byte for byte, and the canaries among them."""
        return self._lines.join([], self._lines.lines, inserted, order)

    def listing(self, ids: Sequence[str], rows: Sequence[Any]) -> bytes:
        """The same objects, with the canary's id in front."""
        name = free_name(list(self._objects[0]))
        lines = [self._dump({name: i, **json.loads(row)}) for i, row in zip(ids, rows, strict=True)]
        return self._lines.encode("".join(line + self._lines.ending for line in lines))

    def _dump(self, item: dict[str, Any]) -> str:
        return json.dumps(item, **self._style)


def _object(line: str, path: str, number: int) -> dict[str, Any]:
    try:
        item = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"Line {number} of {path} is no JSON: {error}.") from None
    if not isinstance(item, dict):
        raise InputError(f"Line {number} of {path} is no JSON object.")
    return item


def _style(line: str, item: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `json.dumps` that write `item` as `line`; the usual ones if none do."""
    styles: list[dict[str, Any]] = [
        {"separators": separators, "ensure_ascii": ascii}
        for separators in ((", ", ": "), (",", ":"), (",", ": "))
        for ascii in (False, True)
    ]
    return next((style for style in styles if json.dumps(item, **style) == line), styles[0])


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """(path, JSON text) of everything in `value` that is no filled object or list; paths are dotted."""
    if value and isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(part, f"{path}.{key}" if path else str(key))
    else:
        yield path, json.dumps(value)


def _fill(like: Any, leaves: Iterator[str]) -> Any:
    """A value shaped as `like`, its leaves taken from JSON texts in order."""
    if like and isinstance(like, dict):
        return {key: _fill(part, leaves) for key, part in like.items()}
    if like and isinstance(like, list):
        return [_fill(part, leaves) for part in like]
    return json.loads(next(leaves))
