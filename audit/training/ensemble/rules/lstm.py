"""Long short-term memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from audit.training.ensemble.rules.base import Tape
from audit.training.ensemble.rules.recurrent import RecurrentRule, after_and_before, given, over_time
from audit.training.ensemble.tap import Tap


class _Scan(torch.autograd.Function):
    """i, f, o = sigmoid(...); g = tanh(...); c' = f c + i g; h' = o tanh(c') (Hochreiter & Schmidhuber 1997).

    As for the GRU, the factors of dc and dh in the gates' gradients are computed for all steps at once.
    """

    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, start: Tensor, anchor: Tensor, weight: Tensor, bias: Tensor, tap: Tap
    ) -> tuple[Tensor, Tensor, Tensor]:
        models, n, time, width = projected.shape
        hidden, transposed = width // 4, weight.mT
        x = projected.movedim(2, 0) + bias
        gates = torch.empty_like(x)
        states, cells = (x.new_empty(time + 1, models, n, hidden) for _ in range(2))
        bounded = x.new_empty(time, models, n, hidden)
        states[0], cells[0] = start
        parts = gates.chunk(4, -1)
        several = (states, states[1:], cells, cells[1:], bounded, x, gates, *parts)
        for h, h_new, c, c_new, t, now, both, i, f, g, o in zip(*(s.unbind(0) for s in several), strict=False):
            torch.baddbmm(now, h, transposed, out=both)
            candidate = torch.tanh(g)
            torch.sigmoid(both, out=both)
            g.copy_(candidate)
            torch.addcmul(f * c, i, g, out=c_new)
            torch.tanh(c_new, out=t)
            torch.mul(o, t, out=h_new)
        ctx.save_for_backward(gates, cells, bounded, weight)
        ctx.tap = tap
        return *after_and_before(ctx, states), torch.stack([states[-1], cells[-1]])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        gates, cells, bounded, weight = ctx.saved_tensors
        g_out, _, last = gradients
        g_out = given(g_out, bounded.movedim(0, 2))
        dh, dc = given(last, torch.stack([cells[0]] * 2))
        i, f, g, o = gates.chunk(4, -1)
        of_cell = torch.stack([g * (i - i * i), cells[:-1] * (f - f * f), i * (1 - g * g)], -2)
        of_state = bounded * (o - o * o)
        through = o * (1 - bounded * bounded)
        steps = torch.unflatten(torch.empty_like(gates), -1, (4, gates.shape[-1] // 4))
        sequence = (
            g_out.movedim(2, 0), through, of_cell, of_state, f,
            steps[..., :3, :], steps[..., 3, :], steps.flatten(-2),
        )  # fmt: skip
        for grad, t, cell, state, keep, three, one, flat in zip(
            *(reversed(s.unbind(0)) for s in sequence), strict=True
        ):
            dh = dh + grad
            dc = torch.addcmul(dc, dh, t)
            torch.mul(cell, dc.unsqueeze(-2), out=three)
            torch.mul(state, dh, out=one)
            dc = dc * keep
            dh = torch.bmm(flat, weight)
        of_gates = over_time(steps.flatten(-2))
        ctx.tap.set(of_gates)
        return of_gates if ctx.needs_input_grad[0] else None, torch.stack([dh, dc]), None, None, None, None


class LSTMRule(RecurrentRule[nn.LSTM]):
    """Long short-term memory, any number of layers and directions, without projection."""

    kinds = (nn.LSTM,)

    def forward(self, tape: Tape, *args: Any, **kwargs: Any) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """[rows, time, inputs], optionally (h, c) of [layers, rows, hidden] -> outputs and states, as nn.LSTM."""
        x, start, *_ = (*args, *kwargs.values(), None)
        x = self.batch_first(x)
        states = torch.stack(start) if start is not None else torch.stack([self.zeros(x)] * 2)
        y, last = self.run(tape, x, states)
        return self.batch_first(y), (last[0], last[1])

    def scan(
        self, tape: Tape, projected: Tensor, start: Tensor, weight: Tensor, bias: Tensor | None, taps: tuple[Tap, Tap]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See the base. Both shares enter the gates alike, so their gradients are one."""
        shift = projected.new_zeros(1) if bias is None else bias.unsqueeze(1)
        taps[1].follow(taps[0])
        return _Scan.apply(projected, start, tape.anchor, weight, shift, taps[0])  # type: ignore[no-untyped-call]
