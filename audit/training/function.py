"""A user's own training function, of any framework, as a trainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attacks.view import ArrayView, LossView, TextView, View
from canaries.base import CanarySet
from canaries.errors import InputError
from canaries.inclusion import training_set
from canaries.records import ArrayRecords, Dataset, Records, TextRecords

TrainFunction = Callable[..., Callable[[Any], Any] | TextView]
"""train(x, y, seed) -> predict, predict(x) -> float[n, classes]; or train(texts, seed) -> score, score(texts) ->
float[n] losses in nats, or -> a `TextView` of the one model."""


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
        """One call for each row; a view that grants probabilities (arrays), losses (texts), or what a `TextView` does.

        Raises:
            InputError: if the function returns something that cannot be queried.
        """
        rows = zip(inserted, seeds, strict=True)
        answers = [self._call(training_set(dataset.train, canaries, row), seed) for row, seed in rows]
        if isinstance(dataset.train, TextRecords):
            return _together([answer if isinstance(answer, TextView) else _losses(answer) for answer in answers])
        return ArrayView(
            lambda x: np.stack([np.asarray(answer(x)) for answer in answers]),
            len(answers),
            query_each=lambda x: np.stack([np.asarray(a(own)) for a, own in zip(answers, x, strict=True)]),
        )

    def _call(self, records: Records, seed: int) -> Any:
        # Frameworks commonly take seeds of 32 bits only.
        small = seed % 2**32
        if isinstance(records, ArrayRecords):
            y = records.y if self._labels is None else self._labels[records.y]
            answer = self._function(records.x, y, small)
        else:
            answer = self._function(_texts(records), small)
            if isinstance(answer, TextView) and answer.models == 1:
                return answer
        if not callable(answer):
            raise InputError(
                "The training function must return what the adversary may query: a function or, where it learns from "
                f"texts, a TextView of one model; got {answer!r}."
            )
        return answer


def _losses(answer: Callable[[Any], Any]) -> View:
    return LossView(lambda records: np.asarray(answer(_texts(records)))[None], 1)


def _together(views: Sequence[View]) -> View:
    """All models in one view: of text, if all of them are.

    Raises:
        InputError: where their tokens differ.
    """
    if len(views) == 1:
        return views[0]
    text = [view for view in views if isinstance(view, TextView)]
    if len(text) < len(views):
        return LossView(lambda records: np.concatenate([view.loss(records) for view in views]), len(views))
    if any(view.alphabet is not text[0].alphabet and view.alphabet != text[0].alphabet for view in text):
        raise InputError(
            "Expected a TextView of one and the same alphabet or tokeniser from every training, got several: it must "
            "not be made from the texts."
        )

    def next_token_of(
        models: NDArray[np.int64], prefixes: NDArray[np.int64], tokens: NDArray[np.int64] | None
    ) -> NDArray[np.float64]:
        answers = np.empty((len(prefixes), len(text[0].alphabet) + 1 if tokens is None else len(tokens)))
        for model in np.unique(models):
            mine = models == model
            answers[mine] = text[model].next_token_of(np.zeros(mine.sum(), dtype=np.int64), prefixes[mine], tokens)
        return answers

    return TextView(
        lambda prefixes: np.concatenate([view.next_token_log_probabilities(prefixes) for view in text]),
        lambda tokens: np.concatenate([view.token_log_probabilities(tokens) for view in text]),
        len(text),
        text[0].alphabet,
        next_token_of=next_token_of,
        tie=max(view.tie for view in text),
    )


def _texts(records: Records) -> list[str]:
    if not isinstance(records, TextRecords):
        raise InputError("Expected text records.")
    return list(records.texts)
