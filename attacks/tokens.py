"""Texts as tokens: characters of an alphabet, bytes of UTF-8, or a tokeniser's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from attacks.vocabulary import Vocabulary
from canaries.errors import InputError
from canaries.spaces import Space

PAD = 0
"""The token in front of every text, and behind the shorter ones."""

BYTES = "".join(map(chr, range(256)))
"""The alphabet of byte tokens: texts are written in UTF-8, and token b + 1 is byte b."""


def tokens_of(texts: tuple[str, ...] | list[str], alphabet: str | Vocabulary) -> NDArray[np.int64]:
    """int64[n, longest]: tokens of an alphabet or a tokeniser, PAD behind the shorter texts.

    Raises:
        InputError: for a character outside the alphabet.
    """
    return encode(texts, alphabet) if isinstance(alphabet, str) else alphabet.encode(texts)


def letters_of(alphabet: str | Vocabulary, space: Space, contexts: Sequence[tuple[str, str]]) -> Sequence[str]:
    """As `TextView.letters`, of a view with this alphabet.

    Raises:
        InputError: where the characters of secrets are not tokens of their own.
    """
    if not isinstance(alphabet, str):
        return alphabet.letters(space, contexts)
    if alphabet == BYTES and not space.alphabet.isascii():
        raise InputError(f"With byte tokens secrets may hold ASCII characters alone, got {space.alphabet!r}.")
    return alphabet


def in_bytes(text: str) -> str:
    """The text's UTF-8 bytes as characters of BYTES."""
    return text.encode("utf-8").decode("latin-1")


def encode(texts: tuple[str, ...] | list[str], alphabet: str, length: int | None = None) -> NDArray[np.int64]:
    """int64[n, length]: character tokens (position in `alphabet` plus one), PAD behind the shorter texts.

    With the alphabet BYTES a token is a byte of the text in UTF-8.

    `length` defaults to the longest text's; longer texts are cut to it.

    Raises:
        InputError: for a character outside the alphabet, or a lone surrogate where bytes are asked for.
    """
    if alphabet == BYTES:
        try:
            texts = [in_bytes(text) for text in texts]
        except UnicodeEncodeError:
            raise InputError("A text holds a lone surrogate, half a character that no bytes of UTF-8 write.") from None
    index = {c: i + 1 for i, c in enumerate(alphabet)}
    width = max((len(t) for t in texts), default=0) if length is None else length
    tokens = np.full((len(texts), width), PAD, dtype=np.int64)
    for i, (row, text) in enumerate(zip(tokens, texts, strict=True)):
        try:
            row[: len(text)] = [index[c] for c in text[:width]]
        except KeyError as error:  # The text itself may be private: it is not printed.
            character = error.args[0]
            raise InputError(
                f"Character {character!r} at place {text.index(character)} of text {i} is outside the model's alphabet "
                f"{alphabet!r}."
            ) from None
    return tokens
