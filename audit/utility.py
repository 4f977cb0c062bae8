"""What models are good for, measured on records that nothing else has seen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from attacks.view import ArrayView, View
from canaries.records import ArrayRecords, Dataset, TextRecords


def measure_utility(view: View, dataset: Dataset) -> dict[str, NDArray[np.float64]]:
    """float64[models] by name, on `dataset.test`; nothing if that is empty.

    Texts: loss in nats per character. Classifiers: accuracy, and loss in nats. It asks the view for all that the view
    grants: utility is the owner's to measure, not the adversary's.
    """
    test = dataset.test
    if not len(test):
        return {}
    loss = view.loss(test)
    if isinstance(test, TextRecords):
        return {"test loss (nats per character)": loss.sum(axis=1) / sum(len(text) for text in test.texts)}
    if isinstance(view, ArrayView) and isinstance(test, ArrayRecords):
        return {"test accuracy": (view.labels(test.x) == test.y).mean(axis=1), "test loss (nats)": loss.mean(axis=1)}
    return {"test loss (nats)": loss.mean(axis=1)}
