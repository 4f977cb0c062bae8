"""Plain recurrent layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from audit.training.ensemble.rules.base import Tape
from audit.training.ensemble.rules.recurrent import RecurrentRule, after_and_before, given, over_time
from audit.training.ensemble.tap import Tap


class _Scan(torch.autograd.Function):
    """h' = tanh(W_x x + W_h h + b), or max(0, ...) (Elman 1990)."""

    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, start: Tensor, anchor: Tensor, weight: Tensor, bias: Tensor, tap: Tap, tanh: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        x, transposed = projected.movedim(2, 0) + bias, weight.mT
        states = x.new_empty(len(x) + 1, *x.shape[1:])
        states[0] = start
        for now, h, following in zip(x.unbind(0), states.unbind(0), states[1:].unbind(0), strict=False):
            torch.baddbmm(now, h, transposed, out=following)
            (torch.tanh_ if tanh else torch.relu_)(following)
        ctx.save_for_backward(states, weight)
        ctx.tap, ctx.tanh = tap, tanh
        return *after_and_before(ctx, states), states[-1].clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        states, weight = ctx.saved_tensors
        g_out, _, dh = gradients
        after = states[1:]
        g_out, dh = given(g_out, after.movedim(0, 2)), given(dh, states[0])
        slopes = 1 - after * after if ctx.tanh else (after > 0).to(after)
        steps = torch.empty_like(slopes)
        sequence = [t.unbind(0) for t in (g_out.movedim(2, 0), slopes, steps)]
        for g, slope, step in zip(*(reversed(s) for s in sequence), strict=True):
            torch.mul(dh + g, slope, out=step)
            dh = torch.bmm(step, weight)
        of_gates = over_time(steps)
        ctx.tap.set(of_gates)
        return of_gates if ctx.needs_input_grad[0] else None, dh, None, None, None, None, None


class RNNRule(RecurrentRule[nn.RNN]):
    """Plain recurrent layers, tanh or ReLU, any number of layers and directions."""

    kinds = (nn.RNN,)

    def scan(
        self, tape: Tape, projected: Tensor, start: Tensor, weight: Tensor, bias: Tensor | None, taps: tuple[Tap, Tap]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See the base. Both shares enter alike, so their gradients are one."""
        shift = projected.new_zeros(1) if bias is None else bias.unsqueeze(1)
        taps[1].follow(taps[0])
        y, hidden, last = _Scan.apply(  # type: ignore[no-untyped-call]
            projected, start[0], tape.anchor, weight, shift, taps[0], self.layer.nonlinearity == "tanh"
        )
        return y, hidden, last.unsqueeze(0)
