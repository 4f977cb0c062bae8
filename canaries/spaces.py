"""Spaces of secrets: a format with typed slots, and all the values that it allows, counted exactly.

A format is text with slots in braces: {digits:8}, {letters:6}, {words:3}, {card:16}, {email:6}. It is read into a
small automaton, whose states a search can walk without ever listing the values.
"""

from __future__ import annotations

import itertools
import math
import string
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from canaries.errors import InputError

_WORDS = """
acid arch army atom bank bark bear bell bird blue boat bone book brow bulb cake calf camp cape card cart cave city clay
coal coat coin cork corn crow cube dawn deer desk dice dock door dove drum dust echo fern film fire fish flag foam fork
frog fuel gate gift goat gold hail hand harp hawk helm hill horn hour iron jade
"""
WORDS = tuple(_WORDS.split())
"""64 words of four letters: 6 bits each."""

MOST_BITS = 1000
"""Larger spaces have no number of values that a float holds."""

DOMAINS = ("example.com", "example.net", "example.org")
"""Reserved for documentation (RFC 2606), so that no drawn address is anybody's."""

Moves = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Space:
    """A finite set of values as an automaton: value = characters along a path from state 0 to a state without moves.

    No value is the beginning of another, so a value is complete exactly where no character may follow.

    Attributes:
        moves: for each state, its (character, next state), characters distinct and next states larger.
    """

    moves: tuple[Moves, ...]

    @cached_property
    def completions(self) -> tuple[int, ...]:
        """How many values pass through each state, counted from it onwards."""
        counts = [1] * len(self.moves)
        for state in reversed(range(len(self.moves))):
            if self.moves[state]:
                counts[state] = sum(counts[after] for _, after in self.moves[state])
        return tuple(counts)

    @property
    def size(self) -> int:
        """How many values there are."""
        return self.completions[0]

    @property
    def alphabet(self) -> str:
        """Every character that a value may have, sorted."""
        return "".join(sorted({character for moves in self.moves for character, _ in moves}))

    @cached_property
    def longest(self) -> int:
        """Characters of the longest value."""
        depth = [0] * len(self.moves)
        for state in reversed(range(len(self.moves))):
            depth[state] = max((1 + depth[after] for _, after in self.moves[state]), default=0)
        return depth[0]

    def __contains__(self, value: str) -> bool:
        return self.state(value) is not None and not self.moves[self.state(value) or 0]

    def state(self, beginning: str) -> int | None:
        """The state after these characters; None where no value begins with them."""
        here = 0
        for character in beginning:
            after = dict(self.moves[here]).get(character)
            if after is None:
                return None
            here = after
        return here

    def value(self, rank: int) -> str:
        """The value that has `rank` values before it, in the order of moves.

        Raises:
            InputError: for a rank outside [0, size).
        """
        if not 0 <= rank < self.size:
            raise InputError(f"Expected a rank in [0, {self.size}), got {rank}.")
        here, characters = 0, []
        while self.moves[here]:
            for character, after in self.moves[here]:
                if rank < self.completions[after]:
                    characters.append(character)
                    here = after
                    break
                rank -= self.completions[after]
        return "".join(characters)

    def draw(self, count: int, rng: np.random.Generator) -> list[str]:
        """`count` values, independent and uniform."""
        symbols = self._one_alphabet()
        if symbols:
            return ["".join(symbols[i] for i in row) for row in rng.integers(len(symbols), size=(count, self.longest))]
        return [self.value(_below(self.size, rng)) for _ in range(count)]

    def _one_alphabet(self) -> list[str]:
        """The characters, where every place has the same ones and the same number of values follows; else empty."""
        first = [character for character, _ in self.moves[0]]
        same = all([c for c, _ in moves] == first for moves in self.moves if moves)
        return first if same and self.size == len(first) ** self.longest else []


