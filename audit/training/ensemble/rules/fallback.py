"""Any other layer: per-example gradients by vmap(grad), written down."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils import _pytree as trees

from audit.training.ensemble.rules.base import Rule, Tape
from audit.training.ensemble.tap import Tap
from audit.training.ensemble.terms import Dense
from canaries.errors import InputError


@functools.cache
def say_once(kind: str) -> None:
    """Tell the user, once for each kind of layer, that it has no rule."""
    warnings.warn(
        f"Layer {kind} has no rule of its own: vmap(grad) materialises its per-example gradients, which is slow.",
        stacklevel=2,
    )


class FallbackRule(Rule[nn.Module]):
    """Runs a layer of any kind that treats examples alike and returns one tensor.

    Tensors among its arguments, in keywords and nested too, are split by example where their first axis is the
    batch's. One that was ever of another length is shared by all examples, even where its length is by chance the
    batch's; `Stacked` runs a pass of two rows and one of three before any other, so that it shows.
    """

    def __init__(self, layer: nn.Module, names: dict[str, str], called: str) -> None:
        super().__init__(layer, names, called)
        say_once(type(layer).__name__)
        self._forward = layer.forward
        self._shared: set[tuple[str, int]] = set()

    def merged(self, *args: Any, **kwargs: Any) -> list[tuple[Tensor, int]]:
        """None: `forward` finds out."""
        return []

    def forward(self, tape: Tape, *args: Any, **kwargs: Any) -> Tensor:
        """Tensors of [rows, ...] are split by example; other arguments go to every example as they are.

        Raises:
            InputError: where no argument is a merged batch, or the layer returns anything but a tensor.
        """
        layout = tape.layout
        parameters = {local: self.parameter(tape, local) for local in self.names}
        values, spec = trees.tree_flatten((args, kwargs))
        batched = [self._batched((str(spec), i), value, layout.rows) for i, value in enumerate(values)]
        if not any(batched):
            raise InputError(f"{self.said()} gets no tensor whose first axis is the batch's.")
        split = [torch.unflatten(a, 0, (layout.models, -1)) if b else a for a, b in zip(values, batched, strict=True)]
        axes = (0, *(0 if b else None for b in batched))
        y = vmap(lambda p, *xs: self._run(p, xs, spec), in_dims=axes)(parameters, *split).flatten(0, 1)
        if not tape.recording:
            return y
        y, tap = tape.tapped(y)
        gradients = self._gradients(tape, tap, parameters, split, batched, spec)
        for local, name in self.names.items():
            tape.add(name, Dense(layout, tap, functools.partial(_picked, gradients, local)))
        return y

    def _batched(self, where: tuple[str, int], value: Any, rows: int) -> bool:
        if not isinstance(value, Tensor):
            return False
        if value.ndim == 0 or value.shape[0] != rows:
            self._shared.add(where)
        return where not in self._shared

    def _run(self, parameters: dict[str, Tensor], values: Sequence[Any], spec: trees.TreeSpec) -> Tensor:
        args, kwargs = trees.tree_unflatten(list(values), spec)
        replaced = self.layer.forward
        self.layer.forward = self._forward
        try:
            y = functional_call(self.layer, parameters, args, kwargs)
        finally:
            self.layer.forward = replaced
        if not isinstance(y, Tensor):
            raise InputError(f"{self.said()} has no rule and returns a {type(y).__name__}, not one tensor.")
        return y

    def _gradients(
        self,
        tape: Tape,
        tap: Tap,
        parameters: dict[str, Tensor],
        values: list[Any],
        batched: list[bool],
        spec: trees.TreeSpec,
    ) -> Any:
        layout = tape.layout
        kept = [a.detach() if isinstance(a, Tensor) else a for a in values]
        mask = [0 if b else None for b in batched]

        def one(p: dict[str, Tensor], g: Tensor, *xs: Any) -> dict[str, Tensor]:
            def dot(q: dict[str, Tensor]) -> Tensor:
                alone = [x.unsqueeze(0) if b else x for x, b in zip(xs, batched, strict=True)]
                return (self._run(q, alone, spec)[0] * g).sum()

            return torch.func.grad(dot)(p)

        @functools.cache
        def compute() -> dict[str, Tensor]:
            g = torch.unflatten(tap.gradient, 0, (layout.models, -1))
            every = vmap(vmap(one, in_dims=(None, 0, *mask)), in_dims=(0, 0, *mask))(parameters, g, *kept)
            return {n: torch.unflatten(v, 1, (layout.examples, layout.views)).sum(2) for n, v in every.items()}

        return compute


def _picked(gradients: Callable[[], dict[str, Tensor]], local: str, _: Tensor) -> Tensor:
    return gradients()[local]
