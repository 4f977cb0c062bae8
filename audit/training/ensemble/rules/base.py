"""The rule of one kind of layer: its batched forward, and what its per-example gradients are made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn

from audit.training.ensemble.layout import Layout
from audit.training.ensemble.tap import Tap, record
from audit.training.ensemble.terms import Term
from canaries.errors import InputError

LayerT = TypeVar("LayerT", bound=nn.Module)


class Tape:
    """What one pass over one chunk has in common, and what the layers wrote down on the way.

    Attributes:
        layout: the chunk's layout.
        parameters: by name, [models, shape...].
        recording: whether terms are wanted; false where only the outputs are.
        terms: by parameter, in the order of the calls.
    """

    def __init__(self, layout: Layout, parameters: dict[str, Tensor], recording: bool) -> None:
        self.layout = layout
        self.parameters = parameters
        self.recording = recording
        self.terms: dict[str, list[Term]] = {}
        some = next(iter(parameters.values()))
        self.anchor = torch.zeros((), dtype=some.dtype, device=some.device, requires_grad=True)

    def add(self, name: str, term: Term) -> None:
        """Write down a term of the parameter `name`."""
        self.terms.setdefault(name, []).append(term)

    def tapped(self, y: Tensor) -> tuple[Tensor, Tap]:
        """`y`, and the tap that its gradient goes to."""
        tap = Tap()
        return record(y, self.anchor, tap), tap


class Rule(ABC, Generic[LayerT]):
    """Runs one layer of a stacked model on merged batches. One subclass for each kind of layer.

    Class attributes:
        kinds: the layers it is for.
        own: the names of the parameters that these layers register, those that may be None included.

    Args:
        layer: the template's layer; its own parameters are not read, only its settings.
        names: the layer's parameter names (e.g. "weight") -> the model's (e.g. "block.0.weight").
        called: the layer's own name in the model (e.g. "block.0").
    """

    kinds: ClassVar[tuple[type[nn.Module], ...]] = ()
    own: ClassVar[tuple[str, ...]] = ("weight", "bias")

    def __init__(self, layer: LayerT, names: dict[str, str], called: str) -> None:
        self.layer = layer
        self.names = names
        self.called = called
        self.tape: Tape | None = None

    @classmethod
    def accepts(cls, layer: nn.Module) -> bool:
        """Whether this rule can run a layer of its kinds with its settings; the fallback takes what it cannot."""
        return True

    @classmethod
    def standard(cls, layer: nn.Module) -> bool:
        """Whether the layer's parameters are those of its kind; weight normalisation, for one, puts others there."""
        return set(layer._parameters) == set(cls.own)

    @abstractmethod
    def forward(self, tape: Tape, *args: Any, **kwargs: Any) -> Any:
        """The layer's output for merged batches [rows, ...]; adds the layer's terms where the tape records."""

    def merged(self, *args: Any, **kwargs: Any) -> list[tuple[Tensor, int]]:
        """The arguments of a call that must be merged batches, each with the axis of its rows; here the first."""
        return [((*args, *kwargs.values())[0], 0)]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Stands in for the layer's forward.

        Raises:
            InputError: for an input that is no merged batch, whose gradients could not be told apart by example.
        """
        if self.tape is None:
            raise RuntimeError("A stacked model's layers run only within the stacked model.")
        rows = self.tape.layout.rows
        for x, axis in self.merged(*args, **kwargs):
            if x.ndim <= axis or x.shape[axis] != rows:
                raise InputError(
                    f"{self.said()} gets an input of shape {tuple(x.shape)} where axis {axis} should be the batch's, "
                    f"{rows} rows: expand what all records share, and keep the batch an axis of its own."
                )
        return self.forward(self.tape, *args, **kwargs)

    def said(self) -> str:
        """How messages name the layer."""
        return f"Layer '{self.called}' ({type(self.layer).__name__})"

    def parameter(self, tape: Tape, name: str) -> Tensor:
        """[models, shape...]: the parameter that the layer calls `name`."""
        return tape.parameters[self.names[name]]

    def optional(self, tape: Tape, name: str) -> Tensor | None:
        """The parameter that the layer calls `name`, or None where it has none."""
        return tape.parameters[self.names[name]] if name in self.names else None


def product(layout: Layout, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """One product per model: x [rows, ..., inputs], weight [models, outputs, inputs] -> [rows, ..., outputs]."""
    flat = layout.per_model(x)
    y = torch.bmm(flat, weight.mT) if bias is None else torch.baddbmm(bias.unsqueeze(1), flat, weight.mT)
    return y.view(*x.shape[:-1], weight.shape[1])


Fold = Callable[[Tensor], Tensor]
