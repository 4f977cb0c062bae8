"""A model stacked: many copies of one module, with parameters of their own, run as one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from audit.training.ensemble.layout import Layout
from audit.training.ensemble.rules import Rule, Tape, refuse, rule_for
from audit.training.models import light_copy
from canaries.errors import InputError


class Stacked:
    """A module whose layers run for many models at once.

    The module's own code sees one merged batch of all models' examples and needs no change: what has no
    parameters treats examples alike anyway. Each layer with parameters is replaced by its rule, which takes the
    merged batch apart and multiplies each model's part with that model's parameters. A layer of which all parameters
    are frozen stays as it is: it treats all models alike.

    Args:
        module: the model; copied, and its parameters' values are not used.

    Attributes:
        shapes: shape of each trainable parameter, by name, in the module's order.

    Raises:
        InputError: for a layer that mixes examples, or a module without trainable parameters.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = light_copy(module).train()
        self.shapes = {n: p.shape for n, p in self.module.named_parameters() if p.requires_grad}
        if not self.shapes:
            raise InputError(f"Model {type(module).__name__} has no trainable parameters.")
        self._frozen = {n: p.detach() for n, p in self.module.named_parameters() if not p.requires_grad}
        self._names = {id(p): n for n, p in self.module.named_parameters()}
        self._rules: list[Rule[Any]] = []
        self._rehearsed = False
        self._attach("", self.module)
        for p in self.module.parameters():
            p.requires_grad_(False)

    def _attach(self, name: str, layer: nn.Module) -> None:
        for inner, child in layer.named_modules():
            refuse(".".join(filter(None, (name, inner))), child)
        if getattr(layer, "inplace", False):
            layer.inplace = False  # type: ignore[assignment]
        held = list(layer.parameters())
        if held and not any(p.requires_grad for p in held):
            return  # All models share it as it is.
        kind = rule_for(layer)
        if kind is None:
            for local, child in layer.named_children():
                self._attach(f"{name}.{local}" if name else local, child)
            return
        names = {local: self._names[id(p)] for local, p in layer.named_parameters(remove_duplicate=False)}
        rule = kind(layer, names, name)
        layer.forward = rule
        self._rules.append(rule)

    def moved(self, device: str, dtype: torch.dtype) -> Stacked:
        """This object, its buffers and frozen parameters on `device` in `dtype`."""
        self.module.to(device, dtype)
        self._frozen = {n: p.detach() for n, p in self.module.named_parameters() if n in self._frozen}
        return self

    def run(self, parameters: dict[str, Tensor], x: Tensor, layout: Layout, recording: bool) -> tuple[Any, Tape]:
        """The module's output for a merged batch x [rows, ...] under parameters [models, shape...].

        With `recording`, the tape holds each parameter's terms once backward has passed.

        Raises:
            InputError: where a layer gets an input that is no merged batch.
        """
        if not self._rehearsed:
            self._rehearse(parameters, x)
        frozen = {n: p.expand(layout.models, *p.shape) for n, p in self._frozen.items()}
        tape = Tape(layout, parameters | frozen, recording)
        for rule in self._rules:
            rule.tape = tape
        try:
            output = self.module(x)
        finally:
            for rule in self._rules:
                rule.tape = None
        for name in self._frozen:
            tape.terms.pop(name, None)
        return output, tape

    @torch.no_grad()
    def _rehearse(self, parameters: dict[str, Tensor], x: Tensor) -> None:
        """Run two rows, then three: a tensor that is no batch cannot be as long as both."""
        self._rehearsed = True
        for rows in (2, 3):
            alone = {n: p[:1] for n, p in parameters.items()}
            self.run(alone, x[:1].repeat_interleave(rows, 0), Layout(1, rows), recording=False)

    @torch.no_grad()
    def outputs(self, parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        """[models, n, ...]: every model's output for the same inputs x [n, ...]."""
        models = next(iter(parameters.values())).shape[0]
        merged = x.expand(models, *x.shape).flatten(0, 1)
        y, _ = self.run(parameters, merged, Layout(models, len(x)), recording=False)
        return y.unflatten(0, (models, len(x)))
