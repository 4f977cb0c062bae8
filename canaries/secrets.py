"""Secret sequences: uniform random values of a known space inside a template, inserted a known number of times."""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from canaries.base import CanaryDesign, Secret
from canaries.errors import InputError
from canaries.records import Dataset, TextRecords
from canaries.spaces import Space, slots, space_of

NAMES = ("name", "person")


@dataclass(frozen=True)
class Secrets(CanaryDesign):
    """One text per canary: a random value after a random name, as in Carlini et al. (2019), "The Secret Sharer".

    The name tells the canaries apart and is known to the adversary; the value is uniform over its space and
    independent of everything else, so one guess of it is right with probability 1 / |space| where nothing leaked. A
    claim covers one record: a canary that stands in r records is protected by the group guarantee alone (r times
    epsilon for pure DP).

    Attributes:
        template: the text: {name} (random letters) or {person} (a synthetic name in lower case, by the extra `faker`)
            once, and after it the secret: {secret}, or typed slots: {digits:n}, {letters:n}, {words:n} of a list of 64,
            {card:n} with Luhn's check digit, {email:n} at a reserved domain; text between them belongs to the secret.
        digits: how many random digits {secret} has; of several counts, canaries cycle through them, each count for as
            many canaries as there are repetition counts.
        repetitions: records to insert; canaries cycle through these counts, references too.
        name_letters: how many random lower-case letters {name} has.
        per_record: how often the text stands in each record, one after the other: copies of one record are protected
            together, as one.
    """

    template: str = "the access code of {name} is {secret}."
    digits: int | tuple[int, ...] = 6
    repetitions: tuple[int, ...] = (1, 16)
    name_letters: int = 6
    per_record: int = 1

    name: ClassVar[str] = "secrets"
    kind: ClassVar[Literal["array", "text"]] = "text"

    def __post_init__(self) -> None:
        for name in ("digits", "repetitions"):
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        lengths = self.digits if isinstance(self.digits, tuple) else (self.digits,)
        if not lengths or not all(_whole(length) and 1 <= length <= 18 for length in lengths):
            raise InputError(f"Expected whole numbers of digits in [1, 18], got digits = {self.digits!r}.")
        if not isinstance(self.template, str):
            raise InputError(f"Expected a template, a text, got template = {self.template!r}.")
        for name in ("name_letters", "per_record"):
            if not _whole(getattr(self, name)):
                raise InputError(f"Expected a whole number, got {name} = {getattr(self, name)!r}.")
        if not 1 <= self.name_letters <= 64:
            raise InputError(f"Expected name_letters in [1, 64], got name_letters = {self.name_letters}.")
        if self.per_record < 1:
            raise InputError(f"Expected per_record >= 1, got per_record = {self.per_record}.")
        counts = self.repetitions
        if not isinstance(counts, tuple) or not counts or not all(_whole(count) and count >= 1 for count in counts):
            raise InputError(
                f"Expected one or more repetition counts, whole numbers >= 1, got repetitions = {self.repetitions!r}."
            )
        self._parts(self._lengths[0])
        if len(self._lengths) > 1 and "{secret}" not in self.template:
            raise InputError(
                f"Several digits are for a template with {{secret}}, got digits = {self.digits} and template = "
                f"{self.template!r}, which says its own length."
            )

    @property
    def _lengths(self) -> tuple[int, ...]:
        return (self.digits,) if isinstance(self.digits, int) else self.digits

    @property
    def space(self) -> Space:
        """All values that a secret of this design may have, of the first of several lengths."""
        return space_of(self._parts(self._lengths[0])[1])

    def craft(self, dataset: Dataset, count: int, rng: np.random.Generator) -> tuple[TextRecords, tuple[Secret, ...]]:
        """`count` texts and the secrets in them; names are distinct, secrets independent.

        Raises:
            InputError: if there are fewer names than canaries (of {person} some hundred thousand), or {person} is asked
                for without `faker`.
        """
        kind = "name" if "{name}" in self.template else "person"
        names = self._names(count, rng) if kind == "name" else _people(count, rng)
        place = np.arange(count) // len(self.repetitions) % len(self._lengths)
        found: dict[int, Secret] = {}
        for which, length in enumerate(self._lengths):
            before, form, after = self._parts(length)
            space, mine = space_of(form), np.flatnonzero(place == which)
            for i, value in zip(mine.tolist(), space.draw(len(mine), rng), strict=True):
                found[i] = Secret(before.replace(f"{{{kind}}}", names[i]), value, after, space.alphabet, form)
        secrets = tuple(found[i] for i in range(count))
        return TextRecords(tuple(" ".join([s.text] * self.per_record) for s in secrets)), secrets

    def copies(self, count: int) -> NDArray[np.int64]:
        """int64[count]: the repetition counts, over and over."""
        return np.resize(np.array(self.repetitions, dtype=np.int64), count)

    def _parts(self, digits: int) -> tuple[str, str, str]:
        """What comes before the secret (with the name's slot), the secret's format, and what comes after.

        Raises:
            InputError: for a template of another make.
        """
        try:
            found = slots(self.template)
            fields = [field for _, field, _ in found if field is not None]
            bare = [spec for _, field, spec in found if field in (*NAMES, "secret")]
            if sum(fields.count(name) for name in NAMES) != 1 or fields[0] not in NAMES or len(fields) < 2 or any(bare):
                raise InputError("the name or the secret is missing, or out of order")
            slot = f"{{{fields[0]}}}"
            head, tail = self.template.split(slot)
            tail = tail.replace("{secret}", f"{{digits:{digits}}}")
            start, end = tail.index("{"), tail.rindex("}") + 1
            space_of(tail[start:end])
        except InputError as error:
            raise InputError(
                f"Expected a template with {{name}} once, or {{person}}, and after it {{secret}} or slots such as "
                f"{{digits:8}}, and no other braces, got template = {self.template!r}: {error}"
            ) from None
        return head + slot + tail[:start], tail[start:end], tail[end:]

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


def _people(count: int, rng: np.random.Generator, tries: int = 1000) -> list[str]:
    """Distinct first and last names in lower case, letters and one space alone, by faker."""
    try:
        from faker import Faker  # an extra
    except ImportError:
        raise InputError("The slot {person} needs the package faker; install it with: firedamp[faker].") from None
    fake = Faker("en_US")
    fake.seed_instance(int(rng.integers(2**32)))
    names: dict[str, None] = {}
    for _ in range(tries * count):
        if len(names) == count:
            break
        name = f"{fake.first_name()} {fake.last_name()}".lower()
        names.update({name: None} if name.replace(" ", "").isalpha() else {})
    if len(names) < count:
        raise InputError(f"The slot {{person}} gave {len(names)} different names, fewer than {count} canaries.")
    return list(names)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
