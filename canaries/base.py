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
from canaries.labels import InitialModel, least_likely_under
from canaries.records import ArrayRecords, Dataset, GradientRecords, Records, TextRecords
from canaries.spaces import Space, countable, space_of, uniform


@lru_cache(maxsize=256)
def _uniform(alphabet: str, length: int) -> Space:
    return countable(uniform(alphabet, length))


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
        """All values that the secret might have had.

        Raises:
            InputError: for more than 2^1000 of them.
        """
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
        substitutes: one per canary, what stands in its place where it is out; None: nothing does. A reference is not
            there, and neither is its substitute.
        users: who owns each canary, or empty where each stands for itself. A user's canaries share one coin.
        protected: what the claim covers: one "record", so that a user with r of them is a group of r; or the whole
            "user".
    """

    design: str
    ids: tuple[str, ...]
    records: Records
    repetitions: NDArray[np.int64]
    reference: NDArray[np.bool_]
    secrets: tuple[Secret, ...] = ()
    substitutes: Records | None = None
    users: tuple[str, ...] = ()
    protected: Literal["record", "user"] = "record"

    def __post_init__(self) -> None:
        n = len(self.ids)
        if len(set(self.ids)) != n:
            raise InputError("Canary ids must be unique.")
        lengths = {len(self.records), len(self.repetitions), len(self.reference), len(self.secrets) or n}
        if lengths != {n}:
            raise InputError(f"Expected {n} records, repetitions, references and secrets, got {sorted(lengths)}.")
        if n and int(self.repetitions.min()) < 1:
            raise InputError("Every canary needs at least one repetition.")
        if self.substitutes is not None and len(self.substitutes) != n:
            raise InputError(f"Expected {n} substitutes, one per canary, got {len(self.substitutes)}.")
        if len(self.users) not in (0, n):
            raise InputError(f"Expected an owner for each of {n} canaries or for none, got {len(self.users)}.")
        if self.protected not in ("record", "user"):
            raise InputError(f"Expected protected to be 'record' or 'user', got {self.protected!r}.")

    def __len__(self) -> int:
        return len(self.ids)

    def owners(self) -> NDArray[np.int64]:
        """int64[canaries]: the number of each canary's owner, by first appearance; 0, 1, ... where each is its own."""
        if not self.users:
            return np.arange(len(self))
        number: dict[str, int] = {}
        return np.array([number.setdefault(user, len(number)) for user in self.users], dtype=np.int64)

    def digest(self) -> str:
        """SHA-256 of all of it; part of every unit's key."""
        h = hashlib.sha256(repr((self.design, self.ids, self.secrets)).encode())
        h.update(self.records.digest().encode())
        h.update(self.repetitions.tobytes() + self.reference.tobytes())
        if self.substitutes is not None:
            h.update(b"substitutes" + self.substitutes.digest().encode())
        if self.users:
            h.update(repr(("users", self.users, self.protected)).encode())
        return h.hexdigest()


@dataclass(frozen=True)
class CanaryDesign(ABC):
    """How canaries are made. A subclass is a frozen dataclass; its fields are its whole configuration.

    Class attributes:
        name: what the configuration and the command line call it.
        kind: the records that it makes, "array" or "text"; or "gradient", which go with data of any kind.
        redrawn: whether it can be drawn more than once under the same ids, so that models may hold sets of their own.
    """

    name: ClassVar[str]
    kind: ClassVar[Literal["array", "text", "gradient"]]
    redrawn: ClassVar[bool] = True

    @abstractmethod
    def craft(self, dataset: Dataset, count: int, rng: np.random.Generator) -> tuple[Records, tuple[Secret, ...]]:
        """`count` records, and their secrets where the design has any. Must not depend on any coin."""

    @property
    def needs_initial_model(self) -> bool:
        """Whether the model that training starts from decides labels, and what else `settle` says."""
        return False

    def settle(self, initial: InitialModel, records: ArrayRecords) -> ArrayRecords:
        """The crafted records as the initial model decides them: each with its least likely label."""
        return least_likely_under(initial, records)

    def copies(self, count: int) -> NDArray[np.int64]:
        """int64[count]: how often each canary is inserted when its coin says so."""
        return np.ones(count, dtype=np.int64)

    def make(
        self,
        dataset: Dataset,
        count: int,
        rng: np.random.Generator,
        references: int = 0,
        initial: InitialModel | None = None,
    ) -> CanarySet:
        """`count` canaries, then `references` more of the same make that are never inserted.

        Args:
            dataset: what they are made for.
            count: how many a coin may insert.
            rng: what they are drawn from.
            references: how many more.
            initial: the model that every training starts from, for designs that ask it for labels.

        Raises:
            InputError: for counts out of range, data of another kind than the design makes, or no initial model where
                the design needs one.
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
        if self.needs_initial_model:
            if initial is None:
                raise InputError(
                    f"Canary design '{self.name}' asks the model that training starts "
                    "from, but each model starts from parameters of its own; use a trainer with initial = 'shared', "
                    "'pretrained' or 'given'."
                )
            assert isinstance(records, ArrayRecords)
            records = self.settle(initial, records)
        reference = np.arange(count + references) >= count
        ids = tuple(
            f"{self.name}-{'reference-' if ref else ''}{i if not ref else i - count:04d}"
            for i, ref in enumerate(reference)
        )
        copies = np.concatenate([self.copies(count), self.copies(references)])
        return CanarySet(self.name, ids, records, copies, reference, secrets)
