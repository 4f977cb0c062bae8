"""Language models over whole sequences: recurrent ones, and causal self-attention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attacks.view import PAD


class Recurrent(nn.Module):
    """Embedding, recurrent layers, linear: each token from the states before it. PAD is never predicted.

    Args:
        kind: nn.GRU or nn.LSTM.
        tokens: size of the vocabulary, PAD included.
        embedding: numbers per embedded token.
        hidden: width of each recurrent layer.
        layers: recurrent layers.
    """

    def __init__(self, kind: type[nn.GRU | nn.LSTM], tokens: int, embedding: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(tokens, embedding)
        self.recurrent = kind(embedding, hidden, layers, batch_first=True)
        self.output = nn.Linear(hidden, tokens - 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """int64[n, length] -> logits float[n, length, tokens] of each token, given those before it."""
        states, _ = self.recurrent(self.embed(F.pad(tokens, (1, -1), value=PAD)))
        return _with_pad(self.output(states))

    def following(self, prefixes: Tensor) -> Tensor:
        """int64[n, length] -> logits float[n, tokens] of what comes after each prefix."""
        states, _ = self.recurrent(self.embed(F.pad(prefixes, (1, 0), value=PAD)))
        return _with_pad(self.output(states[:, -1]))


class Transformer(nn.Module):
    """Causal self-attention with learnt positions, normalised first. PAD is never predicted.

    Args:
        tokens: size of the vocabulary, PAD included.
        length: how many tokens it sees, the PAD in front included.
        width: numbers per position.
        heads: attention heads.
        layers: attention layers.
    """

    def __init__(self, tokens: int, length: int, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.length = length
        self.embed = nn.Embedding(tokens, width)
        self.positions = nn.Embedding(length, width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, tokens - 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """int64[n, length] -> logits float[n, length, tokens] of each token, given those before it."""
        return _with_pad(self.output(self._states(F.pad(tokens, (1, -1), value=PAD))))

    def following(self, prefixes: Tensor) -> Tensor:
        """int64[n, length] -> logits float[n, tokens]; of a long prefix the last tokens that it can see."""
        return _with_pad(self.output(self._states(F.pad(prefixes, (1, 0), value=PAD)[:, -self.length :])[:, -1]))

    def _states(self, tokens: Tensor) -> Tensor:
        n, time = tokens.shape
        place = torch.arange(time, device=tokens.device).expand(n, time)
        states = self.embed(tokens) + self.positions(place)
        mask = nn.Transformer.generate_square_subsequent_mask(time, device=tokens.device, dtype=states.dtype)
        for layer in self.layers:
            states = layer(states, src_mask=mask)
        return self.norm(states)


def _with_pad(logits: Tensor) -> Tensor:
    """Logits with PAD's in front, minus infinity."""
    return F.pad(logits, (1, 0), value=-torch.inf)
