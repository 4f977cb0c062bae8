"""Taps: where backward leaves the gradient of each example's loss with respect to a layer's output."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Tap:
    """Holds one output gradient, [rows, ...], once backward has passed."""

    def __init__(self) -> None:
        self._gradient: Tensor | None = None
        self._leader: Tap | None = None

    @property
    def gradient(self) -> Tensor:
        """The output gradient.

        Raises:
            RuntimeError: before backward, or where the loss does not depend on the output.
        """
        if self._leader is not None:
            return self._leader.gradient
        if self._gradient is None:
            raise RuntimeError("No output gradient was recorded: run backward first.")
        return self._gradient

    def set(self, gradient: Tensor) -> None:
        """Leave a gradient here."""
        self._gradient = gradient

    def follow(self, leader: Tap) -> None:
        """Hold whatever `leader` holds."""
        self._leader = leader


class _Record(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, anchor: Tensor, tap: Tap) -> Tensor:
        ctx.tap = tap
        tap.set(torch.zeros((), dtype=y.dtype, device=y.device).expand_as(y))
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        ctx.tap.set(gradients[0])
        return gradients[0] if ctx.needs_input_grad[0] else None, None, None


def record(y: Tensor, anchor: Tensor, tap: Tap) -> Tensor:
    """`y` itself; its gradient goes to `tap` in backward.

    `anchor` is any scalar that requires a gradient, so that backward comes this way even though no parameter
    and perhaps no input requires one. Where the loss does not depend on `y`, the tap holds zeros.
    """
    return _Record.apply(y, anchor, tap)  # type: ignore[no-untyped-call]
