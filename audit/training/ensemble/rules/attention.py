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

    @classmethod
    def accepts(cls, layer: nn.Module) -> bool:
        """With one packed input projection and no extra keys."""
        return (
            isinstance(layer, nn.MultiheadAttention)
            and layer._qkv_same_embed_dim
            and layer.bias_k is None
            and not layer.add_zero_attn
        )

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
        if same:
            parts = list(self._linear(tape, inputs[0], "in_proj_weight", "in_proj_bias").chunk(3, -1))
        else:
            parts = [self._linear(tape, x, "in_proj_weight", "in_proj_bias", i) for i, x in enumerate(inputs)]
        return [torch.unflatten(p, -1, (self.layer.num_heads, -1)).transpose(1, 2) for p in parts]

    def _linear(self, tape: Tape, x: Tensor, weight: str, bias: str, third: int | None = None) -> Tensor:
        """A linear layer, or the `third` third of the packed one."""
        w, b = self.parameter(tape, weight), self.optional(tape, bias)
        layout, width = tape.layout, w.shape[1] // 3
        rows = slice(None) if third is None else slice(third * width, (third + 1) * width)
        y = product(layout, x, w[:, rows], None if b is None else b[:, rows])
        if not tape.recording:
            return y
        y, tap = tape.tapped(y)
        if third is None:
            tape.add(self.names[weight], Outer(layout, tap, x.detach()))
            if b is not None:
                tape.add(self.names[bias], summed(layout, tap))
            return y
        above, below = third * width, (2 - third) * width
        tape.add(self.names[weight], Outer(layout, tap, x.detach(), lambda m: F.pad(m, (0, 0, above, below))))
        if b is not None:
            placed = Dense(layout, tap, lambda g: F.pad(positions_summed(layout, g), (above, below)))
            tape.add(self.names[bias], placed)
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
