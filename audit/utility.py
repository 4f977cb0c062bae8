"""What models are good for, measured on records that nothing else has seen."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from attacks.view import ArrayView, View
from canaries.records import ArrayRecords, Dataset, TextRecords

TEXT_LOSS = "test loss (nats per character)"
UNIGRAM = "unigram loss (nats per character)"
"""What a text model has to beat to have learnt anything of the order of characters."""


def unigram_loss(train: Sequence[str], test: Sequence[str]) -> float:
    """Nats per character of `test` under the character frequencies of `train`, each character counted once more.

    >>> unigram_loss(["ab"], ["ab"]) == np.log(2)
    True
    """
    counts = Counter("".join(train)) + Counter(set("".join([*train, *test])))
    total = counts.total()
    text = "".join(test)
    return -sum(math.log(counts[character] / total) for character in text) / max(1, len(text))


def measure_utility(view: View, dataset: Dataset) -> dict[str, NDArray[np.float64]]:
    """float64[models] by name, on `dataset.test`; nothing if that is empty.

    Texts: loss in nats per character, and beside it that of the unigram model of the training text, which knows nothing
    but how frequent each character is. Classifiers: accuracy, and loss in nats. It asks the view for all that the view
    grants: utility is the owner's to measure, not the adversary's.
    """
    test = dataset.test
    if not len(test):
        return {}
    loss = view.loss(test)
    if isinstance(test, TextRecords):
        own = loss.sum(axis=1) / sum(len(text) for text in test.texts)
        assert isinstance(dataset.train, TextRecords)
        unigram = unigram_loss(dataset.train.texts, test.texts)
        return {TEXT_LOSS: own, UNIGRAM: np.full(len(own), unigram)}
    if isinstance(view, ArrayView) and isinstance(test, ArrayRecords):
        return {"test accuracy": (view.labels(test.x) == test.y).mean(axis=1), "test loss (nats)": loss.mean(axis=1)}
    return {"test loss (nats)": loss.mean(axis=1)}
