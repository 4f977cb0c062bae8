"""Any other layer: per-example gradients by vmap(grad), written down."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from audit.training.ensemble.rules.base import Rule, Tape
from audit.training.ensemble.tap import Tap
from audit.training.ensemble.terms import Dense


@functools.cache
def say_once(kind: str) -> None:
    """Tell the user, once for each kind of layer, that it has no rule."""
    warnings.warn(
        f"Layer {kind} has no rule of its own: vmap(grad) materialises its per-example gradients, which is slow.",
        stacklevel=2,
    )


class FallbackRule(Rule[nn.Module]):
    """Runs a layer of any kind that treats examples alike and returns one tensor."""

    def __init__(self, layer: nn.Module, names: dict[str, str]) -> None:
        super().__init__(layer, names)
        say_once(type(layer).__name__)
        self._forward = layer.forward

    def forward(self, tape: Tape, *args: Any, **kwargs: Any) -> Tensor:
        """Tensors of [rows, ...] are split by example; other arguments go to every example as they are."""
        parameters = {local: self.parameter(tape, local) for local in self.names}
        rows, models = tape.layout.rows, tape.layout.models
        batched = [isinstance(a, Tensor) and a.ndim > 0 and a.shape[0] == rows for a in args]
        split = [torch.unflatten(a, 0, (models, -1)) if b else a for a, b in zip(args, batched, strict=True)]
        axes = (0, *(0 if b else None for b in batched))
        one = vmap(lambda p, *xs: self._run(p, xs, kwargs), in_dims=axes)
        y = one(parameters, *split).flatten(0, 1)
        if not tape.recording:
            return y
        y, tap = tape.tapped(y)
        gradients = self._gradients(tape, tap, parameters, split, batched, kwargs)
        for local, name in self.names.items():
            tape.add(name, Dense(tape.layout, tap, functools.partial(_picked, gradients, local)))
        return y

    def _run(self, parameters: dict[str, Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        replaced = self.layer.forward
        self.layer.forward = self._forward
        try:
            return functional_call(self.layer, parameters, args, kwargs)
        finally:
            self.layer.forward = replaced

    def _gradients(
        self,
        tape: Tape,
        tap: Tap,
        parameters: dict[str, Tensor],
        args: list[Any],
        batched: list[bool],
        kwargs: dict[str, Any],
    ) -> Any:
        layout = tape.layout
        kept = [a.detach() if isinstance(a, Tensor) else a for a in args]
        mask = [0 if b else None for b in batched]

        def one(p: dict[str, Tensor], g: Tensor, *xs: Any) -> dict[str, Tensor]:
            def dot(q: dict[str, Tensor]) -> Tensor:
                alone = tuple(x.unsqueeze(0) if b else x for x, b in zip(xs, batched, strict=True))
                return (self._run(q, alone, kwargs)[0] * g).sum()

            return torch.func.grad(dot)(p)

        @functools.cache
        def compute() -> dict[str, Tensor]:
            g = torch.unflatten(tap.gradient, 0, (layout.models, -1))
            every = vmap(vmap(one, in_dims=(None, 0, *mask)), in_dims=(0, 0, *mask))(parameters, g, *kept)
            return {n: torch.unflatten(v, 1, (layout.examples, layout.views)).sum(2) for n, v in every.items()}

        return compute


def _picked(gradients: Callable[[], dict[str, Tensor]], local: str, _: Tensor) -> Tensor:
    return gradients()[local]
