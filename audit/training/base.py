"""The Trainer protocol: a data set, canaries and coins in, a view of the trained models out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from attacks.view import View
from canaries.base import CanarySet
from canaries.records import Dataset


@runtime_checkable
class Trainer(Protocol):
    """Anything that trains. Model i must depend on its configuration, its row and seeds[i] alone."""

    def train(self, dataset: Dataset, canaries: CanarySet, inserted: NDArray[np.bool_], seeds: Sequence[int]) -> View:
        """Train one model per row of `inserted` (bool[models, canaries]) and return a view with full access.

        Model i trains on `dataset.train` and each canary where inserted[i] is true, as often as it repeats.
        """
        ...
