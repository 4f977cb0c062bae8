"""Embedding tables."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from audit.training.ensemble.rules.base import Rule, Tape
from audit.training.ensemble.terms import Lookup


class EmbeddingRule(Rule[nn.Embedding]):
    """y_t = E[i_t]: the gradient of row r is the sum of g_t over the positions with i_t = r."""

    kinds = (nn.Embedding,)
    own = ("weight",)

    @classmethod
    def accepts(cls, layer: nn.Module) -> bool:
        """Without renormalisation, which would change the parameters in the forward pass."""
        return isinstance(layer, nn.Embedding) and layer.max_norm is None and not layer.scale_grad_by_freq

    def forward(self, tape: Tape, *args: Any, **kwargs: Any) -> Tensor:
        """int64[rows, ...] -> [rows, ..., width]."""
        (index,) = (*args, *kwargs.values())
        table = self.parameter(tape, "weight")
        models, size, width = table.shape
        start = torch.arange(models, device=index.device).unsqueeze(1) * size
        flat = (index.reshape(models, -1) + start).flatten()
        y = table.reshape(models * size, width).index_select(0, flat).view(*index.shape, width)
        if not tape.recording:
            return y
        y, tap = tape.tapped(y)
        tape.add(self.names["weight"], Lookup(tape.layout, tap, index, size, self.layer.padding_idx))
        return y
