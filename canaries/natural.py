"""Natural canaries: real records as they are, for the average case."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from canaries.base import CanaryDesign, Secret
from canaries.errors import InputError
from canaries.records import ArrayRecords, Dataset, Records


@dataclass(frozen=True)
class Natural(CanaryDesign):
    """Records of the pool with their own labels, drawn without replacement.

    What leaks of them is what leaks of an average record (Annamalai & De Cristofaro 2024 call it the average case); a
    claim covers the worst one, so bounds from these lie far below it.
    """

    name: ClassVar[str] = "natural"
    kind: ClassVar[Literal["array", "text"]] = "array"

    def craft(self, dataset: Dataset, count: int, rng: np.random.Generator) -> tuple[Records, tuple[Secret, ...]]:
        """`count` records of the pool.

        Raises:
            InputError: if the pool holds fewer than `count` records.
        """
        pool = dataset.pool
        assert isinstance(pool, ArrayRecords)
        if count > len(pool):
            raise InputError(
                f"{count} natural canaries (references included) need as many records in the pool, "
                f"but the pool of '{dataset.name}' holds {len(pool)}."
            )
        return pool.take(rng.choice(len(pool), size=count, replace=False)), ()
