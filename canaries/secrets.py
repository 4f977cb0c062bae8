"""Secret sequences: uniform random digits inside a template, inserted a known number of times."""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from canaries.base import CanaryDesign, Secret
from canaries.errors import InputError
from canaries.records import Dataset, TextRecords


@dataclass(frozen=True)
class Secrets(CanaryDesign):
    """One text per canary: random digits after a random name, as in Carlini et al. (2019), "The Secret Sharer".

    The name tells the canaries apart and is known to the adversary; the digits are uniform and independent of
    everything else, so a guess of them is right with probability 10**-digits where nothing leaked. A claim
    covers one copy: a canary with r repetitions is protected by the group guarantee alone (FACTS: r times epsilon
    for pure DP).

    Attributes:
        template: the text, with {name} once and after it {secret} once.
        digits: how many random digits {secret} has.
        repetitions: copies to insert; canaries cycle through these counts, references too.
        name_letters: how many random lower-case letters {name} has.
    """

    template: str = "the access code of {name} is {secret}."
    digits: int = 6
    repetitions: tuple[int, ...] = (1, 16)
    name_letters: int = 6

    name: ClassVar[str] = "secrets"
    kind: ClassVar[Literal["array", "text"]] = "text"

    def __post_init__(self) -> None:
        if _fields(self.template) != ["name", "secret"]:
            raise InputError(
                f"Expected a template with {{name}} once and after it {{secret}} once, and no other braces, "
                f"got template = {self.template!r}."
            )
        for label, value, most in (("digits", self.digits, 18), ("name_letters", self.name_letters, 64)):
            if not 1 <= value <= most:
                raise InputError(f"Expected {label} in [1, {most}], got {label} = {value}.")
        object.__setattr__(self, "repetitions", tuple(self.repetitions))
        if not self.repetitions or min(self.repetitions) < 1:
            raise InputError(
                f"Expected one or more repetition counts, each >= 1, got repetitions = {self.repetitions}."
            )

    def craft(self, dataset: Dataset, count: int, rng: np.random.Generator) -> tuple[TextRecords, tuple[Secret, ...]]:
        """`count` texts and the secrets in them; names are distinct, secrets independent.

        Raises:
            InputError: if there are fewer names than canaries.
        """
        before, after = self.template.replace("{secret}", "\x00").split("\x00")
        names = self._names(count, rng)
        values = ["".join(map(str, row)) for row in rng.integers(10, size=(count, self.digits))]
        secrets = tuple(
            Secret(before.replace("{name}", name), value, after, string.digits)
            for name, value in zip(names, values, strict=True)
        )
        return TextRecords(tuple(s.prefix + s.value + s.suffix for s in secrets)), secrets

    def copies(self, count: int) -> NDArray[np.int64]:
        """int64[count]: the repetition counts, over and over."""
        return np.resize(np.array(self.repetitions, dtype=np.int64), count)

    def _names(self, count: int, rng: np.random.Generator) -> list[str]:
        possible = len(string.ascii_lowercase) ** self.name_letters
        if count > possible:
            raise InputError(
                f"name_letters = {self.name_letters} gives {possible} different names, fewer than {count} canaries."
            )
        names: dict[str, None] = {}
        while len(names) < count:
            names["".join(rng.choice(list(string.ascii_lowercase), self.name_letters))] = None
        return list(names)


def _fields(template: str) -> list[str | None]:
    """The names in braces, in order; an unnamed entry for anything that is no plain {name}."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError:
        return [None]
    if "".join(text + (f"{{{field}}}" if field is not None else "") for text, field, *_ in parts) != template:
        return [None]
    return [field for _, field, *_ in parts if field is not None]
