"""Records: what a model is trained on, as immutable arrays, texts or gradients, and a data set split in three."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from canaries.errors import InputError


@dataclass(frozen=True, eq=False)
class ArrayRecords:
    """Labelled arrays: `x` is float32[n, ...], `y` is int64[n] with values in [0, classes)."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]
    classes: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "x", np.ascontiguousarray(self.x, dtype=np.float32))
        object.__setattr__(self, "y", np.ascontiguousarray(self.y, dtype=np.int64))
        if self.x.ndim < 2 or self.y.ndim != 1 or len(self.x) != len(self.y):
            raise InputError(
                f"Expected x of shape [n, features...] and y of shape [n], got {self.x.shape} and {self.y.shape}."
            )
        if not np.isfinite(self.x).all():
            raise InputError("Expected finite features in x, got NaN or infinity.")
        if len(self.y) and not (0 <= int(self.y.min()) and int(self.y.max()) < self.classes):
            raise InputError(f"Expected labels in [0, {self.classes}), got {int(self.y.min())} to {int(self.y.max())}.")

    def __len__(self) -> int:
        return len(self.y)

    def take(self, index: Any) -> ArrayRecords:
        """The records at `index` (integers, a slice or a boolean mask)."""
        return ArrayRecords(self.x[index], self.y[index], self.classes)

    def repeat(self, times: NDArray[np.int64]) -> ArrayRecords:
        """Record i `times[i]` times over, in order."""
        return self.take(np.repeat(np.arange(len(self)), times))

    def followed_by(self, other: ArrayRecords) -> ArrayRecords:
        """These records, then the other's."""
        return ArrayRecords(
            np.concatenate([self.x, other.x]),
            np.concatenate([self.y, other.y]),
            max(self.classes, other.classes),
        )

    def digest(self) -> str:
        """SHA-256 over shapes and contents."""
        h = hashlib.sha256(f"array{self.x.shape}{self.classes}".encode())
        h.update(self.x.tobytes())
        h.update(self.y.tobytes())
        return h.hexdigest()


@dataclass(frozen=True, eq=False)
class TextRecords:
    """Texts; the privacy unit is one text."""

    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, index: Any) -> TextRecords:
        """The records at `index` (integers, a slice or a boolean mask)."""
        return TextRecords(tuple(self.texts[i] for i in np.arange(len(self))[index]))

    def repeat(self, times: NDArray[np.int64]) -> TextRecords:
        """Record i `times[i]` times over, in order."""
        return self.take(np.repeat(np.arange(len(self)), times))

    def followed_by(self, other: TextRecords) -> TextRecords:
        """These records, then the other's."""
        return TextRecords(self.texts + other.texts)

    def digest(self) -> str:
        """SHA-256 over the texts and their lengths."""
        return hashlib.sha256("\x1e".join([f"text{len(self)}", *self.texts]).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class GradientRecords:
    """Gradients in place of records: each has one coordinate of the model's parameters and is zero elsewhere.

    Which coordinate a place stands for is the trainer's to say, for it knows the model: different places have different
    coordinates, spread over all layers.

    Attributes:
        length: float64[n], the one value that is not zero, in units of the clipping norm; its sign is the direction.
        place: int64[n], in [0, places).
        places: among how many places the model's coordinates are divided.
    """

    length: NDArray[np.float64]
    place: NDArray[np.int64]
    places: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "length", np.ascontiguousarray(self.length, dtype=np.float64))
        object.__setattr__(self, "place", np.ascontiguousarray(self.place, dtype=np.int64))
        if self.length.ndim != 1 or self.place.shape != self.length.shape:
            raise InputError(f"Expected length and place of shape [n], got {self.length.shape} and {self.place.shape}.")
        if not np.isfinite(self.length).all() or not self.length.all():
            raise InputError("Expected finite lengths other than 0, got 0, NaN or infinity.")
        if len(self.place) and not (0 <= int(self.place.min()) and int(self.place.max()) < self.places):
            raise InputError(
                f"Expected places in [0, {self.places}), got {int(self.place.min())} to {int(self.place.max())}."
            )

    def __len__(self) -> int:
        return len(self.length)

    def take(self, index: Any) -> GradientRecords:
        """The gradients at `index` (integers, a slice or a boolean mask)."""
        return GradientRecords(self.length[index], self.place[index], self.places)

    def repeat(self, times: NDArray[np.int64]) -> GradientRecords:
        """Gradient i `times[i]` times over, in order."""
        return self.take(np.repeat(np.arange(len(self)), times))

    def digest(self) -> str:
        """SHA-256 over contents."""
        h = hashlib.sha256(f"gradient{len(self)} {self.places}".encode())
        h.update(self.length.tobytes() + self.place.tobytes())
        return h.hexdigest()


Records = ArrayRecords | TextRecords | GradientRecords


def join_records(first: Records, second: Records) -> Records:
    """`first`, then `second`; both must be of one kind."""
    if isinstance(first, ArrayRecords) and isinstance(second, ArrayRecords):
        return first.followed_by(second)
    if isinstance(first, TextRecords) and isinstance(second, TextRecords):
        return first.followed_by(second)
    if isinstance(second, GradientRecords):
        raise InputError("These canaries are gradients, not records: trainer 'ensemble' alone can train on them.")
    raise InputError(f"Cannot join {type(first).__name__} with {type(second).__name__}.")


@dataclass(frozen=True, eq=False)
class Dataset:
    """A named data set in three disjoint parts.

    Attributes:
        name: what the report calls it.
        train: records that every model sees.
        pool: records that no model sees unless a canary is made of them.
        test: records for measuring utility.
    """

    name: str
    train: Records
    pool: Records
    test: Records

    def digest(self) -> str:
        """SHA-256 of the three parts; part of every unit's key."""
        parts: Sequence[Records] = (self.train, self.pool, self.test)
        return hashlib.sha256("".join(part.digest() for part in parts).encode()).hexdigest()
