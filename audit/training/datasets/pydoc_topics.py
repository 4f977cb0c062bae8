"""CPython's own documentation, as text for small language models."""

from __future__ import annotations

from dataclasses import dataclass
from pydoc_data.topics import topics
from typing import ClassVar, Literal

from audit.training.datasets.base import DatasetSource, check_sizes
from audit.training.datasets.texts import normalise
from canaries.errors import InputError
from canaries.randomness import generator
from canaries.records import Dataset, TextRecords


@dataclass(frozen=True)
class Pydoc(DatasetSource):
    """Windows of the help topics that come with Python, `pydoc_data.topics` (PSF licence).

    Texts are normalised to ALPHABET and cut into windows that do not overlap; a window that was seen before is left
    out. Whole documents are set aside for the test part, at random but none with more than half of all windows needed
    there unless nothing smaller is left, so no test window comes from a document that a model trained on. The text
    itself differs between versions of Python.

    Attributes:
        window: characters in a record.
        train, pool, test: sizes of the parts; train None takes all that is left.
    """

    name: ClassVar[str] = "pydoc"
    kind: ClassVar[Literal["array", "text"]] = "text"

    window: int = 40
    train: int | None = 4096
    pool: int = 256
    test: int = 512

    @property
    def privacy_unit(self) -> str:
        """The record, in a claim's words."""
        return f"window of {self.window} characters"

    def load(self, seed: int) -> Dataset:
        """The windows, split by `seed`.

        Raises:
            InputError: if the sizes do not fit.
        """
        check_sizes(self.name, self.train, self.pool, self.test)
        if self.window < 1:
            raise InputError(f"Expected window >= 1 for data set '{self.name}', got {self.window}.")
        documents = self._documents()
        order = generator(seed, "documents", self.name).permutation(len(documents))
        shuffled = [documents[i] for i in order]
        small = [document for document in shuffled if len(document) <= self.test / 2]
        large = [document for document in shuffled if len(document) > self.test / 2]
        held_out: list[str] = []
        rest: list[str] = []
        for document in small + large:
            (held_out if len(held_out) < self.test else rest).extend(document)
        wanted = (1 if self.train is None else self.train) + self.pool
        if len(held_out) < self.test or len(rest) < wanted:
            raise InputError(
                f"Data set '{self.name}' has {len(held_out) + len(rest)} windows of {self.window} characters, "
                f"{len(held_out)} of them in documents held out for test={self.test}; the other {len(rest)} are fewer "
                f"than train={self.train or 'at least 1'} and pool={self.pool} need."
            )
        rng = generator(seed, "split", self.name)
        test = rng.permutation(len(held_out))[: self.test]
        order = rng.permutation(len(rest))
        pool, train = order[: self.pool], order[self.pool :][: self.train]
        records = TextRecords(tuple(rest))
        return Dataset(self.name, records.take(train), records.take(pool), TextRecords(tuple(held_out)).take(test))

    def _documents(self) -> list[list[str]]:
        """The windows of each document, each window once in all."""
        seen: set[str] = set()
        documents = []
        for _, raw in sorted(topics.items()):
            text = normalise(raw)
            windows = [text[i : i + self.window] for i in range(0, len(text) - self.window + 1, self.window)]
            documents.append([w for w in dict.fromkeys(windows) if w not in seen])
            seen.update(windows)
        return documents
