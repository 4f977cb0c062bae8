"""Texts of your own: a file, JSON Lines or a folder, cut into the records that are to be protected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from audit.training.datasets.base import DatasetSource, check_sizes, existing
from audit.training.datasets.json_lines import check_writable, strings
from audit.training.datasets.texts import normalise, untagged
from canaries.errors import InputError
from canaries.randomness import generator
from canaries.records import Dataset, TextRecords

HOW = "Give the path of a text file, a .jsonl file with one object on each line, or a folder of text files."
JSON_LINES = (".jsonl", ".ndjson")


@dataclass(frozen=True)
class TextFiles(DatasetSource):
    """Documents from a file, a .jsonl file or a folder, cut into records; the record is the privacy unit.

    A plain file is one document; in .jsonl each line is one, with its text in `field`; in a folder each file is one, in
    the order of their paths, those below it included. The unit decides what adding or removing one record means, and
    the claim says it:

    - "window": `window` characters of a document; one document then has many records, and is protected as a group.
      What is left over at its end is left out, and so is a document that is shorter.
    - "line": one line.
    - "document": one document, cut off after `window` characters.
    - "author": all documents with the same value in `author` (of .jsonl), one after the other, cut off likewise.

    Of several documents (or authors) whole ones are set aside for the test part, at random but none with more than
    twice the records needed there unless nothing smaller is left, and then the smallest: no test record comes from a
    document that a model trained on. A single document is split at random. A text that was seen before is left out.
    What is cut off of documents and authors is not learnt from at all: the record is then everything that the person
    has in the training set.

    Attributes:
        path: the file or folder.
        unit: what a record is.
        window: the most characters of a record.
        field: the key of the text in .jsonl.
        author: the key of the author in .jsonl.
        files: which files of a folder, as a pattern such as "*.txt"; files that are no UTF-8 are read as Latin-1.
        train, pool, test: sizes of the parts; train None takes all that is left.
        normalised: lower case, and characters outside ALPHABET as spaces; false keeps texts as they are.
        tagged: texts are words with their parts of speech, as in "The/at jury/nn"; the tags are left out.
    """

    name: ClassVar[str] = "text-files"
    kind: ClassVar[Literal["array", "text"]] = "text"

    path: str
    unit: Literal["window", "line", "document", "author"] = "window"
    window: int = 40
    field: str = "text"
    author: str = "author"
    files: str = "*"
    train: int | None = None
    pool: int = 0
    test: int = 0
    normalised: bool = True
    tagged: bool = False

    @property
    def privacy_unit(self) -> str:
        """The record, in a claim's words.

        Raises:
            InputError: for a unit that there is not.
        """
        self._check_unit()
        return {
            "window": f"window of {self.window} characters",
            "line": "line",
            "document": f"document (its first {self.window} characters)",
            "author": f"author (the first {self.window} characters)",
        }[self.unit]

    def _check_unit(self) -> None:
        if self.unit not in ("window", "line", "document", "author") or self.window < 1:
            raise InputError(
                f"Expected unit 'window', 'line', 'document' or 'author' and window >= 1 for data set '{self.name}', "
                f"got {self.unit!r} and {self.window}."
            )

    def load(self, seed: int) -> Dataset:
        """The records, split by `seed`.

        Raises:
            InputError: if a file is missing or malformed, or the sizes do not fit.
        """
        check_sizes(self.name, self.train, self.pool, self.test)
        self._check_unit()
        groups = self._groups()
        order = generator(seed, "documents", self.name).permutation(len(groups)).tolist()
        aside = self._aside(order, [len(group) for group in groups])
        held_out = [text for i in order if i in aside for text in groups[i]]
        rest = [text for i in order if i not in aside for text in groups[i]]
        rng = generator(seed, "split", self.name)
        if len(groups) == 1 and self.test:
            shuffled = [rest[i] for i in rng.permutation(len(rest))]
            held_out, rest = shuffled[: self.test], shuffled[self.test :]
        wanted = (1 if self.train is None else self.train) + self.pool
        if len(held_out) < self.test or len(rest) < wanted:
            raise InputError(self._too_few(len(held_out), len(rest), len(groups)))
        test = rng.permutation(len(held_out))[: self.test]
        shuffle = rng.permutation(len(rest))
        records = TextRecords(tuple(rest))
        pool, train = shuffle[: self.pool], shuffle[self.pool :][: self.train]
        return Dataset(self.name, records.take(train), records.take(pool), TextRecords(tuple(held_out)).take(test))

    def _aside(self, order: list[int], sizes: list[int]) -> set[int]:
        """Which of several documents, of so many records each and in this order, are held out for the test part."""
        found: set[int] = set()
        held_out = 0
        for i in sorted(order, key=lambda i: max(2 * self.test, sizes[i])):  # stable: small ones stay in random order
            if len(sizes) > 1 and held_out < self.test:
                found.add(i)
                held_out += sizes[i]
        return found

    def _too_few(self, held_out: int, rest: int, groups: int) -> str:
        short = f"; texts shorter than window={self.window} are left out" if self.unit == "window" else ""
        whole = "author" if self.unit == "author" else "document"
        where = f"in {whole}s held out whole" if groups > 1 else "held out"
        return (
            f"Data set '{self.name}' has {held_out + rest} records of one {self.privacy_unit}, {held_out} of them "
            f"{where} for test={self.test}; the other {rest} have to be enough for train="
            f"{self.train or 'at least 1'} and pool={self.pool}{short}."
        )

    def _groups(self) -> list[list[str]]:
        """The records of each document or author, each text once in all."""
        documents: dict[str, list[str]] = {}
        for number, (who, text) in enumerate(self._documents()):
            bare = untagged(text) if self.tagged else text
            documents.setdefault(who if self.unit == "author" else str(number), []).append(bare)
        seen: set[str] = set()
        groups = []
        for texts in documents.values():
            found = [r for r in self._records(texts) if r.strip() and r not in seen]
            unique = list(dict.fromkeys(found))
            seen.update(unique)
            groups += [unique] if unique else []
        return groups

    def _records(self, texts: list[str]) -> list[str]:
        tidy = normalise if self.normalised else str
        if self.unit == "line":
            return [tidy(line) for text in texts for line in text.splitlines()]
        whole = " ".join(tidy(text) for text in texts)
        if self.unit == "window":
            return [whole[i : i + self.window] for i in range(0, len(whole) - self.window + 1, self.window)]
        return [whole[: self.window]]

    def _documents(self) -> Iterator[tuple[str, str]]:
        """(author, text) of each document; the author is empty where none is asked for."""
        path = existing(self.path, HOW)
        if path.suffix.lower() in JSON_LINES:
            yield from self._json_lines(path)
        elif self.unit == "author":
            raise InputError(f"Records of one author each need a .jsonl file with the key '{self.author}', got {path}.")
        elif path.is_dir():
            try:
                paths = sorted(p for p in path.rglob(self.files) if p.is_file())
            except (NotImplementedError, ValueError):
                raise InputError(
                    f"Expected files = a pattern inside the folder, such as '*.txt', got '{self.files}'."
                ) from None
            if not paths:
                raise InputError(f"No file matches '{self.files}' in {path}.")
            yield from (("", _read(p)) for p in paths)
        else:
            yield "", _read(path)

    def _json_lines(self, path: Path) -> Iterator[tuple[str, str]]:
        keys = (self.author, self.field) if self.unit == "author" else (self.field,)
        for number, values in strings(_read(path), path, *keys):
            if not self.normalised:
                check_writable(values[-1], f"Line {number} of {path}")
            yield (values[0] if len(values) > 1 else ""), values[-1]


def _read(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error}.") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")
