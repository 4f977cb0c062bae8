"""Texts in files with one JSON object on each line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from canaries.errors import InputError


def strings(lines: str, path: Path, *keys: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """(line, from 1; the values of `keys`) of each line that is not blank; `path` is what messages call the file.

    Raises:
        InputError: for a line that is no JSON object with these texts, naming the line and never what it says.
    """
    for number, line in enumerate(lines.split("\n"), 1):
        if line.strip():
            yield number, tuple(_string(line, key, f"Line {number} of {path}") for key in keys)


def check_writable(text: str, where: str) -> str:
    r"""The text, if it can be written in UTF-8.

    Raises:
        InputError: for a lone surrogate, one half of a character, which JSON can hold as "\ud800".
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(
            f"{where} holds a lone surrogate, half a character that UTF-8 cannot write; normalised = true reads it as "
            "a space."
        ) from None
    return text


def _string(line: str, key: str, where: str) -> str:
    try:
        record: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is no JSON: {error}.") from None
    value = record.get(key) if isinstance(record, dict) else None
    if not isinstance(value, str):
        raise InputError(f"{where} has no text in the field '{key}'.")
    return value
