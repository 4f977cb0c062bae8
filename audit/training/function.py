"""A user's own training function, of any framework, as a trainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attacks.view import ArrayView, LossView, View
from canaries.base import CanarySet
from canaries.errors import InputError
from canaries.inclusion import training_set
from canaries.records import ArrayRecords, Dataset, Records, TextRecords

TrainFunction = Callable[..., Callable[[Any], Any]]
"""train(x, y, seed) -> predict, predict(x) -> float[n, classes]; or train(texts, seed) -> score, score(texts) ->
float[n] losses in nats."""


class FunctionTrainer:
    """Calls a function once per model.

    Args:
        function: what trains, as `TrainFunction` says. Classes are numbered in the sorted order of the labels.
        labels: the labels that class 0, 1, ... stand for; the function is given these. None: the numbers themselves.
    """

    def __init__(self, function: TrainFunction, labels: NDArray[np.generic] | None = None) -> None:
        self._function = function
        self._labels = labels

    def train(self, dataset: Dataset, canaries: CanarySet, inserted: NDArray[np.bool_], seeds: Sequence[int]) -> View:
        """One call for each row; a view that grants probabilities (arrays) or losses (texts).

        Raises:
            InputError: if the function returns something that cannot be called.
        """
        rows = zip(inserted, seeds, strict=True)
        answers = [self._call(training_set(dataset.train, canaries, row), seed) for row, seed in rows]
        if isinstance(dataset.train, ArrayRecords):
            return ArrayView(
                lambda x: np.stack([np.asarray(answer(x)) for answer in answers]),
                len(answers),
                query_each=lambda x: np.stack([np.asarray(a(own)) for a, own in zip(answers, x, strict=True)]),
            )
        return LossView(lambda records: np.stack([np.asarray(a(_texts(records))) for a in answers]), len(answers))

    def _call(self, records: Records, seed: int) -> Callable[[Any], Any]:
        # Frameworks commonly take seeds of 32 bits only.
        small = seed % 2**32
        if isinstance(records, ArrayRecords):
            y = records.y if self._labels is None else self._labels[records.y]
            answer = self._function(records.x, y, small)
        else:
            answer = self._function(_texts(records), small)
        if not callable(answer):
            raise InputError(
                f"The training function must return what the adversary may query, a function; got {answer!r}."
            )
        return answer


def _texts(records: Records) -> list[str]:
    if not isinstance(records, TextRecords):
        raise InputError("Expected text records.")
    return list(records.texts)
