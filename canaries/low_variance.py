"""Low-variance canaries: points where the training data hardly varies (ClipBKD)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from canaries.base import CanaryDesign, Secret
from canaries.errors import InputError
from canaries.labels import LEAST_LIKELY
from canaries.records import ArrayRecords, Dataset, Records


@dataclass(frozen=True)
class LowVariance(CanaryDesign):
    """ClipBKD (Jagielski, Ullman, Oprea 2020, "Auditing Differentially Private Machine Learning", Algorithm 3).

    A point along the right singular direction of the (uncentred) training features with the least singular value,
    scaled to the mean L2 norm of the training records: its gradient survives clipping, and hardly any other record's
    gradient points the same way. Its label is the least likely class there, by the rule of the nearest class mean (the
    class whose mean is farthest; the paper asks a trained model).

    Canary i lies along the i-th lowest direction; after all d directions their opposites follow. The sign that comes
    first has the direction's largest entry positive. Nothing is random here: equal data give equal canaries.

    Attributes:
        label: None takes the class whose mean is farthest; "least-likely" asks the model that training starts from.
    """

    name: ClassVar[str] = "low-variance"
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
        """`count` points along the lowest directions.

        Raises:
            InputError: if there is no training record, or `count` is more than twice the number of features.
        """
        train = dataset.train
        assert isinstance(train, ArrayRecords)
        if not len(train):
            raise InputError(f"Low-variance canaries are made from training data, but '{dataset.name}' has none.")
        x = train.x.reshape(len(train), -1).astype(np.float64)
        features = x.shape[1]
        if count > 2 * features:
            raise InputError(
                f"Low-variance canaries have two signs of {features} directions in '{dataset.name}', "
                f"{2 * features} in all, but {count} were asked for."
            )
        directions = lowest_directions(x, min(count, features))
        points = np.concatenate([directions, -directions])[:count] * np.linalg.norm(x, axis=1).mean()
        y = least_likely(points, x, train.y)
        return ArrayRecords(points.reshape(count, *train.x.shape[1:]), y, train.classes), ()


def lowest_directions(x: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """float64[count, features]: right singular vectors of `x` [n, features], the least singular value first.

    Each has its largest entry (in absolute value) positive.
    """
    vectors = np.linalg.eigh(x.T @ x).eigenvectors.T[:count]  # eigh sorts by ascending eigenvalue
    largest = np.abs(vectors).argmax(axis=1)
    return vectors * np.sign(vectors[np.arange(count), largest])[:, None]


def least_likely(points: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64[n]: for each of `points` [n, features], the class in `y` whose mean of `x` is farthest away."""
    present = np.unique(y)
    means = np.stack([x[y == label].mean(axis=0) for label in present])
    distance = (means**2).sum(axis=1) - 2 * points @ means.T  # less the point's own norm, equal for all
    return present[distance.argmax(axis=1)]
