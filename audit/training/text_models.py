"""Architectures that learn from texts: what the configuration says of them, around the modules in `language`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from attacks.view import BYTES, PAD, View, tokens_of
from audit.training.datasets.texts import ALPHABET
from audit.training.language import LanguageModel, NGram, RecordLoss, language_view
from audit.training.models import Architecture
from audit.training.sequences import Recurrent, Transformer
from audit.training.subwords import PREFIX, Subwords, digest, load_subwords
from canaries.errors import InputError
from canaries.records import Records, TextRecords


@dataclass(frozen=True)
class TextModel(Architecture):
    """An autoregressive model over tokens.

    Attributes:
        length: the longest record in tokens, and the divisor of its loss.
    """

    kind = "text"
    length: int = 40

    @property
    @abstractmethod
    def symbols(self) -> str | Subwords:
        """One character for each token, PAD excluded; or the tokeniser."""

    def tensors(self, records: Records) -> tuple[Tensor, Tensor]:
        """int64[n, length] tokens, twice: each token is predicted from those before it.

        Raises:
            InputError: for array records, a record that is too long, or a character outside the alphabet.
        """
        if not isinstance(records, TextRecords):
            raise InputError(f"Model '{self.name}' learns from text records, got arrays.")
        symbols = self.symbols
        try:
            rows = tokens_of(records.texts, symbols)
        except InputError as error:
            if not isinstance(symbols, str) or symbols == BYTES:
                raise
            raise InputError(f'{str(error)[:-1]}; tokens = "bytes" or a larger `alphabet` would hold it.') from None
        if rows.shape[1] > self.length:
            lengths = (rows != PAD).sum(axis=1)
            unit = ("bytes" if symbols == BYTES else "characters") if isinstance(symbols, str) else "tokens"
            raise InputError(
                f"Model '{self.name}' reads {self.length} {unit} a record, "
                f"got {lengths.max()} in record {lengths.argmax()}."
            )
        tokens = torch.from_numpy(np.pad(rows, ((0, 0), (0, self.length - rows.shape[1])), constant_values=PAD))
        return tokens, tokens

    def criterion(self) -> nn.Module:
        """Summed cross-entropy of a record's tokens over the fixed length, in nats."""
        return RecordLoss(self.length)

    def view(self, modules: Sequence[nn.Module], example: Records) -> View:
        """A view that answers log-probabilities of tokens."""
        del example
        return language_view(cast(Sequence[LanguageModel], modules), self.symbols)


@dataclass(frozen=True)
class CharacterModel(TextModel):
    """An autoregressive model over characters, bytes or the tokens of a tokeniser.

    Attributes:
        length: the longest record in tokens, and the divisor of its loss.
        alphabet: one character per token; records may hold no others.
        tokens: "characters" of the alphabet, "bytes" of UTF-8, which write any text, or "huggingface:PATH", a
            tokeniser in a tokenizer.json or GGUF file (extra `hf`), which is taken for public.
    """

    alphabet: str = ALPHABET
    tokens: str = "characters"

    @property
    def symbols(self) -> str | Subwords:
        """One character for each token, PAD excluded; or the tokeniser."""
        if self.tokens.startswith(PREFIX):
            return load_subwords(self.tokens.removeprefix(PREFIX))
        return BYTES if self.tokens == "bytes" else self.alphabet

    def __post_init__(self) -> None:
        if self.tokens not in ("characters", "bytes") and not self.tokens.startswith(PREFIX):
            raise InputError(f"Expected tokens 'characters', 'bytes' or '{PREFIX}PATH', got {self.tokens!r}.")
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, int) and value < 1:
                raise InputError(f"Expected {f.name} >= 1, got {value}.")
        if len(set(self.alphabet)) != len(self.alphabet) or not self.alphabet:
            raise InputError(f"Expected an alphabet of distinct characters, got {self.alphabet!r}.")

    def outside(self) -> str:
        """The digest of the tokeniser's file."""
        return digest(self.tokens.removeprefix(PREFIX)) if self.tokens.startswith(PREFIX) else ""


@dataclass(frozen=True)
class CharacterNGram(CharacterModel):
    """A character n-gram multilayer perceptron (Bengio et al. 2003).

    Attributes:
        context: how many characters before a position its prediction sees.
        embedding: numbers per embedded character.
        hidden: width of the one hidden layer.
    """

    name = "ngram"
    context: int = 18
    embedding: int = 8
    hidden: int = 128

    def module(self, example: Records) -> nn.Module:
        """The network over this alphabet."""
        del example
        return NGram(len(self.symbols) + 1, self.context, self.embedding, self.hidden)


@dataclass(frozen=True)
class CharacterGRU(CharacterModel):
    """A character model of gated recurrent units (Cho et al. 2014); for the ensemble trainer.

    Attributes:
        embedding: numbers per embedded character.
        hidden: width of each recurrent layer.
        layers: recurrent layers.
    """

    name = "gru"
    embedding: int = 16
    hidden: int = 64
    layers: int = 1

    def module(self, example: Records) -> nn.Module:
        """The network over this alphabet."""
        del example
        return Recurrent(nn.GRU, len(self.symbols) + 1, self.embedding, self.hidden, self.layers)


@dataclass(frozen=True)
class CharacterLSTM(CharacterGRU):
    """A character model of long short-term memory (Hochreiter & Schmidhuber 1997); for the ensemble trainer.

    Attributes: as CharacterGRU.
    """

    name = "lstm"

    def module(self, example: Records) -> nn.Module:
        """The network over this alphabet."""
        del example
        return Recurrent(nn.LSTM, len(self.symbols) + 1, self.embedding, self.hidden, self.layers)


@dataclass(frozen=True)
class CharacterTransformer(CharacterModel):
    """A character model of causal self-attention (Vaswani et al. 2017), normalised first; for the ensemble trainer.

    Attributes:
        width: numbers per position.
        heads: attention heads; must divide the width.
        layers: attention layers, each with a hidden layer of four times the width.
    """

    name = "transformer"
    width: int = 32
    heads: int = 4
    layers: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.heads:
            raise InputError(f"Expected heads to divide width, got {self.heads} and {self.width}.")

    def module(self, example: Records) -> nn.Module:
        """The network over this alphabet."""
        del example
        return Transformer(len(self.symbols) + 1, self.length, self.width, self.heads, self.layers)
