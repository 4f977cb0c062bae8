"""What every data set is, and what they share: seeded disjoint splits, standardising, finding files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from canaries.errors import InputError
from canaries.randomness import generator
from canaries.records import Dataset, Records

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class DatasetSource(ABC):
    """Where records come from. A subclass is a frozen dataclass; its fields are its whole configuration.

    Every subclass has the fields `train` (None for all that is left), `pool` and `test`: how many records each part
    has. The parts are disjoint. Which records the test and the pool get depends on the seed and on their own sizes,
    not on `train`, and a smaller `train` is the beginning of a larger one.

    Class attributes:
        name: what the configuration and the report call it.
        kind: the records that it holds, "array" or "text".
    """

    name: ClassVar[str]
    kind: ClassVar[Literal["array", "text"]]

    @property
    def privacy_unit(self) -> str:
        """What one record is, in a claim's words: what a neighbouring data set has more or less."""
        return "text" if self.kind == "text" else "record"

    @abstractmethod
    def load(self, seed: int) -> Dataset:
        """The data set, split by `seed`.

        Raises:
            InputError: if the sizes do not fit, or a file is missing or malformed.
        """


def split(name: str, records: int, train: int | None, pool: int, test: int, seed: int) -> tuple[Indices, ...]:
    """Disjoint random indices below `records` of the train, pool and test parts of the data set called `name`.

    Raises:
        InputError: if a size is out of range, or they are more than `records` together.
    """
    check_sizes(name, train, pool, test)
    wanted = (1 if train is None else train) + pool + test
    if wanted > records:
        raise InputError(
            f"Data set '{name}' has {records} records, but train={train or 'all that is left'}, pool={pool} and "
            f"test={test} need {'at least ' if train is None else ''}{wanted}."
        )
    order = generator(seed, "split", name).permutation(records)
    rest = order[test + pool :]
    return rest[:train], order[test : test + pool], order[:test]


def check_sizes(name: str, train: int | None, pool: int, test: int | None) -> None:
    """Refuse sizes that no data set could have.

    Raises:
        InputError: for train below 1, or a pool or test below 0.
    """
    if (train is not None and train < 1) or pool < 0 or (test is not None and test < 0):
        raise InputError(
            f"Expected train >= 1, pool >= 0 and test >= 0 for data set '{name}', got {train}, {pool} and {test}."
        )


def split_records(name: str, records: Records, train: int | None, pool: int, test: int, seed: int) -> Dataset:
    """The data set called `name`, made of `records` split at random.

    Raises:
        InputError: if the sizes do not fit.
    """
    parts = split(name, len(records), train, pool, test, seed)
    return Dataset(name, *(records.take(part) for part in parts))


def standardise(name: str, x: NDArray[np.float32], test: Indices) -> NDArray[np.float32]:
    """`x` [n, features] less the mean and over the standard deviation of its rows `test`; constants are only shifted.

    The test part stands for public data: statistics of the training part would leak, outside of any claim.

    Raises:
        InputError: for fewer than 2 test records.
    """
    if len(test) < 2:
        raise InputError(f"Data set '{name}' is standardised by its test part: expected test >= 2, got {len(test)}.")
    public = x[test].astype(np.float64)
    deviation = public.std(axis=0)
    scaled = (x - public.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    return scaled.astype(np.float32)


def existing(path: str, how: str) -> Path:
    """`path`, with ~ expanded, if there is such a file or directory.

    Raises:
        InputError: if there is none; `how` says how to get it.
    """
    found = Path(path).expanduser()
    if not found.exists():
        raise InputError(f"No such file or directory: {found}. {how}")
    return found


def classes_of(labels: NDArray[np.generic]) -> tuple[NDArray[np.int64], int]:
    """Labels of any type as int64[n], class i being the i-th value in sorted order, and how many there are."""
    values, y = np.unique(labels, return_inverse=True)
    return y.astype(np.int64), len(values)
