"""Mislabelled canaries: real records with a wrong label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from canaries.base import CanaryDesign, Secret
from canaries.errors import InputError
from canaries.labels import LEAST_LIKELY
from canaries.records import ArrayRecords, Dataset, Records


@dataclass(frozen=True)
class Mislabelled(CanaryDesign):
    """Records of the pool, drawn without replacement, each with a label drawn uniformly from the wrong ones.

    A model can only get one right by remembering it (Steinke, Nasr, Jagielski 2023, section 6; Aerni et al. 2024,
    "Evaluations of Machine Learning Privacy Defenses are Misleading", use the same as worst-case natural canaries).

    Attributes:
        label: None draws a wrong label; "least-likely" takes the least likely one under the model that training starts
            from (which is the right one only for a record that this model gets as wrong as can be).
    """

    name: ClassVar[str] = "mislabelled"
    kind: ClassVar[Literal["array", "text"]] = "array"

    label: Literal["least-likely"] | None = None

    def __post_init__(self) -> None:
        if self.label not in (None, LEAST_LIKELY):
            raise InputError(f"Expected label '{LEAST_LIKELY}' or none for {self.name} canaries, got {self.label!r}.")

    @property
    def needs_initial_model(self) -> bool:
        """Where the label is the least likely one."""
        return self.label == LEAST_LIKELY

    def craft(self, dataset: Dataset, count: int, rng: np.random.Generator) -> tuple[Records, tuple[Secret, ...]]:
        """`count` records of the pool with wrong labels.

        Raises:
            InputError: if the pool holds fewer than `count` records, or there is only one class.
        """
        pool = dataset.pool
        assert isinstance(pool, ArrayRecords)
        if count > len(pool):
            raise InputError(
                f"{count} mislabelled canaries (references included) need as many records in the pool, "
                f"but the pool of '{dataset.name}' holds {len(pool)}."
            )
        if pool.classes < 2:
            raise InputError(f"Mislabelled canaries need at least 2 classes, but '{dataset.name}' has {pool.classes}.")
        chosen = pool.take(rng.choice(len(pool), size=count, replace=False))
        shift = rng.integers(1, pool.classes, size=count)
        return ArrayRecords(chosen.x, (chosen.y + shift) % pool.classes, pool.classes), ()
