"""Membership of a secret: is it likelier than random values in its place?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from attacks.base import Attack
from attacks.view import Access, View
from canaries.base import CanarySet
from canaries.errors import InputError
from canaries.randomness import generator
from canaries.records import TextRecords


@dataclass(frozen=True)
class SecretMembership(Attack):
    """Score = how much likelier the text is than the same text with random secrets, in their standard deviations.

    Carlini et al. (2019), "The Secret Sharer", section 4, read as a membership test. The random secrets show what the
    model makes of the rest of the text, so no other model is needed. It asks for losses alone.

    Attributes:
        values: how many random values of the secret's space to compare with.
    """

    values: int = 32

    name: ClassVar[str] = "secret-membership"
    access: ClassVar[Access] = Access.LOSS
    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    family: ClassVar[str] = "membership"
    evidence: ClassVar[frozenset[str]] = frozenset()
    needs_secrets: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.values < 2:
            raise InputError(f"Expected values >= 2, got values = {self.values}.")

    def score(
        self, view: View, canaries: CanarySet, seed: int
    ) -> tuple[NDArray[np.float64], Mapping[str, NDArray[Any]]]:
        """float64[models, canaries], in standard deviations; no evidence.

        Raises:
            InputError: if the canaries have no secrets.
        """
        self.check(canaries)
        rng = generator(seed, "random secrets")
        assert isinstance(canaries.records, TextRecords)
        texts = [
            text.replace(s.prefix + s.value, s.prefix + value)
            for text, s in zip(canaries.records.texts, canaries.secrets, strict=True)
            for value in s.space.draw(self.values, rng)
        ]
        own = view.loss(canaries.records)
        random = view.loss(TextRecords(tuple(texts))).reshape(*own.shape, self.values)
        spread = random.std(axis=2, ddof=1)
        return (random.mean(axis=2) - own) / np.where(spread > 0, spread, 1.0), {}
