"""Robustness to augmentations: how many shifted and turned copies of an image keep its label."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from attacks.label_only.base import Floats, LabelOnly, share_that_keeps
from attacks.view import ArrayView
from canaries.base import CanarySet
from canaries.errors import InputError
from canaries.records import ArrayRecords


@dataclass(frozen=True)
class Augmentations(LabelOnly):
    """Score = share of the canary, its shifts and its rotations that the model gives the canary's label.

    Choquette-Choo, Tramer, Carlini, Papernot (2021), "Label-Only Membership Inference Attacks", section 4.2: models
    trained with augmentation, or that generalise over it, keep a member's label under it. There a classifier is
    trained on the vector of answers; here they are counted, so that nothing has to be trained. Nothing is random.

    Attributes:
        shifts: copies are shifted by (i, j) pixels wherever 0 < |i| + |j| <= shifts; what comes in is `fill`.
        rotations: copies are turned by these angles, in degrees, about the centre, with bilinear interpolation.
        shape: [channels, height, width] of the images behind flat features; None where records are such images.
        fill: value of the background.
    """

    name: ClassVar[str] = "augmentations"

    shifts: int = 1
    rotations: tuple[float, ...] = (-15.0, -10.0, -5.0, 5.0, 10.0, 15.0)
    shape: tuple[int, int, int] | None = None
    fill: float = 0.0

    def __post_init__(self) -> None:
        if self.shifts < 0:
            raise InputError(f"Expected shifts >= 0 for attack '{self.name}', got {self.shifts}.")
        if not all(map(math.isfinite, (*self.rotations, self.fill))):
            raise InputError(f"Expected finite rotations and fill for attack '{self.name}'.")
        if self.shape is not None and min(self.shape) < 1:
            raise InputError(f"Expected a shape of sizes >= 1 for attack '{self.name}', got {list(self.shape)}.")

    @property
    def copies(self) -> int:
        """Queries for each canary: the record itself, its shifts and its rotations."""
        return 1 + 2 * self.shifts * (self.shifts + 1) + len(self.rotations)

    def measure(self, view: ArrayView, records: ArrayRecords, ids: tuple[str, ...], seed: int) -> Floats:
        """The share of copies that keep the label, float64[models, canaries].

        Raises:
            InputError: for records that are no images of `shape`.
        """
        shape = self.image_shape(records)

        def copies(i: int) -> NDArray[np.float32]:
            return self.augmented(records.x[i].reshape(shape)).reshape(-1, *records.x.shape[1:])

        return share_that_keeps(view, records, self.copies, copies)

    def check(self, canaries: CanarySet) -> None:
        """Refuse records that are no images of `shape`.

        Raises:
            InputError: for such records.
        """
        super().check(canaries)
        if isinstance(canaries.records, ArrayRecords):
            self.image_shape(canaries.records)

    def image_shape(self, records: ArrayRecords) -> tuple[int, ...]:
        """(channels, height, width) of the images that the records are.

        Raises:
            InputError: for records that are no images of `shape`.
        """
        shape = records.x.shape[1:] if self.shape is None else self.shape
        if len(shape) != 3 or math.prod(shape) != math.prod(records.x.shape[1:]):
            raise InputError(
                f"Attack '{self.name}' needs images: expected records of shape [channels, height, width], or the field "
                f"shape with as many values, got records of shape {list(records.x.shape[1:])} and shape "
                f"{None if self.shape is None else list(self.shape)}."
            )
        return shape

    def augmented(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32[copies, channels, height, width]: the image, its shifts, its rotations."""
        span = range(-self.shifts, self.shifts + 1)
        moves = [(i, j) for i in span for j in span if 0 < abs(i) + abs(j) <= self.shifts]
        shifted = [ndimage.shift(image, (0, i, j), order=0, cval=self.fill) for i, j in moves]
        turned = [
            ndimage.rotate(image, angle, axes=(2, 1), reshape=False, order=1, mode="grid-constant", cval=self.fill)
            for angle in self.rotations
        ]
        return np.stack([image, *shifted, *turned]).astype(np.float32)
