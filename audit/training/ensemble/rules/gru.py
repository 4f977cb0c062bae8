"""Gated recurrent units."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from audit.training.ensemble.rules.base import Tape
from audit.training.ensemble.rules.recurrent import RecurrentRule, after_and_before, given, over_time
from audit.training.ensemble.tap import Tap


class _Scan(torch.autograd.Function):
    """r, z = sigmoid(x_rz + h_rz); n = tanh(x_n + r h_n); h' = n + z (h - n), with h_* = W h + b (Cho et al. 2014).

    The gates' gradients are dh times factors that do not depend on dh. They are computed for all steps at once, so
    that the loop over time has little left to do.
    """

    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, start: Tensor, anchor: Tensor, weight: Tensor, bias: Tensor, taps: tuple[Tap, Tap]
    ) -> tuple[Tensor, Tensor, Tensor]:
        models, n, time, width = projected.shape
        hidden, two = width // 3, width // 3 * 2
        x = projected.movedim(2, 0)
        x_rz, x_n = (x[..., :two] + bias[..., :two]).unbind(0), x[..., two:].unbind(0)
        w_rz, w_n, b_n = weight[:, :two].mT, weight[:, two:].mT, bias[..., two:]
        rz = projected.new_empty(time, models, n, two)
        candidate, share = (projected.new_empty(time, models, n, hidden) for _ in range(2))
        states = projected.new_empty(time + 1, models, n, hidden)
        states[0] = start
        steps = zip(
            *(t.unbind(0) for t in (states, states[1:], rz, rz[..., :hidden], rz[..., hidden:], candidate, share)),
            x_rz,
            x_n,
            strict=False,
        )
        for h, following, gates, r, z, c, s, of_gates, of_candidate in steps:
            torch.sigmoid(torch.baddbmm(of_gates, h, w_rz), out=gates)
            torch.baddbmm(b_n, h, w_n, out=s)
            torch.tanh(torch.addcmul(of_candidate, r, s), out=c)
            torch.lerp(c, h, z, out=following)
        ctx.save_for_backward(states, rz, candidate, share, weight)
        ctx.taps = taps
        return *after_and_before(ctx, states), states[-1].clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        states, rz, c, share, weight = ctx.saved_tensors
        g_out, _, dh = gradients
        g_out, dh = given(g_out, states[1:].movedim(0, 2)), given(dh, states[0])
        r, z = rz.chunk(2, -1)
        dn = (1 - z) * (1 - c * c)
        dr = dn * share * (r - r * r)
        dz = (states[:-1] - c) * (z - z * z)
        factors = torch.stack([dr, dz, dn * r], -2)
        steps, hiddens = torch.empty_like(factors), torch.empty_like(dn)
        sequence = [t.unbind(0) for t in (g_out.movedim(2, 0), factors, steps, steps.flatten(-2), hiddens, z)]
        for g, factor, step, flat, dh_now, keep in zip(*(reversed(s) for s in sequence), strict=True):
            torch.add(dh, g, out=dh_now)
            torch.mul(factor, dh_now.unsqueeze(-2), out=step)
            dh = torch.baddbmm(dh_now * keep, flat, weight)
        ctx.taps[1].set(over_time(steps.flatten(-2)).clone())
        steps[..., 2, :] = dn.mul_(hiddens)
        of_input = over_time(steps.flatten(-2))
        ctx.taps[0].set(of_input)
        return of_input if ctx.needs_input_grad[0] else None, dh, None, None, None, None


class GRURule(RecurrentRule[nn.GRU]):
    """Gated recurrent units, any number of layers and directions."""

    kinds = (nn.GRU,)

    def scan(
        self, tape: Tape, projected: Tensor, start: Tensor, weight: Tensor, bias: Tensor | None, taps: tuple[Tap, Tap]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See the base."""
        shift = weight.new_zeros(weight.shape[:2]) if bias is None else bias
        y, hidden, last = _Scan.apply(  # type: ignore[no-untyped-call]
            projected, start[0], tape.anchor, weight, shift.unsqueeze(1), taps
        )
        return y, hidden, last.unsqueeze(0)
