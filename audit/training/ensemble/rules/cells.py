"""Recurrent cells, which a model's own code calls step by step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from audit.training.ensemble.rules.base import Rule, Tape, product
from audit.training.ensemble.terms import Outer, summed

Cell = nn.RNNCell | nn.GRUCell | nn.LSTMCell


class CellRule(Rule[Cell]):
    """Input and hidden weights are linear layers; what follows them has no parameters.

    Each call adds its terms, and a parameter's terms add up before the norm: a long loop is faster as one
    recurrent layer over the whole sequence.
    """

    kinds = (nn.RNNCell, nn.GRUCell, nn.LSTMCell)
    own = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")

    def merged(self, *args: Any, **kwargs: Any) -> list[tuple[Tensor, int]]:
        """The input, and the states where they are given."""
        x, states, *_ = (*args, *kwargs.values(), None)
        given = states if isinstance(states, tuple) else (states,)
        return [(t, 0) for t in (x, *given) if t is not None]

    def forward(self, tape: Tape, *args: Any, **kwargs: Any) -> Tensor | tuple[Tensor, Tensor]:
        """[rows, inputs], optionally states [rows, hidden] -> the next states, as the cell."""
        x, states, *_ = (*args, *kwargs.values(), None)
        zeros = x.new_zeros(len(x), self.layer.hidden_size)
        if isinstance(self.layer, nn.LSTMCell):
            h, c = (zeros, zeros) if states is None else states
            i, f, g, o = (self._linear(tape, x, "ih") + self._linear(tape, h, "hh")).chunk(4, -1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            return o.sigmoid() * c.tanh(), c
        h = zeros if states is None else states
        of_input, of_state = self._linear(tape, x, "ih"), self._linear(tape, h, "hh")
        if isinstance(self.layer, nn.GRUCell):
            (xr, xz, xn), (hr, hz, hn) = of_input.chunk(3, -1), of_state.chunk(3, -1)
            return torch.lerp((xn + (xr + hr).sigmoid() * hn).tanh(), h, (xz + hz).sigmoid())
        y = of_input + of_state
        return y.tanh() if self.layer.nonlinearity == "tanh" else y.relu()

    def _linear(self, tape: Tape, x: Tensor, part: str) -> Tensor:
        weight, bias = f"weight_{part}", f"bias_{part}"
        y = product(tape.layout, x, self.parameter(tape, weight), self.optional(tape, bias))
        if not tape.recording:
            return y
        y, tap = tape.tapped(y)
        tape.add(self.names[weight], Outer(tape.layout, tap, x.detach()))
        if bias in self.names:
            tape.add(self.names[bias], summed(tape.layout, tap))
        return y
