"""Layer normalisation."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from audit.training.ensemble.rules.base import Rule, Tape
from audit.training.ensemble.terms import Dense, positions_summed, summed


class LayerNormRule(Rule[nn.LayerNorm]):
    """y = z s + b, z normalised over the last axes: the gradients are sum_t g_t z_t and sum_t g_t."""

    kinds = (nn.LayerNorm,)

    def forward(self, tape: Tape, *args: Any, **kwargs: Any) -> Tensor:
        """[rows, ..., normalised axes] -> the same."""
        (x,) = (*args, *kwargs.values())
        shape = self.layer.normalized_shape
        z = F.layer_norm(x, shape, None, None, self.layer.eps).flatten(x.ndim - len(shape))
        y = z
        if "weight" in self.names:
            y = (tape.layout.per_model(z) * self._flat(tape, "weight")).view_as(z)
        if "bias" in self.names:
            y = (tape.layout.per_model(y) + self._flat(tape, "bias")).view_as(z)
        if tape.recording and self.names:
            y, tap = tape.tapped(y)
            layout, kept = tape.layout, z.detach()
            size = (layout.models, layout.examples, *shape)
            if "weight" in self.names:
                scaled = Dense(layout, tap, lambda g: positions_summed(layout, g * kept).view(size))
                tape.add(self.names["weight"], scaled)
            if "bias" in self.names:
                shifted = Dense(layout, tap, lambda g: positions_summed(layout, g).view(size))
                tape.add(self.names["bias"], shifted if len(shape) > 1 else summed(layout, tap))
        return y.view_as(x)

    def _flat(self, tape: Tape, name: str) -> Tensor:
        """[models, 1, features]."""
        return self.parameter(tape, name).flatten(1).unsqueeze(1)
