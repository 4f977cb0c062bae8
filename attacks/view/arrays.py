"""Views of classifiers."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from attacks.view.access import GRANTS, Access
from attacks.view.base import View
from canaries.errors import InputError
from canaries.records import ArrayRecords, Records


class ArrayView(View):
    """A view of classifiers.

    Args:
        query: float32[n, ...] -> float64[models, n, classes], rows summing to one.
        models: how many models answer.
        access: what is granted, at most PROBABILITIES.
        query_each: float32[models, n, ...] -> float64[models, n, classes], where model i answers x[i] alone; None asks
            `query` and throws the other models' answers away.
    """

    answers: ClassVar[frozenset[Access]] = GRANTS[Access.PROBABILITIES]

    def __init__(
        self,
        query: Callable[[NDArray[np.float32]], NDArray[np.floating]],
        models: int,
        access: Access = Access.PROBABILITIES,
        query_each: Callable[[NDArray[np.float32]], NDArray[np.floating]] | None = None,
    ) -> None:
        super().__init__(models, access)
        self._query = query
        self._query_each = query_each

    def probabilities(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """float64[models, n, classes]. Needs PROBABILITIES.

        Raises:
            InputError: where the model's answer has another shape, or is not a distribution.
        """
        self._require(Access.PROBABILITIES, len(x))
        return self._ask(x)

    def labels(self, x: NDArray[np.float32]) -> NDArray[np.int64]:
        """int64[models, n]: the most probable class. Needs LABELS."""
        self._require(Access.LABELS, len(x))
        return self._ask(x).argmax(axis=2)

    def labels_each(self, x: NDArray[np.float32]) -> NDArray[np.int64]:
        """int64[models, n]: model i's labels of its own records x[i]; n queries of each. Needs LABELS.

        Args:
            x: float32[models, n, ...].

        Raises:
            InputError: where x holds records for another number of models.
        """
        self._require(Access.LABELS)
        if x.ndim < 3 or len(x) != self.models:
            raise InputError(f"Expected records of shape [{self.models}, n, ...], got {x.shape}.")
        self._count(x.shape[1])
        if self._query_each is None:
            return np.stack([self._ask(own)[i].argmax(axis=1) for i, own in enumerate(x)])
        return self._checked(self._query_each(x), x.shape[1]).argmax(axis=2)

    def loss(self, records: Records) -> NDArray[np.float64]:
        """float64[models, n]: cross-entropy in nats. Needs LOSS."""
        self._require(Access.LOSS, len(records))
        if not isinstance(records, ArrayRecords):
            raise InputError("A view of classifiers can only score array records.")
        answer = self._ask(records.x)
        if answer.shape[2] < records.classes:
            raise InputError(
                f"Expected probabilities of {records.classes} classes, got {answer.shape[2]} classes: every model must "
                "answer for all classes of the data, in sorted order, whether or not it has seen them."
            )
        p = np.take_along_axis(answer, records.y[None, :, None], axis=2)[..., 0]
        return -np.log(np.maximum(p, 1e-300))

    def _ask(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        return self._checked(self._query(x), len(x))

    def _checked(self, given: NDArray[np.floating], records: int) -> NDArray[np.float64]:
        answer = np.asarray(given, dtype=np.float64)
        if answer.ndim != 3 or answer.shape[:2] != (self.models, records):
            raise InputError(
                f"Expected class probabilities of shape [{self.models}, {records}, classes], got {answer.shape}."
            )
        if not np.all(answer >= 0) or not np.allclose(answer.sum(axis=2), 1, atol=1e-3):
            raise InputError("Expected class probabilities that are at least 0 and sum to 1 for every record.")
        return answer
