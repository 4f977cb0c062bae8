"""`key=value` settings from the command line, values as in TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Any

from canaries.errors import InputError


def parse_setting(setting: str) -> tuple[str, Any]:
    """Key and value of `key=value`; a value that is no TOML is taken as a string.

    >>> parse_setting("trainer.steps=40"), parse_setting("name=digits")
    (('trainer.steps', 40), ('name', 'digits'))

    Raises:
        InputError: if there is no key or no equals sign.
    """
    key, separator, value = setting.partition("=")
    if not separator or not key.strip():
        raise InputError(f"Expected --set key=value, got '{setting}'.")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """Several settings as a table; keys may not contain dots here."""
    return dict(parse_setting(setting) for setting in settings)
