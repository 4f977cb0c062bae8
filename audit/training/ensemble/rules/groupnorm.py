"""Group normalisation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from audit.training.ensemble.layout import Layout
from audit.training.ensemble.rules.base import Rule, Tape
from audit.training.ensemble.tap import Tap
from audit.training.ensemble.terms import Dense


class _GroupNorm(torch.autograd.Function):
    """y = x a + b with a and b for each row and channel; both gradients need two sums over positions and no more.

    With z = (x - mean) rstd, the gradients of scale and shift are sum_t g_t z_t and sum_t g_t: backward has them on
    its way to the input's gradient and leaves them in the taps.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, shift: Tensor, anchor: Tensor, groups: int, eps: float, taps: Any
    ) -> Tensor:
        """Of x [rows, positions, channels], scale and shift [rows, channels]."""
        n, _, channels = x.shape
        size, width = x[0].numel() // groups, channels // groups
        mean = x.sum(1).view(n, groups, width).sum(2).div_(size).repeat_interleave(width, 1)
        x = x - mean.unsqueeze(1)  # Before squaring: E x^2 - (E x)^2 would cancel where the mean is large.
        squares = (x * x).sum(1).view(n, groups, width).sum(2)
        rstd = squares.div_(size).add_(eps).rsqrt_().repeat_interleave(width, 1)
        a = rstd * scale
        ctx.save_for_backward(x, scale, a, rstd)
        ctx.groups, ctx.taps = groups, taps
        return torch.addcmul(shift.unsqueeze(1), x, a.unsqueeze(1))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, scale, a, rstd = ctx.saved_tensors
        (g,) = gradients
        n, _, channels = x.shape
        of_shift = g.sum(1)
        of_scale = (g * x).sum(1) * rstd
        ctx.taps[0].set(of_scale)
        ctx.taps[1].set(of_shift)
        if not ctx.needs_input_grad[0]:
            return (None,) * 7
        size, width = x[0].numel() // ctx.groups, channels // ctx.groups
        along, level = (
            (v * scale).view(n, ctx.groups, width).sum(2).div_(size).repeat_interleave(width, 1)
            for v in (of_scale, of_shift)
        )
        gx = torch.addcmul((level * -rstd).unsqueeze(1), x, (-along * rstd * rstd).unsqueeze(1))
        return gx.addcmul_(g, a.unsqueeze(1)), *(None,) * 6


class GroupNormRule(Rule[nn.GroupNorm]):
    """y_c = z_c s_c + b_c, z normalised over groups of channels: gradients sum_t g_tc z_tc and sum_t g_tc."""

    kinds = (nn.GroupNorm,)

    @classmethod
    def accepts(cls, layer: nn.Module) -> bool:
        """With scale and shift."""
        return isinstance(layer, nn.GroupNorm) and layer.affine

    def forward(self, tape: Tape, *args: Any, **kwargs: Any) -> Tensor:
        """[rows, channels, ...] -> the same, channels last in memory."""
        (x,) = (*args, *kwargs.values())
        layout = tape.layout
        last = x.movedim(1, -1)
        scale, shift = (
            self.parameter(tape, n).repeat_interleave(layout.rows // layout.models, 0) for n in ("weight", "bias")
        )
        taps = (Tap(), Tap())
        y = _GroupNorm.apply(  # type: ignore[no-untyped-call]
            last.reshape(len(x), -1, x.shape[1]), scale, shift, tape.anchor, self.layer.num_groups, self.layer.eps, taps
        )
        if tape.recording:
            for name, tap in zip(("weight", "bias"), taps, strict=True):
                tape.add(self.names[name], Dense(layout, tap, lambda g: _summed_views(layout, g)))
        return y.view(last.shape).movedim(-1, 1)


def _summed_views(layout: Layout, g: Tensor) -> Tensor:
    """[rows, channels] -> [models, examples, channels]."""
    return g.view(layout.models, layout.examples, layout.views, -1).sum(2)
