"""Trainers: a data set, canaries and coins in, a view of the trained models out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from attacks.view import Access, View
from attacks.vocabulary import Vocabulary
from audit.mechanism import DPSGD
from audit.training.speed import Speed
from canaries.base import CanarySet
from canaries.records import Dataset


@runtime_checkable
class Trainer(Protocol):
    """Anything that trains. Model i must depend on its configuration, its row and seeds[i] alone."""

    def train(self, dataset: Dataset, canaries: CanarySet, inserted: NDArray[np.bool_], seeds: Sequence[int]) -> View:
        """Train one model per row of `inserted` (bool[models, canaries]) and return a view with full access.

        Model i trains on `dataset.train` and each canary where inserted[i] is true, as often as it repeats.
        """
        ...


@dataclass(frozen=True)
class SweepTrainer(ABC):
    """A trainer that a sweep can set to any claimed epsilon. A subclass's fields are its whole configuration.

    Class attributes:
        name: what the configuration calls it.
        block: how many models it likes to train at once; no part of any result's identity.
    """

    name: ClassVar[str]
    block: ClassVar[int] = 1

    @property
    @abstractmethod
    def mechanism(self) -> DPSGD | None:
        """What the accountant is told; None where nothing private is claimed."""

    @property
    def batches(self) -> str:
        """How batches are drawn, in a claim's words; "unknown" where nothing private is claimed."""
        return "unknown" if self.mechanism is None else self.mechanism.sampling

    @property
    def symbols(self) -> str | Vocabulary | None:
        """What the tokens of its language models are: characters, or a tokeniser; None where that is not known."""
        return None

    @property
    def white_box(self) -> frozenset[Access]:
        """What its views grant beside the final models' answers, as configured."""
        return frozenset()

    @abstractmethod
    def with_noise(self, noise_multiplier: float) -> Self:
        """The same trainer at another noise multiplier; 0 asks for no noise.

        Raises:
            InputError: if it adds no noise and `noise_multiplier` is not 0.
        """

    def initial_view(self, dataset: Dataset) -> View | None:
        """A view of the one model that all models start from; None where each starts from parameters of its own."""
        return None

    def outside(self) -> str:
        """A digest of what its models depend on beside its fields, such as a file; part of every unit's key."""
        return ""

    @abstractmethod
    def train(
        self,
        dataset: Dataset,
        canaries: CanarySet,
        inserted: NDArray[np.bool_],
        seeds: Sequence[int],
        speed: Speed | None = None,
    ) -> View:
        """As in `Trainer`; `speed` says where and in what portions, and no result depends on it."""

    def check(self, dataset: Dataset, canaries: CanarySet) -> None:  # noqa: B027  # a hook, free to stay empty
        """Refuse data that this trainer cannot learn from, before anything is trained.

        Raises:
            InputError: a sentence that says what does not fit.
        """
