"""A small language model over characters, its loss per record, and the view of trained ones.

A language model here is an `nn.Module` with two ways to ask it: `forward`, every position of a text at
once, and `following`, what comes after a prefix. `language_view` takes any that has both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from attacks.view import PAD, TIE, TextView
from attacks.vocabulary import Vocabulary
from canaries.errors import InputError

LOGITS = 1 << 24
"""Logits that a model may give at once: 64 MB. Speed and memory only."""


class LanguageModel(Protocol):
    """An autoregressive model over tokens; PAD's logit is minus infinity everywhere."""

    def __call__(self, tokens: Tensor) -> Tensor:
        """int64[n, length] -> float[n, length, tokens]: logits of each token, from those before it alone."""
        ...

    def following(self, prefixes: Tensor) -> Tensor:
        """int64[n, length] -> float[n, tokens]: logits of what comes after each prefix."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """They say on which device the model is asked."""
        ...


class NGram(nn.Module):
    """N-gram multilayer perceptron: the `context` tokens before a position, embedded, give its logits.

    Bengio, Ducharme, Vincent, Jauvin (2003), "A neural probabilistic language model", without the direct
    connections and with ReLU. Tokens before the text's beginning are PAD. PAD is never predicted.

    The text is embedded once and the embeddings are then laid out as windows, so that Opacus's embedding
    rules (hooks and ghost) see length + context - 1 tokens a record instead of length x context, as a
    contiguous array (Opacus 1.6 ghost norms fail on another).

    Args:
        tokens: size of the vocabulary, PAD included.
        context: how many tokens before a position its prediction sees.
        embedding: numbers per embedded token.
        hidden: width of the one hidden layer.
    """

    def __init__(self, tokens: int, context: int = 18, embedding: int = 8, hidden: int = 128) -> None:
        super().__init__()
        if min(tokens - 1, context, embedding, hidden) < 1:
            raise InputError(
                "Expected tokens >= 2 and context, embedding and hidden >= 1, "
                f"got {tokens}, {context}, {embedding} and {hidden}."
            )
        self.context = context
        self.embed = nn.Embedding(tokens, embedding)
        self.hidden = nn.Linear(context * embedding, hidden)
        self.output = nn.Linear(hidden, tokens - 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """int64[n, length] -> logits float[n, length, tokens] of each token, given those before it."""
        return self._predict(F.pad(tokens, (self.context, -1), value=PAD))

    def following(self, prefixes: Tensor) -> Tensor:
        """int64[n, length] -> logits float[n, tokens] of what comes after each prefix."""
        return self._predict(F.pad(prefixes, (self.context - prefixes.shape[1], 0), value=PAD))[:, 0]

    def _predict(self, tokens: Tensor) -> Tensor:
        """int64[n, context + m - 1] -> logits float[n, m, tokens], one for each window of `context` tokens."""
        count = tokens.shape[1] - self.context + 1
        embedded = self.embed(tokens.contiguous())
        windows = torch.cat([embedded[:, i : i + count] for i in range(self.context)], dim=2)
        logits = self.output(torch.relu(self.hidden(windows)))
        return F.pad(logits, (1, 0), value=-torch.inf)


class RecordLoss(nn.Module):
    """Cross-entropy summed over a record's characters, over a fixed length; nats.

    The divisor is a constant of the configuration. A realised length, of the record or of the batch, would
    make one record's weight depend on the data. PAD counts nothing.

    Args:
        length: the divisor, for instance the window of the corpus.
        reduction: "none" for one loss per record, "sum" or "mean" over records. Opacus's ghost clipping reads
            and sets this attribute.
    """

    def __init__(self, length: int, reduction: str = "mean") -> None:
        super().__init__()
        if length < 1:
            raise InputError(f"Expected length >= 1, got {length}.")
        self.length = length
        self.reduction = reduction

    def forward(self, logits: Tensor, tokens: Tensor) -> Tensor:
        """Logits float[n, length, tokens] and what they predicted, int64[n, length] -> float[n], or a scalar."""
        characters = F.cross_entropy(logits.transpose(1, 2), tokens, ignore_index=PAD, reduction="none")
        records = characters.sum(dim=1) / self.length
        if self.reduction == "none":
            return records
        return records.sum() if self.reduction == "sum" else records.mean()


def language_view(models: Sequence[LanguageModel], alphabet: str | Vocabulary, chunk: int = 4096) -> TextView:
    """What an adversary may ask of trained language models.

    Args:
        models: one for each model of the view; token t >= 1 is `alphabet[t - 1]`. Each is asked on the device that its
            parameters are on; where it has an attribute `tie`, log-probabilities that close are ties.
        alphabet: one character per token, PAD excluded; or a tokeniser.
        chunk: prefixes, or characters of text, that pass through a model at once; fewer where the logits of so many
            would be more than `LOGITS`. Speed and memory only.
    """
    at_once = max(1, min(chunk, LOGITS // (len(alphabet) + 1)))

    def next_token(prefixes: NDArray[np.int64]) -> NDArray[np.float64]:
        """int64[n, length] -> log-probabilities float64[models, n, tokens]."""
        return _ask(models, _next_scores, prefixes, at_once, (len(alphabet) + 1,))

    def score(texts: NDArray[np.int64]) -> NDArray[np.float64]:
        """int64[n, length] -> log-probability of each token, float64[models, n, length]; zero at PAD."""
        length = texts.shape[1]
        return _ask(models, _text_scores, texts, max(1, at_once // max(1, length)), (length,))

    def next_token_of(
        rows: NDArray[np.int64], prefixes: NDArray[np.int64], tokens: NDArray[np.int64] | None
    ) -> NDArray[np.float64]:
        """int64[n] models, int64[n, length], int64[k] -> log-probabilities float64[n, k]."""
        chosen = torch.arange(len(alphabet) + 1) if tokens is None else torch.from_numpy(tokens)
        answers = np.empty((len(prefixes), len(chosen)))
        for model in np.unique(rows):
            mine = rows == model
            answers[mine] = _ask(
                models[model : model + 1],
                lambda module, part: _next_scores(module, part)[:, chosen.to(part.device)],
                prefixes[mine],
                at_once,
                answers.shape[1:],
            )[0]
        return answers

    tie = max(getattr(model, "tie", TIE) for model in models)
    return TextView(next_token, score, len(models), alphabet, next_token_of=next_token_of, tie=tie)


def _next_scores(model: LanguageModel, prefixes: Tensor) -> Tensor:
    """float[n, tokens]: log-probability of every token after each prefix."""
    return torch.log_softmax(model.following(prefixes), dim=1)


def _text_scores(model: LanguageModel, tokens: Tensor) -> Tensor:
    """float[n, length]: log-probability of each token, zero where it is PAD."""
    return -F.cross_entropy(model(tokens).transpose(1, 2), tokens, ignore_index=PAD, reduction="none")


def _ask(
    models: Sequence[LanguageModel],
    question: Callable[[LanguageModel, Tensor], Tensor],
    rows: NDArray[np.int64],
    chunk: int,
    shape: tuple[int, ...],
) -> NDArray[np.float64]:
    """float64[models, n, *shape]: the question put to every model, `chunk` rows at a time, without gradients."""
    tokens = torch.from_numpy(np.ascontiguousarray(rows))
    answers = np.empty((len(models), len(rows), *shape))
    with torch.no_grad():
        for answer, model in zip(answers, models, strict=True):
            device = next(model.parameters()).device
            for i in range(0, len(rows), chunk):
                answer[i : i + chunk] = question(model, tokens[i : i + chunk].to(device)).cpu().numpy()
    return answers
