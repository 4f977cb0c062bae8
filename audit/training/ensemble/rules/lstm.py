"""Long short-term memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from audit.training.ensemble.rules.base import Tape
from audit.training.ensemble.rules.recurrent import RecurrentRule, gates
from audit.training.ensemble.tap import Tap


class _Scan(torch.autograd.Function):
    """i, f, o = sigmoid(...); g = tanh(...); c' = f c + i g; h' = o tanh(c') (Hochreiter & Schmidhuber 1997)."""

    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, start: Tensor, anchor: Tensor, weight: Tensor, bias: Tensor, tap: Tap
    ) -> tuple[Tensor, Tensor, Tensor]:
        models, n, time, _ = projected.shape
        (h, c), hidden, transposed = start, start.shape[-1], weight.mT
        active = projected.new_empty(time, models, n, 6 * hidden)
        before, out = (projected.new_empty(models, n, time, hidden) for _ in range(2))
        for t in range(time):
            before[:, :, t] = h
            both = torch.baddbmm(bias, h, transposed).add_(projected[:, :, t])
            now = active[t]
            torch.sigmoid(both, out=now[..., : 4 * hidden])
            torch.tanh(both[..., 2 * hidden : 3 * hidden], out=now[..., 2 * hidden : 3 * hidden])
            i, f, g, o, old, bounded = gates(now, 6)
            old.copy_(c)
            c = torch.addcmul(f * c, i, g)
            torch.tanh(c, out=bounded)
            h = o * bounded
            out[:, :, t] = h
        ctx.save_for_backward(active, weight)
        ctx.tap = tap
        ctx.mark_non_differentiable(before)
        return out, before, torch.stack([h, c])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        active, weight = ctx.saved_tensors
        g_out, _, g_last = gradients
        (dh, dc), (time, models, n, six) = g_last, active.shape
        of_gates = active.new_empty(models, n, time, six // 6 * 4)
        for t in reversed(range(time)):
            i, f, g, o, old, bounded = gates(active[t], 6)
            dh = dh + g_out[:, :, t]
            dc = dc + dh * o * (1 - bounded * bounded)
            parts = (dc * g * (i - i * i), dc * old * (f - f * f), dc * i * (1 - g * g), dh * bounded * (o - o * o))
            step = torch.cat(parts, -1)
            of_gates[:, :, t] = step
            dc = dc * f
            dh = torch.bmm(step, weight)
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