def _below(limit: int, rng: np.random.Generator) -> int:
    """A uniform integer in [0, limit), of any size, by rejection."""
    bits = limit.bit_length()
    while True:
        number = int.from_bytes(rng.bytes((bits + 7) // 8), "big") >> (-bits % 8)
        if number < limit:
            return number


def uniform(alphabet: str, length: int) -> Space:
    """All strings of `length` characters of `alphabet`."""
    return Space((*(tuple((c, i + 1) for c in alphabet) for i in range(length)), ()))


def one_of(values: Sequence[str]) -> Space:
    """These values.

    Raises:
        InputError: for no values, an empty one, one twice, or one that begins another.
    """
    unique = sorted(set(values))
    if not unique or not unique[0] or len(unique) != len(values):
        raise InputError(f"Expected one or more distinct values of one or more characters, got {list(values)}.")
    for one, other in itertools.pairwise(unique):
        if other.startswith(one):
            raise InputError(f"Expected values of which none begins another, got {one!r} and {other!r}.")
    nodes = sorted({value[:i] for value in unique for i in range(len(value))}, key=lambda n: (len(n), n))
    state = {node: i for i, node in enumerate(nodes)}
    final = len(nodes)
    children: list[dict[str, int]] = [{} for _ in nodes]
    for value in unique:
        for i, character in enumerate(value):
            children[state[value[:i]]][character] = state.get(value[: i + 1], final)
    return Space((*(tuple(sorted(moves.items())) for moves in children), ()))


def luhn(digits: int) -> Space:
    """All numbers of `digits` digits whose last one is the check digit of Luhn (1960), as on payment cards.

    >>> luhn(16).size == 10**15, "4111111111111111" in luhn(16), "4111111111111112" in luhn(16)
    (True, True, False)
    """

    def step(place: int, total: int, digit: int) -> int:
        doubled = digit * 2 if (digits - 1 - place) % 2 else digit
        return (total + doubled // 10 + doubled % 10) % 10

    layers: list[tuple[Moves, ...]] = []  # a state is how many digits there were, and their sum modulo 10
    for place in range(digits):
        sums = range(10) if place else range(1)
        offset = 1 + 10 * place
        last = place == digits - 1
        layers.append(
            tuple(
                tuple(
                    (str(d), offset if last else offset + step(place, total, d))
                    for d in range(10)
                    if not last or step(place, total, d) == 0
                )
                for total in sums
            )
        )
    return Space((*(moves for layer in layers for moves in layer), ()))


def chain(spaces: Sequence[Space]) -> Space:
    """A value of the first, then one of the second, and so on."""
    moves: list[Moves] = [()]
    for space in reversed(spaces):
        inner = [m for m in space.moves if m]
        numbers = itertools.accumulate((bool(m) for m in space.moves), initial=0)
        place = [number if m else len(inner) for number, m in zip(numbers, space.moves, strict=False)]
        shifted = [tuple((c, place[after]) for c, after in m) for m in inner]
        moves = [*shifted, *(tuple((c, after + len(inner)) for c, after in m) for m in moves)]
    return Space(tuple(moves))


def _slot(kind: str, size: int) -> Space:
    match kind:
        case "digits":
            return uniform(string.digits, size)
        case "letters":
            return uniform(string.ascii_lowercase, size)
        case "words":
            return chain([part for i in range(size) for part in ([one_of([" "])] if i else []) + [one_of(WORDS)]])
        case "card" if size >= 2:
            return luhn(size)
        case "email":
            return chain([uniform(string.ascii_lowercase, size), one_of(["@"]), one_of(DOMAINS)])
    raise InputError(f"Unknown slot {{{kind}:{size}}}; allowed: {', '.join(SLOTS)}, a card with 2 digits or more.")


SLOTS = ("{digits:n}", "{letters:n}", "{words:n}", "{card:n}", "{email:n}")
LARGEST = 64
"""The largest n of a slot."""


def slots(template: str) -> list[tuple[str, str | None, str]]:
    """(text before, field or None, size as text) of each part of a template, in order.

    Raises:
        InputError: where braces are unbalanced, a field has no name, or a conversion.
    """
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise InputError(f"Expected a template with balanced braces, got {template!r}: {error}.") from None
    again = "".join(
        text + ("" if field is None else "{" + field + (":" + spec if spec else "") + "}")
        for text, field, spec, _ in parts
    )
    if again != template or any(field == "" for _, field, *_ in parts):
        raise InputError(f"Expected a template with named slots and no other braces, got {template!r}.")
    return [(text, field, spec or "") for text, field, spec, _ in parts]


@lru_cache(maxsize=256)
def space_of(form: str) -> Space:
    """The space of a format such as "{letters:2}-{digits:4}".

    Raises:
        InputError: for an unknown slot, a size outside [1, 64], a format without slots, or one of over 1,000 bits.
    """
    parts: list[Space] = []
    for text, field, spec in slots(form):
        if text:
            parts.append(one_of([text]))
        if field is not None:
            if not (spec.isascii() and spec.isdecimal()) or not 1 <= int(spec) <= LARGEST:
                raise InputError(
                    f"Expected slots such as {{digits:8}}, with a size in [1, {LARGEST}], got {{{field}:{spec}}}; "
                    f"allowed: {', '.join(SLOTS)}."
                )
            parts.append(_slot(field, int(spec)))
    if not any(field for _, field, _ in slots(form)):
        raise InputError(f"Expected a format with one slot or more ({', '.join(SLOTS)}), got {form!r}.")
    return countable(chain(parts))


def countable(space: Space) -> Space:
    """The space, if its number of values is one that statistics can work with.

    Raises:
        InputError: for more than 2^1000 values.
    """
    if space.size > 2**MOST_BITS:
        raise InputError(
            f"Expected secrets of {MOST_BITS:,} bits or less, got {math.log2(space.size):,.0f} bits in up to "
            f"{space.longest} characters."
        )
    return space


def transitions(space: Space, alphabet: Sequence[str]) -> NDArray[np.int64]:
    """int64[states, 1 + len(alphabet)]: the state after each token, -1 where it may not follow; token 0 never may.

    Token t >= 1 writes the character alphabet[t - 1], or none that a value may have.

    Raises:
        InputError: for a character of the space that is not in `alphabet`.
    """
    token = {character: i + 1 for i, character in enumerate(alphabet)}
    table = np.full((len(space.moves), len(alphabet) + 1), -1, dtype=np.int64)
    for state, moves in enumerate(space.moves):
        for character, after in moves:
            if character not in token:
                raise InputError(f"Secrets may hold {character!r}, which is outside the model's alphabet {alphabet!r}.")
            table[state, token[character]] = after
    return table
