"""Two-dimensional convolutions as products with unfolded inputs, channels last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from audit.training.ensemble.layout import Layout
from audit.training.ensemble.rules.base import Rule, Tape
from audit.training.ensemble.terms import Outer, summed


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

    def output(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the output for an unpadded input's."""
        size = (height + self.zeros[0] + self.zeros[1], width + self.zeros[2] + self.zeros[3])
        rows, columns = (
            (n - d * (k - 1) - 1) // s + 1
            for n, k, s, d in zip(size, self.kernel, self.stride, self.dilation, strict=True)
        )
        return rows, columns

    def unfold(self, x: Tensor) -> Tensor:
        """[n, channels, height, width] -> [n, rows * columns, kernel rows * kernel columns * channels]."""
        n, c, h, w = x.shape
        rows, columns = self.output(h, w)
        top, bottom, left, right = self.zeros
        if any(self.zeros):
            padded = x.new_zeros(n, h + top + bottom, w + left + right, c)
            padded[:, top : top + h, left : left + w] = x.permute(0, 2, 3, 1)
        else:
            padded = x.permute(0, 2, 3, 1).contiguous()
        a, b, d, e = padded.stride()
        size = (n, rows, columns, *self.kernel, c)
        stride = (a, b * self.stride[0], d * self.stride[1], b * self.dilation[0], d * self.dilation[1], e)
        return padded.as_strided(size, stride).reshape(n, rows * columns, -1)

    def fold(self, columns: Tensor, shape: torch.Size) -> Tensor:
        """The transpose of `unfold`, for an input of `shape` [n, channels, height, width]."""
        n, c, h, w = shape
        top, bottom, left, right = self.zeros
        out = columns.new_zeros(n, h + top + bottom, w + left + right, c)
        rows, cols = self.output(h, w)
        grid = columns.view(n, rows, cols, *self.kernel, c)
        if rows * cols < self.kernel[0] * self.kernel[1]:
            (dr, dc), (kr, kc) = self.dilation, self.kernel
            for i in range(rows):
                for j in range(cols):
                    r, q = i * self.stride[0], j * self.stride[1]
                    out[:, r : r + dr * (kr - 1) + 1 : dr, q : q + dc * (kc - 1) + 1 : dc] += grid[:, i, j]
        else:
            (sr, sc) = self.stride
            for i in range(self.kernel[0]):
                for j in range(self.kernel[1]):
                    r, q = i * self.dilation[0], j * self.dilation[1]
                    out[:, r : r + sr * (rows - 1) + 1 : sr, q : q + sc * (cols - 1) + 1 : sc] += grid[:, :, :, i, j]
        return out[:, top : top + h, left : left + w].permute(0, 3, 1, 2)


class _Unfold(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, window: Window) -> Tensor:
        ctx.window, ctx.shape = window, x.shape
        return window.unfold(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return ctx.window.fold(gradients[0].contiguous(), ctx.shape), None


def convolve(layout: Layout, columns: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """[rows, positions, window] x [models, outputs, channels, kernel...] -> [rows, positions, outputs]."""
    matrix = weight.permute(0, 3, 4, 2, 1).flatten(1, 3)
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
        columns = _Unfold.apply(x, window)  # type: ignore[no-untyped-call]
        y = convolve(tape.layout, columns, weight, self.optional(tape, "bias"))
        if tape.recording:
            y, tap = tape.tapped(y)
            channels = weight.shape[2]
            fold = lambda m: m.unflatten(-1, (*window.kernel, channels)).movedim(-1, -3)  # noqa: E731
            tape.add(self.names["weight"], Outer(tape.layout, tap, columns.detach(), fold))
            if "bias" in self.names:
                tape.add(self.names["bias"], summed(tape.layout, tap))
        return y.unflatten(1, window.output(*x.shape[2:])).permute(0, 3, 1, 2)
