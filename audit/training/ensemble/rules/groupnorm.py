"""Group normalisation."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from audit.training.ensemble.rules.base import Rule, Tape
from audit.training.ensemble.terms import Dense, positions_summed


class GroupNormRule(Rule[nn.GroupNorm]):
    """y_c = z_c s_c + b_c, z normalised over groups of channels: gradients sum_t g_tc z_tc and sum_t g_tc."""

    kinds = (nn.GroupNorm,)

    def forward(self, tape: Tape, *args: Any, **kwargs: Any) -> Tensor:
        """[rows, channels, ...] -> the same."""
        (x,) = (*args, *kwargs.values())
        layout = tape.layout
        z = F.group_norm(x, self.layer.num_groups, None, None, self.layer.eps)
        if not self.names:
            return z
        shape = (layout.models, 1, -1, *[1] * (x.ndim - 2))
        split = z.reshape(layout.models, -1, *x.shape[1:])
        scale, shift = self.parameter(tape, "weight"), self.parameter(tape, "bias")
        y = (split * scale.view(shape) + shift.view(shape)).reshape(x.shape)
        if tape.recording:
            y, tap = tape.tapped(y)
            kept = z.detach()
            last = lambda g: g.movedim(1, -1)  # noqa: E731
            weight = Dense(layout, tap, lambda g: positions_summed(layout, last(g * kept)))
            tape.add(self.names["weight"], weight)
            tape.add(self.names["bias"], Dense(layout, tap, lambda g: positions_summed(layout, last(g))))
        return y
