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
        n, positions, channels = x.shape
        size = positions * channels // groups
        sums, squares = (s.view(n, groups, -1).sum(2) / size for s in (x.sum(1), (x * x).sum(1)))
        rstd = (squares - sums * sums).clamp_(min=0).add_(eps).rsqrt_()
        mean, rstd = (v.repeat_interleave(channels // groups, 1) for v in (sums, rstd))
        a = rstd * scale
        ctx.save_for_backward(x, scale, a, mean, rstd)
        ctx.groups, ctx.taps = groups, taps
        return torch.addcmul((shift - mean * a).unsqueeze(1), x, a.unsqueeze(1))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, scale, a, mean, rstd = ctx.saved_tensors
        (g,) = gradients
        n, positions, channels = x.shape
        of_shift = g.sum(1)
        of_scale = ((g * x).sum(1) - mean * of_shift) * rstd
        ctx.taps[0].set(of_scale)
        ctx.taps[1].set(of_shift)
        if not ctx.needs_input_grad[0]:
            return (None,) * 7
        size = positions * channels // ctx.groups
        along, level = (
            (v * scale).view(n, ctx.groups, -1).sum(2).div_(size).repeat_interleave(channels // ctx.groups, 1)
            for v in (of_scale, of_shift)
        )
        slope = -along * rstd * rstd
        gx = torch.addcmul((-slope * mean - level * rstd).unsqueeze(1), x, slope.unsqueeze(1))
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
