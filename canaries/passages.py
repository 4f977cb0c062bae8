"""Passages of real text as canaries: what a model memorises of its own training text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from canaries.base import CanaryDesign, Secret
from canaries.errors import InputError
from canaries.records import Dataset, TextRecords


@dataclass(frozen=True)
class Passages(CanaryDesign):
    """Records of the pool, which no model sees otherwise: natural text, with no secret in it.

    Attributes:
        repetitions: records to insert; canaries cycle through these counts, references too.
    """

    repetitions: tuple[int, ...] = (1,)

    name: ClassVar[str] = "passages"
    kind: ClassVar[Literal["array", "text"]] = "text"

    def __post_init__(self) -> None:
        object.__setattr__(self, "repetitions", tuple(self.repetitions))
        if not self.repetitions or min(self.repetitions) < 1:
            raise InputError(
                f"Expected one or more repetition counts, each >= 1, got repetitions = {self.repetitions}."
            )

    def craft(self, dataset: Dataset, count: int, rng: np.random.Generator) -> tuple[TextRecords, tuple[Secret, ...]]:
        """`count` different records of the pool, in random order.

        Raises:
            InputError: if the pool holds fewer.
        """
        assert isinstance(dataset.pool, TextRecords)
        if count > len(dataset.pool):
            raise InputError(
                f"Canary design '{self.name}' needs {count} records of the pool, but data set '{dataset.name}' has "
                f"{len(dataset.pool)} there."
            )
        return dataset.pool.take(rng.permutation(len(dataset.pool))[:count]), ()

    def copies(self, count: int) -> NDArray[np.int64]:
        """int64[count]: the repetition counts, over and over."""
        return np.resize(np.array(self.repetitions, dtype=np.int64), count)
