"""Arrays of your own, in a .npz file."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from audit.training.datasets.base import DatasetSource, classes_of, existing, split_records
from canaries.errors import InputError
from canaries.records import ArrayRecords, Dataset


@dataclass(frozen=True)
class Npz(DatasetSource):
    """The arrays `x` [n, features...] and `y` [n] of a .npz file; features are taken as they are.

    Labels of any type: class i is the i-th value of y in sorted order.

    Attributes:
        path: the file.
        train, pool, test: sizes of the parts; train None takes all that is left.
    """

    name: ClassVar[str] = "npz"
    kind: ClassVar[Literal["array", "text"]] = "array"

    path: str
    train: int | None = None
    pool: int = 0
    test: int = 0

    def load(self, seed: int) -> Dataset:
        """The arrays, split by `seed`.

        Raises:
            InputError: if the file is missing, no .npz file, or without an x and y that fit; or the sizes do not.
        """
        path = existing(self.path, "Write one with numpy.savez(path, x=..., y=...).")
        try:
            with np.load(path, allow_pickle=False) as arrays:
                if missing := {"x", "y"} - set(arrays):
                    raise InputError(f"{path} has no array '{min(missing)}'; it has {', '.join(sorted(arrays))}.")
                x, y = arrays["x"], arrays["y"]
        except InputError:
            raise
        except (OSError, ValueError, AttributeError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{path} is no .npz file of plain arrays: {error}") from None
        if x.dtype.kind not in "biuf":
            raise InputError(f"Expected numbers in array 'x' of {path}, got type {x.dtype}.")
        if y.ndim != 1 or (y.dtype.kind == "f" and not np.isfinite(y).all()):
            raise InputError(f"Expected y of shape [n] without NaN in {path}, got shape {y.shape} of {y.dtype}.")
        labels, classes = classes_of(y)
        records = ArrayRecords(x.astype(np.float32), labels, classes)
        return split_records(self.name, records, self.train, self.pool, self.test, seed)
