"""Columns of text cells as features, and features as cells that look like the rest of their column."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_LEADING_ZERO = re.compile(r"[+-]?0\d")


@dataclass(frozen=True)
class Column:
    """How one column is written. As a feature, its greatest absolute value is 1 (so that no unit outweighs another).

    Attributes:
        values: of a column of categories, its different cells in order; empty for a column of numbers.
        decimals: digits behind the point; None for numbers written with exponents.
        padded: true where every cell has just as many decimals.
        scale: the greatest absolute value.
        known: of a column of numbers, the cell that each feature came from, so that a copied record is exact.
    """

    values: tuple[str, ...]
    decimals: int | None
    padded: bool
    scale: float
    known: Mapping[float, str]

    @classmethod
    def learn(cls, cells: Sequence[str], categorical: bool = False) -> Column:
        """A column of numbers if every cell is one and none has a leading zero ("007"), else one of categories."""
        plain = [cell.strip() for cell in cells]
        if categorical or not all(_NUMBER.fullmatch(c) and not _LEADING_ZERO.match(c) for c in plain):
            values = tuple(sorted(set(cells), key=_by_number))
            return cls(values, 0, False, float(max(len(values) - 1, 1)), {})
        digits = [len(c.partition(".")[2]) for c in plain]
        exponents = any("e" in c.lower() for c in plain)
        scale = max((abs(float(c)) for c in plain), default=0.0)
        scale = scale if 0 < scale < float("inf") else 1.0
        known = {float(np.float32(float(c) / scale)): c for c in reversed(plain)}
        return cls((), None if exponents else max(digits), len(set(digits)) == 1, scale, known)

    def encode(self, cells: Sequence[str]) -> NDArray[np.float32]:
        """float32[n]: each cell as a feature."""
        if self.values:
            position = {value: i for i, value in enumerate(self.values)}
            raw = np.array([position[cell] for cell in cells], dtype=np.float64)
        else:
            raw = np.array([float(cell) for cell in cells], dtype=np.float64)
        return (raw / self.scale).astype(np.float32)

    def decode(self, feature: NDArray[np.float32]) -> list[str]:
        """The nearest cells that this column could hold; categories are clipped to the first and the last."""
        raw = feature.astype(np.float64) * self.scale
        if self.values:
            code = np.clip(np.rint(raw), 0, len(self.values) - 1).astype(int)
            return [self.values[i] for i in code]
        return [self.known.get(float(f)) or self._written(value) for f, value in zip(feature, raw, strict=True)]

    def _written(self, value: float) -> str:
        if self.decimals is None:
            return repr(float(f"{value:.7g}") + 0.0)
        text = f"{round(value, self.decimals) + 0.0:.{self.decimals}f}"
        if self.padded or self.decimals == 0:
            return text
        whole, _, rest = text.partition(".")
        return f"{whole}.{rest.rstrip('0') or '0'}"


def _by_number(cell: str) -> tuple[bool, float, str]:
    """Numbers first, by value; then text."""
    number = bool(_NUMBER.fullmatch(cell.strip()))
    return (not number, float(cell) if number else 0.0, cell)
