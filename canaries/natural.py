"""Natural canaries: real records as they are, to see which of them are at risk."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from canaries.base import CanaryDesign, CanarySet, Secret
from canaries.errors import InputError
from canaries.labels import InitialModel
from canaries.records import ArrayRecords, Dataset, Records


@dataclass(frozen=True)
class Natural(CanaryDesign):
    """Records of the data set's pool with their own labels: nothing is planted, only the coins decide who is in.

    A record of the pool is drawn as those of the training set are, so what is found of it holds for a record of the
    training set. With every record in by a fair coin this is the game of Carlini et al. (2022), "Membership Inference
    Attacks From First Principles", section III, in which half of the data is in. A canary's id ends in its position in
    the pool, so that the records at risk can be looked up.

    Attributes:
        chosen: positions in the pool, in order; empty draws them without replacement. References are drawn from the
            records that were not chosen.
    """

    name: ClassVar[str] = "natural"
    kind: ClassVar[Literal["array", "text"]] = "array"
    redrawn: ClassVar[bool] = False

    chosen: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.chosen)) != len(self.chosen) or min(self.chosen, default=0) < 0:
            raise InputError(f"Expected distinct positions >= 0 in chosen, got {list(self.chosen)}.")

    def craft(self, dataset: Dataset, count: int, rng: np.random.Generator) -> tuple[Records, tuple[Secret, ...]]:
        """`count` records of the pool, the chosen ones first.

        Raises:
            InputError: if the pool holds fewer records, or none at a chosen position.
        """
        return self._records(dataset).take(self._positions(dataset, count, rng)), ()

    def make(
        self,
        dataset: Dataset,
        count: int,
        rng: np.random.Generator,
        references: int = 0,
        initial: InitialModel | None = None,
    ) -> CanarySet:
        """`count` records, then `references` more that are never inserted; ids name their positions in the pool.

        Labels are the records' own, so no initial model is asked.

        Raises:
            InputError: as the base class and `craft`; and if `count` differs from the number of chosen records.
        """
        if self.chosen and count != len(self.chosen):
            raise InputError(f"Expected count = {len(self.chosen)}, as many as are chosen, got count = {count}.")
        if count < 1 or references < 0:
            raise InputError(f"Expected count >= 1 and references >= 0, got {count} and {references}.")
        positions = self._positions(dataset, count + references, rng)
        named = replace(self, chosen=tuple(int(position) for position in positions))
        made = CanaryDesign.make(named, dataset, count, rng, references, initial)
        ids = tuple(
            f"{self.name}-{'reference-' if reference else ''}{position:05d}"
            for position, reference in zip(positions, made.reference, strict=True)
        )
        return replace(made, ids=ids)

    def _records(self, dataset: Dataset) -> ArrayRecords:
        if not isinstance(dataset.pool, ArrayRecords):
            raise InputError(
                f"Canary design '{self.name}' makes array records, but '{dataset.name}' holds text records."
            )
        return dataset.pool

    def _positions(self, dataset: Dataset, count: int, rng: np.random.Generator) -> NDArray[np.intp]:
        """int[count]: positions in the pool."""
        records = len(self._records(dataset))
        if max(self.chosen, default=0) >= max(records, 1):
            raise InputError(
                f"Expected chosen positions below {records}, the size of the pool of '{dataset.name}', "
                f"got {max(self.chosen)}."
            )
        if count > records:
            raise InputError(
                f"{count} natural canaries (references included) need as many records in the pool, "
                f"but the pool of '{dataset.name}' holds {records}."
            )
        first = np.array(self.chosen[:count], dtype=np.intp)
        others = np.setdiff1d(np.arange(records), self.chosen)
        return np.concatenate([first, rng.permutation(others)[: count - len(first)]])
