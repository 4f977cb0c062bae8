"""Views of language models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from attacks.tokens import PAD, letters_of, tokens_of
from attacks.view.access import GRANTS, Access
from attacks.view.base import View
from attacks.vocabulary import Vocabulary
from canaries.errors import InputError
from canaries.records import Records, TextRecords
from canaries.spaces import Space

BLOCK = 1 << 19
"""Log-probabilities that one query may return: 4 MB. Speed and memory only."""

TIE = 1e-5
"""Nats: more than float32 rounding between two answers of a small network to the same question."""

NextTokenOf = Callable[[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64] | None], NDArray[np.floating]]
"""See `TextView`."""


class TextView(View):
    """A view of autoregressive language models. Token t >= 1 is `alphabet[t - 1]`; token 0 is PAD.

    Args:
        next_token: int64[n, length] -> float64[models, n, tokens], log-probabilities of what follows each prefix.
        score: int64[n, length] -> float64[models, n, length], log-probability of each token given those before it.
        models: how many models answer.
        alphabet: one character per token, PAD excluded; or a tokeniser.
        access: what is granted, at most TOKEN_LOG_PROBABILITIES.
        next_token_of: (int64[n] models, int64[n, length], int64[k] tokens or None for all) -> float64[n, k], one model
            asked about each prefix, in portions that fit the memory. Speed only: without it all models are asked about
            all prefixes.
        tie: log-probabilities of values this close, in nats, are ties: more than what the same question is answered
            differently by when it stands in another batch.
    """

    answers: ClassVar[frozenset[Access]] = GRANTS[Access.TOKEN_LOG_PROBABILITIES]

    def __init__(
        self,
        next_token: Callable[[NDArray[np.int64]], NDArray[np.floating]],
        score: Callable[[NDArray[np.int64]], NDArray[np.floating]],
        models: int,
        alphabet: str | Vocabulary,
        access: Access = Access.TOKEN_LOG_PROBABILITIES,
        next_token_of: NextTokenOf | None = None,
        tie: float = TIE,
    ) -> None:
        super().__init__(models, access)
        self._next_token = next_token
        self._next_token_of = next_token_of
        self._score = score
        self.alphabet = alphabet
        self.tie = tie

    def encode(self, texts: tuple[str, ...] | list[str]) -> NDArray[np.int64]:
        """int64[n, longest]: tokens, PAD behind the shorter texts.

        Raises:
            InputError: for a character outside the alphabet.
        """
        return tokens_of(texts, self.alphabet)

    def letters(self, space: Space, contexts: Sequence[tuple[str, str]]) -> Sequence[str]:
        """For each token, PAD excluded, the character that it writes in secrets of a space; see `Vocabulary.letters`.

        Raises:
            InputError: where the characters of secrets are not tokens of their own.
        """
        return letters_of(self.alphabet, space, contexts)

    def next_token_log_probabilities(self, prefixes: NDArray[np.int64]) -> NDArray[np.float64]:
        """float64[models, n, tokens] for prefixes int64[n, length]. Needs TOKEN_LOG_PROBABILITIES."""
        self._require(Access.TOKEN_LOG_PROBABILITIES, len(prefixes))
        return np.asarray(self._next_token(prefixes), dtype=np.float64)

    def next_token_of(
        self, models: NDArray[np.int64], prefixes: NDArray[np.int64], tokens: NDArray[np.int64] | None = None
    ) -> NDArray[np.float64]:
        """float64[n, k]: what model models[i] says after prefixes[i] (int64[n, length]) of tokens int64[k], or of all.

        Counts the largest number of prefixes that one model was asked about. Needs TOKEN_LOG_PROBABILITIES.
        """
        if self._next_token_of is not None:
            self._require(Access.TOKEN_LOG_PROBABILITIES, int(np.bincount(models, minlength=1).max()))
            return np.asarray(self._next_token_of(models, prefixes, tokens), dtype=np.float64)
        self._require(Access.TOKEN_LOG_PROBABILITIES, len(prefixes))
        every = len(self.alphabet) + 1
        chosen = np.arange(every) if tokens is None else tokens
        answers = np.empty((len(prefixes), len(chosen)))
        portion = max(1, BLOCK // (self.models * every))
        for i in range(0, len(prefixes), portion):
            mine = models[i : i + portion]
            answer = np.asarray(self._next_token(prefixes[i : i + portion]))
            answers[i : i + portion] = answer[mine, np.arange(len(mine))][:, chosen]
        return answers

    def token_log_probabilities(self, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
        """float64[models, n, length], zero at PAD. Needs TOKEN_LOG_PROBABILITIES."""
        self._require(Access.TOKEN_LOG_PROBABILITIES, len(tokens))
        return np.where(tokens != PAD, np.asarray(self._score(tokens), dtype=np.float64), 0)

    def loss(self, records: Records) -> NDArray[np.float64]:
        """float64[models, n]: minus the log-probability of the whole text, in nats. Needs LOSS."""
        self._require(Access.LOSS, len(records))
        if not isinstance(records, TextRecords):
            raise InputError("A view of language models can only score text records.")
        tokens = self.encode(records.texts)
        return -np.where(tokens != PAD, np.asarray(self._score(tokens), dtype=np.float64), 0).sum(axis=2)
