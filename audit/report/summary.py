"""A run as plain data for machines: JSON with infinity as the string "inf" and without NaN."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from audit.results import AttackResult, CellResult, RunResult

SCHEMA = 1


def summary_json(result: RunResult) -> dict[str, Any]:
    """Verdicts, bounds with all their fields, what every attack reached, and failures, ready for `json.dumps`.

    Infinity is the string "inf" ("-inf" below zero), what is not a number is None. Scores are left out: they
    are in the run directory.
    """
    return {
        "schema": SCHEMA,
        "name": result.name,
        "verdict": plain(result.verdict),
        "confidence": plain(result.confidence),
        "cells": [_cell(cell) for cell in result.cells],
        "failures": plain(result.failures),
        "config": plain(result.config),
        "provenance": plain(result.provenance),
    }


def plain(value: Any) -> Any:
    """`value` as what JSON can hold; anything unknown as its text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {_key(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((plain(item) for item in value), key=str)
    if isinstance(value, float):
        return _float(value)
    if value is None or isinstance(value, bool | int):
        return value
    return str(value)


def _float(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return float(value)


def _key(key: Any) -> str:
    return f"{key:g}" if isinstance(key, float) else str(key)


def _cell(cell: CellResult) -> dict[str, Any]:
    return {
        "audit": cell.audit,
        "claim": plain(cell.claim),
        "control": cell.claim.is_control,
        "noise_multiplier": plain(cell.noise_multiplier),
        "models_planned": cell.models_planned,
        "models_done": cell.models_done,
        "utility": plain(cell.utility),
        "verdict": plain(cell.verdict),
        "attacks": [_attack(attack) for attack in cell.attacks],
    }


def _attack(attack: AttackResult) -> dict[str, Any]:
    fields = {f.name: plain(getattr(attack, f.name)) for f in dataclasses.fields(attack) if f.name != "scores"}
    models, canaries = attack.scores.score.shape
    return fields | {"models": models, "canaries": canaries, "references": int(attack.scores.reference.sum())}
