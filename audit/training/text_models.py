"""Architectures that learn from texts: what the configuration says of them, around the modules in `language`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from attacks.view import View, encode
from audit.training.datasets.texts import ALPHABET
from audit.training.language import LanguageModel, NGram, RecordLoss, language_view
from audit.training.models import Architecture
from canaries.errors import InputError
from canaries.records import Records, TextRecords


@dataclass(frozen=True)
class CharacterNGram(Architecture):
    """A character n-gram multilayer perceptron (Bengio et al. 2003).

    Attributes:
        context: how many characters before a position its prediction sees.
        embedding: numbers per embedded character.
        hidden: width of the one hidden layer.
        length: the longest record in characters, and the divisor of its loss.
        alphabet: one character per token; records may hold no others.
    """

    name = "ngram"
    kind = "text"
    context: int = 18
    embedding: int = 8
    hidden: int = 128
    length: int = 40
    alphabet: str = ALPHABET

    def __post_init__(self) -> None:
        if min(self.context, self.embedding, self.hidden, self.length) < 1:
            raise InputError(
                "Expected context, embedding, hidden and length >= 1, "
                f"got {self.context}, {self.embedding}, {self.hidden} and {self.length}."
            )
        if len(set(self.alphabet)) != len(self.alphabet) or not self.alphabet:
            raise InputError(f"Expected an alphabet of distinct characters, got {self.alphabet!r}.")

    def module(self, example: Records) -> nn.Module:
        """The network over this alphabet."""
        del example
        return NGram(len(self.alphabet) + 1, self.context, self.embedding, self.hidden)

    def tensors(self, records: Records) -> tuple[Tensor, Tensor]:
        """int64[n, length] tokens, twice: each character is predicted from those before it.

        Raises:
            InputError: for array records, a record that is too long, or a character outside the alphabet.
        """
        if not isinstance(records, TextRecords):
            raise InputError(f"Model '{self.name}' learns from text records, got arrays.")
        longest = max(records.texts, key=len, default="")
        if len(longest) > self.length:
            raise InputError(f"Model '{self.name}' reads {self.length} characters a record, got {longest!r}.")
        tokens = torch.from_numpy(encode(records.texts, self.alphabet, self.length))
        return tokens, tokens

    def criterion(self) -> nn.Module:
        """Summed cross-entropy of a record's characters over the fixed length, in nats."""
        return RecordLoss(self.length)

    def view(self, modules: Sequence[nn.Module], example: Records) -> View:
        """A view that answers log-probabilities of characters."""
        del example
        return language_view(cast(Sequence[LanguageModel], modules), self.alphabet)
