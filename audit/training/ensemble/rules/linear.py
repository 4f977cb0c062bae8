"""Linear layers, on single vectors or on sequences of them."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from audit.training.ensemble.rules.base import Rule, Tape, product
from audit.training.ensemble.terms import Outer, summed


class LinearRule(Rule[nn.Linear]):
    """y = x W^T + b: the gradient of W is sum_t g_t x_t^T, that of b is sum_t g_t (Goodfellow 2015)."""

    kinds = (nn.Linear,)

    def forward(self, tape: Tape, *args: Any, **kwargs: Any) -> Tensor:
        """[rows, ..., inputs] -> [rows, ..., outputs]."""
        (x,) = (*args, *kwargs.values())
        y = product(tape.layout, x, self.parameter(tape, "weight"), self.optional(tape, "bias"))
        if not tape.recording:
            return y
        y, tap = tape.tapped(y)
        tape.add(self.names["weight"], Outer(tape.layout, tap, x.detach()))
        if "bias" in self.names:
            tape.add(self.names["bias"], summed(tape.layout, tap))
        return y
