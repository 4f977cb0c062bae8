"""scikit-learn estimators: what `audit.run` trains, and views of estimators that are fitted already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from attacks.view import Access, ArrayView
from canaries.errors import InputError
from canaries.randomness import derive_seed

Answer = Callable[[NDArray[np.float32]], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class ScikitLearn:
    """A training function of an unfitted classifier: `audit.run(ScikitLearn(RandomForestClassifier()), ...)`.

    Each call fits a clone with seeds of its own for every parameter called random_state, nested ones of pipelines and
    meta-estimators included. Records are flattened to one row each.

    Attributes:
        estimator: a classifier, or a pipeline that ends in one. Without `predict_proba`, its answers are its labels.
        classes: every label in sorted order, where a training set might lack one; None: those that are fitted.
    """

    estimator: Any
    classes: tuple[Any, ...] | None = None

    @property
    def __name__(self) -> str:
        """The estimator's class: what the report calls the pipeline."""
        return type(self.estimator).__name__

    def __call__(self, x: NDArray[np.float32], y: NDArray[Any], seed: int) -> Answer:
        """Fit a clone on x [n, ...] and labels y [n]; what it answers, as `answers` says.

        Raises:
            InputError: if it is fitted on a class that is not in `classes`.
        """
        model = clone(self.estimator)
        drawn = [name for name in model.get_params() if name == "random_state" or name.endswith("__random_state")]
        model.set_params(**{name: derive_seed(seed, name) % 2**32 for name in drawn})
        model.fit(_rows(x), y)
        return answers(model, model.classes_ if self.classes is None else self.classes)


def answers(estimator: Any, classes: Sequence[Any] | NDArray[Any]) -> Answer:
    """What a fitted classifier answers, x [n, ...] -> float64[n, classes]: probabilities, or labels as ones and zeros.

    Args:
        estimator: a fitted classifier.
        classes: every label in sorted order; those that the estimator has not seen get probability 0.

    Raises:
        InputError: if the estimator knows a class that is not among them.
    """
    known, every = np.asarray(estimator.classes_), np.asarray(classes)
    if unknown := sorted(set(known.tolist()) - set(every.tolist())):
        raise InputError(f"Expected classes that hold all of the estimator's, but it was fitted on {unknown[0]!r} too.")
    column = np.searchsorted(every, known)

    def ask(x: NDArray[np.float32]) -> NDArray[np.float64]:
        answer = np.zeros((len(x), len(every)))
        if hasattr(estimator, "predict_proba"):
            answer[:, column] = estimator.predict_proba(_rows(x))
        else:
            answer[np.arange(len(x)), np.searchsorted(every, estimator.predict(_rows(x)))] = 1
        return answer

    return ask


def fitted_view(estimators: Sequence[Any], classes: Sequence[Any] | NDArray[Any]) -> ArrayView:
    """A view of fitted classifiers, for attacks on models that somebody trained already.

    Probabilities if all of them have `predict_proba`, labels alone otherwise. Class i is the i-th of `classes`.

    Args:
        estimators: fitted classifiers, at least one.
        classes: every label in sorted order.

    Raises:
        InputError: without an estimator, or if one knows a class that is not among `classes`.
    """
    if not estimators:
        raise InputError("Expected at least one fitted estimator, got none.")
    asks = [answers(estimator, classes) for estimator in estimators]
    probabilities = all(hasattr(estimator, "predict_proba") for estimator in estimators)
    return ArrayView(
        lambda x: np.stack([ask(x) for ask in asks]),
        len(asks),
        Access.PROBABILITIES if probabilities else Access.LABELS,
        query_each=lambda x: np.stack([ask(own) for ask, own in zip(asks, x, strict=True)]),
    )


def _rows(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return x.reshape(len(x), -1)
