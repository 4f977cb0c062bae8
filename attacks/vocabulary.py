"""Tokens that are not characters: what attacks on secrets need to know of a tokeniser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from canaries.spaces import Space


class Vocabulary(Protocol):
    """A tokeniser whose token t >= 1 is one of `len(vocabulary)`; token 0 is PAD."""

    def __len__(self) -> int:
        """How many tokens there are, PAD excluded."""
        ...

    def encode(self, texts: Sequence[str], length: int | None = None) -> NDArray[np.int64]:
        """int64[n, length]: tokens, PAD behind the shorter texts; `length` defaults to the longest text's."""
        ...

    def letters(self, space: Space, contexts: Sequence[tuple[str, str]]) -> list[str]:
        """For each token, PAD excluded, the character that it writes in a secret of the space; empty where it is none.

        Attacks walk the tree of a space's values token by token. That is right where each value has one spelling, a
        token for each character, between any (text before, text after) of the contexts.

        Raises:
            InputError: where that is not so.
        """
        ...
