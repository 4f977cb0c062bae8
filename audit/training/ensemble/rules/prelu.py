"""Rectifiers with a learnt slope."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from audit.training.ensemble.rules.base import Rule, Tape
from audit.training.ensemble.terms import Dense, positions_summed


class PReLURule(Rule[nn.PReLU]):
    """y = x, or a_c x where x is negative (He et al. 2015): the gradient of a_c is the sum of g min(x, 0).

    A rule of its own because torch's vmap confuses the axes of this layer.
    """

    kinds = (nn.PReLU,)
    own = ("weight",)

    def forward(self, tape: Tape, *args: Any, **kwargs: Any) -> Tensor:
        """[rows, channels, ...] -> the same; one slope, or one for each channel."""
        (x,) = (*args, *kwargs.values())
        layout, weight = tape.layout, self.parameter(tape, "weight")
        per_row = weight.repeat_interleave(layout.rows // layout.models, 0)
        shape = (*per_row.shape, *[1] * x.ndim)[: x.ndim]
        y = torch.where(x > 0, x, per_row.view(shape) * x)
        if not tape.recording:
            return y
        y, tap = tape.tapped(y)
        negative, single = x.detach().clamp(max=0), weight.shape[1] == 1

        def compute(g: Tensor) -> Tensor:
            slopes = g * negative
            return positions_summed(layout, slopes.unsqueeze(-1) if single else slopes.movedim(1, -1))

        tape.add(self.names["weight"], Dense(layout, tap, compute))
        return y
