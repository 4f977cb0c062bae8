"""Canary designs and the canaries that they make."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from canaries.errors import InputError
from canaries.records import ArrayRecords, Dataset, GradientRecords, Records, TextRecords
from canaries.spaces import Space, space_of, uniform

_uniform = lru_cache(maxsize=256)(uniform)


@dataclass(frozen=True)
class Secret:
    """A secret drawn uniformly from its space, inside `prefix` + value + `suffix`.

    Attributes:
        prefix: what stands before it; known to the adversary.
        value: the secret.
        suffix: what stands after it.
        alphabet: the characters that values are made of.
        form: the space as a format of `canaries.spaces`; empty for all strings over `alphabet` of this length.
    """

    prefix: str
    value: str
    suffix: str
    alphabet: str
    form: str = ""

    @property
    def text(self) -> str:
        """The whole text."""
        return self.prefix + self.value + self.suffix

    @property
    def space(self) -> Space:
        """All values that the secret might have had."""
        return space_of(self.form) if self.form else _uniform(self.alphabet, len(self.value))

    @property
    def space_size(self) -> int:
        """How many equally likely values the secret had."""
        return self.space.size


@dataclass(frozen=True, eq=False)
class CanarySet:
    """Canaries, a row each, with everything that has to travel with them.

    Attributes:
        design: the design's name.
        ids: one unique id per canary; scores and coins are joined by it.
        records: one record per canary.
        repetitions: int64[canaries], copies that are inserted; the claim covers one copy.
        reference: bool[canaries], true where the canary is never inserted, whatever its coin says
            (the negative control: an attack must see nothing there).
        secrets: one per canary, or empty where the design has none.
    """

    design: str
    ids: tuple[str, ...]
    records: Records
    repetitions: NDArray[np.int64]
    reference: NDArray[np.bool_]
    secrets: tuple[Secret, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.ids)
        if len(set(self.ids)) != n:
            raise InputError("Canary ids must be unique.")
        lengths = {len(self.records), len(self.repetitions), len(self.reference), len(self.secrets) or n}
        if lengths != {n}:
            raise InputError(f"Expected {n} records, repetitions, references and secrets, got {sorted(lengths)}.")
        if n and int(self.repetitions.min()) < 1:
            raise InputError("Every canary needs at least one repetition.")

    def __len__(self) -> int:
        return len(self.ids)

    def digest(self) -> str:
        """SHA-256 of all of it; part of every unit's key."""
        h = hashlib.sha256(repr((self.design, self.ids, self.secrets)).encode())
        h.update(self.records.digest().encode())
        h.update(self.repetitions.tobytes() + self.reference.tobytes())
        return h.hexdigest()


@dataclass(frozen=True)
class CanaryDesign(ABC):
    """How canaries are made. A subclass is a frozen dataclass; its fields are its whole configuration.

    Class attributes:
        name: what the configuration and the command line call it.
        kind: the records that it makes, "array" or "text"; or "gradient", which go with data of any kind.
    """

    name: ClassVar[str]
    kind: ClassVar[Literal["array", "text", "gradient"]]

    @abstractmethod
    def craft(self, dataset: Dataset, count: int, rng: np.random.Generator) -> tuple[Records, tuple[Secret, ...]]:
        """`count` records, and their secrets where the design has any. Must not depend on any coin."""

    def copies(self, count: int) -> NDArray[np.int64]:
        """int64[count]: how often each canary is inserted when its coin says so."""
        return np.ones(count, dtype=np.int64)

    def make(self, dataset: Dataset, count: int, rng: np.random.Generator, references: int = 0) -> CanarySet:
        """`count` canaries, then `references` more of the same make that are never inserted.

        Raises:
            InputError: for counts out of range, or data of another kind than the design makes.
        """
        if count < 1 or references < 0:
            raise InputError(f"Expected count >= 1 and references >= 0, got {count} and {references}.")
        wrong = {"array": TextRecords, "text": ArrayRecords, "gradient": GradientRecords}[self.kind]
        if isinstance(dataset.train, wrong):
            raise InputError(
                f"Canary design '{self.name}' makes {self.kind} records, but data set '{dataset.name}' holds "
                f"{'text' if self.kind == 'array' else 'array'} records."
            )
        records, secrets = self.craft(dataset, count + references, rng)
        reference = np.arange(count + references) >= count
        ids = tuple(
            f"{self.name}-{'reference-' if ref else ''}{i if not ref else i - count:04d}"
            for i, ref in enumerate(reference)
        )
        copies = np.concatenate([self.copies(count), self.copies(references)])
        return CanarySet(self.name, ids, records, copies, reference, secrets)
