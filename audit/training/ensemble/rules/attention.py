"""Multi-head attention."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audit.training.ensemble.rules.base import Rule, Tape, product
from audit.training.ensemble.terms import Dense, Outer, positions_summed, summed


class AttentionRule(Rule[nn.MultiheadAttention]):
    """Projections in and out are linear layers over the sequence; what lies between has no parameters."""

    kinds = (nn.MultiheadAttention,)
    own = ("in_proj_weight", "in_proj_bias", "q_proj_weight", "k_proj_weight", "v_proj_weight")

    @classmethod
    def accepts(cls, layer: nn.Module) -> bool:
        """Without extra keys."""
        return isinstance(layer, nn.MultiheadAttention) and layer.bias_k is None and not layer.add_zero_attn

    @classmethod
    def standard(cls, layer: nn.Module) -> bool:
        """The output projection's too."""
        assert isinstance(layer, nn.MultiheadAttention)
        return super().standard(layer) and set(layer.out_proj._parameters) == {"weight", "bias"}

    def merged(self, *args: Any, **kwargs: Any) -> list[tuple[Tensor, int]]:
        """Queries, keys and values."""
        given = dict(zip(("query", "key", "value"), args, strict=False)) | kwargs
        return [(given[name], 0 if self.layer.batch_first else 1) for name in ("query", "key", "value")]

    def forward(
        self,
        tape: Tape,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As nn.MultiheadAttention, for query, key and value of [rows, time, width] (or time first)."""
        inputs = [x if self.layer.batch_first else x.transpose(0, 1) for x in (query, key, value)]
        q, k, v = self._project(tape, inputs, same=query is key and key is value)
        mask = _mask(key_padding_mask, attn_mask, self.layer.num_heads, q)
        if need_weights:
            scores = q @ k.mT / math.sqrt(q.shape[-1])
            weights = torch.softmax(scores if mask is None else scores + mask, -1)
            mixed = weights @ v
        else:
            weights, mixed = None, F.scaled_dot_product_attention(q, k, v, mask)
        y = self._linear(tape, mixed.transpose(1, 2).flatten(2), "out_proj.weight", "out_proj.bias")
        if weights is not None and average_attn_weights:
            weights = weights.mean(1)
        return (y if self.layer.batch_first else y.transpose(0, 1)), weights

    def _project(self, tape: Tape, inputs: list[Tensor], same: bool) -> list[Tensor]:
        """Queries, keys and values, each [rows, heads, time, width of a head]."""
        packed = "in_proj_weight" in self.names
        if same and packed:
            parts = list(self._linear(tape, inputs[0], "in_proj_weight", "in_proj_bias").chunk(3, -1))
        else:
            names = ["in_proj_weight"] * 3 if packed else [f"{part}_proj_weight" for part in "qkv"]
            parts = [self._linear(tape, x, names[i], "in_proj_bias", i) for i, x in enumerate(inputs)]
        return [torch.unflatten(p, -1, (self.layer.num_heads, -1)).transpose(1, 2) for p in parts]

    def _linear(self, tape: Tape, x: Tensor, weight: str, bias: str, third: int | None = None) -> Tensor:
        """A linear layer; or, of packed parameters, the `third` third."""
        w, b = self.parameter(tape, weight), self.optional(tape, bias)
        layout, width = tape.layout, self.layer.embed_dim
        rows = slice(None) if third is None else slice(third * width, (third + 1) * width)
        packed = third is not None and weight == "in_proj_weight"
        y = product(layout, x, w[:, rows] if packed else w, None if b is None else b[:, rows])
        if not tape.recording:
            return y
        y, tap = tape.tapped(y)
        above, below = (0, 0) if third is None else (third * width, (2 - third) * width)
        placed = (lambda m: F.pad(m, (0, 0, above, below))) if packed else None
        tape.add(self.names[weight], Outer(layout, tap, x.detach(), placed))
        if b is not None:
            whole = summed(layout, tap)
            part = Dense(layout, tap, lambda g: F.pad(positions_summed(layout, g), (above, below)))
            tape.add(self.names[bias], whole if third is None else part)
        return y


def _mask(padding: Tensor | None, attention: Tensor | None, heads: int, q: Tensor) -> Tensor | None:
    """What is added to the scores [rows, heads, time, keys], or None."""
    total: Tensor | None = None
    if attention is not None:
        total = _additive(attention, q)
        if total.ndim == 3:
            total = torch.unflatten(total, 0, (-1, heads))
    if padding is not None:
        hidden = _additive(padding, q)[:, None, None, :]
        total = hidden if total is None else total + hidden
    return total


def _additive(mask: Tensor, q: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        return mask.to(q.dtype)
    return torch.zeros_like(mask, dtype=q.dtype).masked_fill(mask, -math.inf)
