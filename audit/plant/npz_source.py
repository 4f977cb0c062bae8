"""Training sets of arrays in .npz files."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.plant.source import Order, Source, choose, free_name
from canaries.errors import InputError
from canaries.records import ArrayRecords, Dataset, Records


class NpzSource(Source):
    """A .npz file with an array of labels [n] and one of features [n, ...]; names, types and compression are kept.

    Features are taken as they are. Canaries are rounded and clipped to what the type can hold. Of other arrays, those
    with n rows get, for each canary, a copy of a random row; the rest stay as they are.

    Args:
        data: the file.
        path: what messages call it.
        label: the array of labels, "y" by default.
        field: the array of features, "x" by default.

    Raises:
        InputError: for no .npz file, missing arrays, and shapes that do not fit.
    """

    def __init__(self, data: bytes, path: str, label: str | None, field: str | None) -> None:
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                self._arrays = {name: file[name] for name in file.files}
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                self._packed = any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist())
        except (OSError, ValueError, AttributeError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{path} is no .npz file of plain arrays: {error}") from None
        names = list(self._arrays)
        self._y, self._x = choose(label, "y", names, "label", path), choose(field, "x", names, "field", path)
        x, y = self._arrays[self._x], self._arrays[self._y]
        if x.dtype.kind not in "biuf" or x.ndim < 2 or y.shape != x.shape[:1] or not len(y):
            raise InputError(
                f"Expected numbers '{self._x}' of shape [n, features...] and '{self._y}' of shape [n] in {path}, "
                f"got {x.dtype} of {x.shape} and {y.shape}."
            )
        self.rows = len(y)
        self._labels, position = np.unique(y, return_inverse=True)
        train = ArrayRecords(x.astype(np.float32), position, len(self._labels))
        self.dataset = Dataset(path, train, train, train.take(slice(0)))

    def express(self, records: Records, rng: np.random.Generator) -> list[Any]:
        """Each record as its rows of all arrays that have n of them, by name."""
        assert isinstance(records, ArrayRecords)
        x = _cast(records.x, self._arrays[self._x].dtype)
        donors = rng.integers(self.rows, size=len(records))
        rows = {name: array[donors] for name, array in self._arrays.items() if self._per_row(array)}
        rows |= {self._x: x, self._y: self._labels[records.y]}
        return [{name: values[i] for name, values in rows.items()} for i in range(len(records))]

    def seeded(self, inserted: Sequence[Any], order: Order) -> bytes:
        """The same arrays, with the rows of the canaries among the original ones."""
        arrays = dict(self._arrays)
        for name, array in self._arrays.items():
            if self._per_row(array):
                more = [row[name] for row in inserted]
                arrays[name] = (np.concatenate([array, _stack(more, array)]))[order]
        return self._save(arrays)

    def listing(self, ids: Sequence[str], rows: Sequence[Any]) -> bytes:
        """The same arrays with the canaries' rows alone, and one of their ids."""
        arrays = {name: _stack([row[name] for row in rows], self._arrays[name]) for name in rows[0]}
        return self._save({free_name(list(self._arrays)): np.array(ids), **arrays})

    def describe(self, row: Any) -> Any:
        """The label, and the SHA-256 of the features."""
        return {"label": row[self._y].item(), "sha256": hashlib.sha256(row[self._x].tobytes()).hexdigest()}

    def _per_row(self, array: NDArray[Any]) -> bool:
        return array.ndim > 0 and len(array) == self.rows

    def _save(self, arrays: dict[str, NDArray[Any]]) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED if self._packed else zipfile.ZIP_STORED) as archive:
            for name, array in arrays.items():
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
        return buffer.getvalue()


def _cast(x: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    """`x` as `dtype`: floats as they are, integers rounded and clipped, truth values from one half."""
    if dtype.kind == "f":
        return x.astype(dtype)
    if dtype.kind == "b":
        return x >= 0.5
    limits = np.iinfo(dtype)
    exact = np.rint(x.astype(np.float64))
    inside = np.clip(exact, float(limits.min), np.nextafter(float(limits.max) + 1, 0))
    return inside.astype(dtype)


def _stack(rows: Sequence[Any], like: NDArray[Any]) -> NDArray[Any]:
    return np.array(rows, dtype=like.dtype).reshape(len(rows), *like.shape[1:])
