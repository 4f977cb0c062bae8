"""Recurrent layers: what RNN, GRU and LSTM share."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from audit.training.ensemble.rules.base import Rule, Tape, product
from audit.training.ensemble.tap import Tap
from audit.training.ensemble.terms import Outer, summed
from canaries.errors import InputError

RecurrentT = TypeVar("RecurrentT", bound=nn.RNNBase)


class RecurrentRule(Rule[RecurrentT]):
    """Input and hidden weights are linear layers over time, of inputs x_t and h_{t-1}, giving gates before activation.

    Backward through time leaves both gates' gradients in taps; the rest is `Outer` and `Dense` terms.
    """

    def merged(self, *args: Any, **kwargs: Any) -> list[tuple[Tensor, int]]:
        """The sequences, and the initial states where they are given."""
        x, start, *_ = (*args, *kwargs.values(), None)
        if x.ndim != 3:
            raise InputError(f"{self.said()} gets an input of shape {tuple(x.shape)}, no batch of sequences.")
        states = start if isinstance(start, tuple) else (start,)
        given = [(state, 1) for state in states if state is not None]
        return [(x, 0 if self.layer.batch_first else 1), *given]

    def forward(self, tape: Tape, *args: Any, **kwargs: Any) -> Any:
        """[rows, time, inputs], optionally [layers, rows, hidden] -> outputs and last states, as nn.RNN and nn.GRU."""
        x, start, *_ = (*args, *kwargs.values(), None)
        x = self.batch_first(x)
        y, last = self.run(tape, x, (self.zeros(x) if start is None else start).unsqueeze(0))
        return self.batch_first(y), last[0]

    @abstractmethod
    def scan(
        self, tape: Tape, projected: Tensor, start: Tensor, weight: Tensor, bias: Tensor | None, taps: tuple[Tap, Tap]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Run over time.

        Args:
            tape: the pass; its anchor makes backward come this way.
            projected: [models, n, time, gates], the input's share of the gates.
            start: [states, models, n, hidden].
            weight: [models, gates, hidden].
            bias: [models, gates].
            taps: get the gradients of the input's and the hidden state's share, [models, n, time, gates].

        Returns:
            Outputs [models, n, time, hidden], hidden inputs h_{t-1} of the same shape, last states like `start`.
        """

    def run(self, tape: Tape, x: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """All layers and directions.

        Args:
            tape: the pass.
            x: [rows, time, inputs].
            start: [states, layers * directions, rows, hidden].

        Returns:
            Outputs [rows, time, directions * hidden] and last states like `start`.
        """
        lasts = []
        directions = ("", "_reverse") if self.layer.bidirectional else ("",)
        for depth in range(self.layer.num_layers):
            outputs = []
            for reverse, direction in enumerate(directions):
                number = depth * len(directions) + reverse
                forwards = x.flip(1) if reverse else x
                y, last = self._layer(tape, forwards, start[:, number], f"l{depth}{direction}")
                outputs.append(y.flip(1) if reverse else y)
                lasts.append(last)
            x = torch.cat(outputs, -1) if len(outputs) > 1 else outputs[0]
        return x, torch.stack(lasts, 1)

    def _layer(self, tape: Tape, x: Tensor, start: Tensor, suffix: str) -> tuple[Tensor, Tensor]:
        models = tape.layout.models
        bias = self.optional(tape, f"bias_ih_{suffix}")
        projected = product(tape.layout, x, self.parameter(tape, f"weight_ih_{suffix}"), bias)
        taps = (Tap(), Tap())
        y, hidden, last = self.scan(
            tape,
            torch.unflatten(projected, 0, (models, -1)),
            torch.unflatten(start, 1, (models, -1)),
            self.parameter(tape, f"weight_hh_{suffix}"),
            self.optional(tape, f"bias_hh_{suffix}"),
            taps,
        )
        if tape.recording:
            for tap, inputs, part in zip(taps, (x.detach(), hidden.detach()), ("ih", "hh"), strict=True):
                tape.add(self.names[f"weight_{part}_{suffix}"], Outer(tape.layout, tap, inputs))
                if bias is not None:
                    tape.add(self.names[f"bias_{part}_{suffix}"], summed(tape.layout, tap))
        return y.flatten(0, 1), last.flatten(1, 2)

    def batch_first(self, x: Tensor) -> Tensor:
        """The input with its rows first, or the output back in the layer's own order."""
        return x if self.layer.batch_first else x.transpose(0, 1)

    def zeros(self, x: Tensor) -> Tensor:
        """[layers * directions, rows, hidden]: the initial state where none is given."""
        directions = 2 if self.layer.bidirectional else 1
        return x.new_zeros(self.layer.num_layers * directions, x.shape[0], self.layer.hidden_size)

    @classmethod
    def standard(cls, layer: nn.Module) -> bool:
        """By the names of all its layers and directions."""
        return isinstance(layer, nn.RNNBase) and set(layer._parameters) == set(layer._flat_weights_names)

    @classmethod
    def accepts(cls, layer: nn.Module) -> bool:
        """Without projected outputs."""
        return isinstance(layer, nn.RNNBase) and not layer.proj_size


def over_time(x: Tensor) -> Tensor:
    """[time, models, n, ...] -> [models, n, time, ...], contiguous."""
    return x.movedim(0, 2).contiguous()


def after_and_before(ctx: Any, states: Tensor) -> tuple[Tensor, Tensor]:
    """Of states [time + 1, models, n, hidden], what comes after each step and what came before it, over time.

    No gradient flows into the latter. Backward gets None for what the loss does not depend on; see `given`.
    """
    before, after = over_time(states[:-1]), over_time(states[1:])
    ctx.mark_non_differentiable(before)
    ctx.set_materialize_grads(False)
    return after, before


def given(gradient: Tensor | None, like: Tensor) -> Tensor:
    """The gradient, or zeros of the shape of what it belongs to where the loss does not depend on it."""
    return torch.zeros((), dtype=like.dtype, device=like.device).expand_as(like) if gradient is None else gradient
