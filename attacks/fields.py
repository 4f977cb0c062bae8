"""Fields of an attack against their annotated types, wherever it is built."""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from typing import Any, get_type_hints

import numpy as np
from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from canaries.errors import InputError


def check_fields(plugin: Any) -> None:
    """Refuse fields of another type than annotated; a list may stand for a tuple, a NumPy scalar for a number.

    Fields whose annotation no one can check are left alone.

    Raises:
        InputError: one sentence that names the field, its value and what is allowed.
    """
    cls: type = type(plugin)
    for name, adapter in _adapters(cls).items():
        value = getattr(plugin, name)
        try:
            adapter.validate_python(_plain(value), strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            place = name + "".join(f"[{part}]" for part in first["loc"] if isinstance(part, int))
            allowed = "a list" if first["type"] == "tuple_type" else first["msg"].removeprefix("Input should be ")
            raise InputError(
                f"Expected {place} to be {allowed} for attack '{plugin.name}', got {first['input']!r}."
            ) from None


@cache
def _adapters(cls: Any) -> dict[str, TypeAdapter[Any]]:
    try:
        hints = get_type_hints(cls)
    except NameError:  # An annotation of a class within a function.
        return {}
    found = {}
    for field in fields(cls):
        try:
            found[field.name] = TypeAdapter(hints[field.name])
        except (PydanticSchemaGenerationError, PydanticUserError):
            continue
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(_plain(item) for item in value)
    return value.item() if isinstance(value, np.generic) else value
