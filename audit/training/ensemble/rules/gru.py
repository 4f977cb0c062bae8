"""Gated recurrent units."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from audit.training.ensemble.rules.base import Tape
from audit.training.ensemble.rules.recurrent import RecurrentRule, gates
from audit.training.ensemble.tap import Tap


class _Scan(torch.autograd.Function):
    """r, z = sigmoid(x_rz + h_rz); n = tanh(x_n + r h_n); h' = n + z (h - n), with h_* = W h + b (Cho et al. 2014)."""

    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, start: Tensor, anchor: Tensor, weight: Tensor, bias: Tensor, taps: tuple[Tap, Tap]
    ) -> tuple[Tensor, Tensor, Tensor]:
        models, n, time, _ = projected.shape
        hidden = start.shape[-1]
        h, two, transposed = start, 2 * hidden, weight.mT
        x = projected.movedim(2, 0)
        active = projected.new_empty(time, models, n, 4 * hidden)
        before, out = (projected.new_empty(models, n, time, hidden) for _ in range(2))
        for t in range(time):
            before[:, :, t] = h
            share = torch.baddbmm(bias, h, transposed)
            rz, candidate = active[t, ..., :two], active[t, ..., two : two + hidden]
            torch.sigmoid(torch.add(x[t, ..., :two], share[..., :two]), out=rz)
            torch.tanh(torch.addcmul(x[t, ..., two:], rz[..., :hidden], share[..., two:]), out=candidate)
            active[t, ..., two + hidden :] = share[..., two:]
            h = torch.lerp(candidate, h, rz[..., hidden:])
            out[:, :, t] = h
        ctx.save_for_backward(active, before, weight)
        ctx.taps = taps
        ctx.mark_non_differentiable(before)
        return out, before, h

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        active, before, weight = ctx.saved_tensors
        g_out, _, dh = gradients
        time, models, n, _ = active.shape
        hidden = before.shape[-1]
        of_input, of_hidden = (active.new_empty(models, n, time, 3 * hidden) for _ in range(2))
        step = active.new_empty(models, n, 3 * hidden)
        for t in reversed(range(time)):
            r, z, candidate, share = gates(active[t], 4)
            dh = dh + g_out[:, :, t]
            dz = dh * (before[:, :, t] - candidate) * (z - z * z)
            dn = (dh - dh * z) * (1 - candidate * candidate)
            dr = dn * share * (r - r * r)
            for i, part in enumerate((dr, dz, dn)):
                of_input[:, :, t, i * hidden : (i + 1) * hidden] = part
            step[..., :hidden], step[..., hidden : 2 * hidden], step[..., 2 * hidden :] = dr, dz, dn * r
            of_hidden[:, :, t] = step
            dh = torch.baddbmm(dh * z, step, weight)
        ctx.taps[0].set(of_input)
        ctx.taps[1].set(of_hidden)
        return of_input if ctx.needs_input_grad[0] else None, dh, None, None, None, None


class GRURule(RecurrentRule[nn.GRU]):
    """Gated recurrent units, any number of layers and directions."""

    kinds = (nn.GRU,)

    def forward(self, tape: Tape, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """[rows, time, inputs], optionally [layers, rows, hidden] -> outputs and last states, as nn.GRU."""
        x, start, *_ = (*args, *kwargs.values(), None)
        x = self.batch_first(x)
        y, last = self.run(tape, x, (self.zeros(x) if start is None else start).unsqueeze(0))
        return self.batch_first(y), last[0]

    def scan(
        self, tape: Tape, projected: Tensor, start: Tensor, weight: Tensor, bias: Tensor | None, taps: tuple[Tap, Tap]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See the base."""
        shift = projected.new_zeros(1) if bias is None else bias.unsqueeze(1)
        y, hidden, last = _Scan.apply(  # type: ignore[no-untyped-call]
            projected, start[0], tape.anchor, weight, shift, taps
        )
        return y, hidden, last.unsqueeze(0)
