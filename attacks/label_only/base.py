"""What label-only attacks share: their access, what they refuse, and shares of copies that keep a label."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from attacks.base import Attack
from attacks.view import Access, ArrayView, View
from canaries.base import CanarySet
from canaries.errors import InputError
from canaries.records import ArrayRecords

CHUNK = 8192
"""Records in one query, at most (but at least one canary's copies): it bounds memory and changes no score."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LabelOnly(Attack):
    """An attack on classifiers of arrays that sees labels alone. Every model gets equally many queries."""

    access: ClassVar[Access] = Access.LABELS
    kinds: ClassVar[frozenset[str]] = frozenset({"array"})
    family: ClassVar[str] = "label-only"
    evidence: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def measure(self, view: ArrayView, records: ArrayRecords, ids: tuple[str, ...], seed: int) -> Floats:
        """float64[models, canaries] from labels; what is drawn at random depends on the seed and the canary's id."""

    def score(
        self, view: View, canaries: CanarySet, seed: int
    ) -> tuple[NDArray[np.float64], Mapping[str, NDArray[Any]]]:
        """As the class says, float64[models, canaries]; no evidence.

        Raises:
            InputError: for canaries or models that are not of arrays.
        """
        if not isinstance(canaries.records, ArrayRecords) or not isinstance(view, ArrayView):
            raise InputError(f"Attack '{self.name}' is for classifiers of arrays.")
        return self.measure(view, canaries.records, canaries.ids, seed), {}


def share_that_keeps(
    view: ArrayView, records: ArrayRecords, per_canary: int, copies: Callable[[int], NDArray[np.float32]]
) -> Floats:
    """float64[models, canaries]: share of canary i's copies, float32[per_canary, ...], that get the canary's label."""
    step = max(1, CHUNK // per_canary)
    score = np.empty((view.models, len(records)))
    for start in range(0, len(records), step):
        some = range(start, min(start + step, len(records)))
        labels = view.labels(np.concatenate([copies(i) for i in some]))
        kept = labels.reshape(view.models, len(some), per_canary) == records.y[some.start : some.stop, None]
        score[:, some.start : some.stop] = kept.mean(axis=2)
    return score
