"""Two-dimensional convolutions as products with unfolded inputs, channels last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audit.training.ensemble.layout import Layout
from audit.training.ensemble.rules.base import Rule, Tape
from audit.training.ensemble.terms import Outer, summed

SHORT_RUN = 8
"""Floats in one row of a kernel below which whole images are copied instead; measured."""


@dataclass(frozen=True)
class Window:
    """Where a kernel looks: kernel, stride and dilation as (rows, columns), zeros as (top, bottom, left, right)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    zeros: tuple[int, int, int, int]

    @classmethod
    def of(cls, layer: nn.Conv2d) -> Window:
        """The window of a layer."""
        kernel, stride, dilation = layer.kernel_size, layer.stride, layer.dilation
        if layer.padding == "valid":
            zeros = (0, 0, 0, 0)
        elif layer.padding == "same":
            v, h = (d * (k - 1) for d, k in zip(dilation, kernel, strict=True))
            zeros = (v // 2, v - v // 2, h // 2, h - h // 2)
        else:
            v, h = (int(p) for p in layer.padding)
            zeros = (v, v, h, h)
        return cls((kernel[0], kernel[1]), (stride[0], stride[1]), (dilation[0], dilation[1]), zeros)

    def pad(self, x: Tensor) -> Tensor:
        """The image with its zeros around it."""
        top, bottom, left, right = self.zeros
        return F.pad(x, (left, right, top, bottom)) if any(self.zeros) else x

    def output(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the output for an input of this size, zeros included."""
        rows, columns = (
            (n - d * (k - 1) - 1) // s + 1
            for n, k, s, d in zip((height, width), self.kernel, self.stride, self.dilation, strict=True)
        )
        return rows, columns

    def unfold(self, x: Tensor) -> Tensor:
        """[n, channels, height, width], zeros included -> [n, rows * columns, kernel rows * kernel columns * channels].

        Long runs are copied with channels last. Where they would be short, each element of the kernel copies a whole
        image, and the result lies transposed in memory.
        """
        n, c, h, w = x.shape
        (rows, columns), (kr, kc), (sr, sc), (dr, dc) = self.output(h, w), self.kernel, self.stride, self.dilation
        if kc * c < SHORT_RUN:
            out = x.new_empty(n, kr, kc, c, rows, columns)
            for i in range(kr):
                for j in range(kc):
                    top, left = i * dr, j * dc
                    out[:, i, j] = x[
                        :, :, top : top + sr * (rows - 1) + 1 : sr, left : left + sc * (columns - 1) + 1 : sc
                    ]
            return out.view(n, kr * kc * c, rows * columns).mT
        x = x.contiguous(memory_format=torch.channels_last)
        image, channel, row, column = x.stride()
        size = (n, rows, columns, kr, kc, c)
        stride = (image, row * sr, column * sc, row * dr, column * dc, channel)
        return x.as_strided(size, stride).reshape(n, rows * columns, -1)


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, anchor: Tensor, layout: Layout, window: Window
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(x, weight)
        ctx.window = window
        columns = window.unfold(x)
        ctx.mark_non_differentiable(columns)
        ctx.set_materialize_grads(False)
        return convolve(layout, columns, weight, bias), columns

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        if not ctx.needs_input_grad[0]:
            return (None,) * 6
        x, weight = ctx.saved_tensors
        window, models = ctx.window, weight.shape[0]
        g = torch.unflatten(gradients[0], 1, window.output(*x.shape[2:])).permute(0, 3, 1, 2)
        options = (None, window.stride, (0, 0), window.dilation, False, (0, 0), 1, (True, False, False))
        parts = [
            torch.ops.aten.convolution_backward(gk, xk, wk, *options)[0]
            for gk, xk, wk in zip(g.chunk(models), x.chunk(models), weight, strict=True)
        ]
        return torch.cat(parts) if models > 1 else parts[0], *(None,) * 5


def convolve(layout: Layout, columns: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """[rows, positions, window] x [models, outputs, channels, kernel...] -> [rows, positions, outputs]."""
    matrix = weight.permute(0, 3, 4, 2, 1).flatten(1, 3)
    if not columns.is_contiguous():
        each = layout.rows // layout.models
        matrix = matrix.repeat_interleave(each, 0)
        if bias is None:
            return torch.bmm(columns, matrix)
        return torch.baddbmm(bias.repeat_interleave(each, 0).unsqueeze(1), columns, matrix)
    flat = layout.per_model(columns)
    y = torch.bmm(flat, matrix) if bias is None else torch.baddbmm(bias.unsqueeze(1), flat, matrix)
    return y.view(*columns.shape[:2], -1)


class Conv2dRule(Rule[nn.Conv2d]):
    """A convolution is a linear layer over the positions of its output (Rochette, Manoel, Tramel 2019).

    The input is unfolded in (kernel row, kernel column, channel) order, so that channels-last images are copied
    in long runs, and one product per model does all its examples' positions.
    """

    kinds = (nn.Conv2d,)

    @classmethod
    def accepts(cls, layer: nn.Module) -> bool:
        """Without groups, and with zeros around the image."""
        return isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.padding_mode == "zeros"

    def forward(self, tape: Tape, *args: Any, **kwargs: Any) -> Tensor:
        """[rows, channels, height, width] -> [rows, outputs, ...], channels last in memory."""
        (x,) = (*args, *kwargs.values())
        window = Window.of(self.layer)
        weight = self.parameter(tape, "weight")
        x = window.pad(x)
        y, columns = _Convolve.apply(  # type: ignore[no-untyped-call]
            x, weight, self.optional(tape, "bias"), tape.anchor, tape.layout, window
        )
        if tape.recording:
            y, tap = tape.tapped(y)
            channels = weight.shape[2]
            fold = lambda m: m.unflatten(-1, (*window.kernel, channels)).movedim(-1, -3)  # noqa: E731
            tape.add(self.names["weight"], Outer(tape.layout, tap, columns, fold))
            if "bias" in self.names:
                tape.add(self.names["bias"], summed(tape.layout, tap))
        return y.unflatten(1, window.output(*x.shape[2:])).permute(0, 3, 1, 2)
