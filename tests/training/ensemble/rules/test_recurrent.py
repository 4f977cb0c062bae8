"""Recurrent layers and cells: norms and sums equal those of autograd."""

from __future__ import annotations

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from audit.training.ensemble.layout import Layout
from canaries.errors import InputError
from tests.training.ensemble.rules.by_autograd import by_loop, check, layouts


class Last(nn.Module):
    """A recurrent layer's outputs and last states, as one tensor."""

    def __init__(self, recurrent: nn.Module) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.recurrent = recurrent

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        outputs, last = self.recurrent(h if self.recurrent.batch_first else h.transpose(0, 1))
        outputs = outputs if self.recurrent.batch_first else outputs.transpose(0, 1)
        states = last if isinstance(last, tuple) else (last,)
        return torch.cat([outputs.flatten(1), *(s.transpose(0, 1).flatten(1) for s in states)], 1)


RECURRENT = [nn.RNN, functools.partial(nn.RNN, nonlinearity="relu"), nn.GRU, nn.LSTM]


@settings(max_examples=25, deadline=None)
@given(layouts, st.sampled_from(RECURRENT), st.integers(1, 12), st.integers(1, 2), *[st.booleans()] * 3)
def test_recurrent(
    layout: Layout, kind: type[nn.RNNBase], time: int, depth: int, both: bool, bias: bool, first: bool
) -> None:
    recurrent = kind(4, 3, num_layers=depth, bidirectional=both, bias=bias, batch_first=first)
    check(Last(recurrent), torch.randn(layout.rows, time, 3), layout, by_loop)


class Stepping(nn.Module):
    """A cell, step by step, from states of its own making or from zeros."""

    def __init__(self, cell: nn.Module, zeros: bool) -> None:
        super().__init__()
        self.first, self.start, self.cell, self.zeros = nn.Linear(3, 4), nn.Linear(3, 2), cell, zeros

    def forward(self, x: Tensor) -> Tensor:
        start = self.start(x[:, 0])
        states = None if self.zeros else (start, start.sin()) if isinstance(self.cell, nn.LSTMCell) else start
        outputs = []
        for now in self.first(x).unbind(1):
            states = self.cell(now, states)
            outputs.append(torch.cat(states, -1) if isinstance(states, tuple) else states)
        return torch.cat([*outputs, start], 1)


CELLS = [nn.RNNCell, functools.partial(nn.RNNCell, nonlinearity="relu"), nn.GRUCell, nn.LSTMCell]


@settings(max_examples=16, deadline=None)
@given(layouts, st.sampled_from(CELLS), st.integers(1, 4), st.booleans(), st.booleans())
def test_cells(layout: Layout, kind: type[nn.RNNCellBase], time: int, bias: bool, zeros: bool) -> None:
    check(Stepping(kind(4, 2, bias=bias), zeros), torch.randn(layout.rows, time, 3), layout, by_loop)


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_recurrent_layers_need_their_batch_where_they_say_it_is(kind: type[nn.RNNBase]) -> None:
    class Without(nn.Module):
        def __init__(self, axes: int) -> None:
            super().__init__()
            self.recurrent, self.axes = kind(3, 2, batch_first=False), axes

        def forward(self, x: Tensor) -> Tensor:
            return self.recurrent(x[:, 0] if self.axes == 2 else x)[0]

    x, layout = torch.randn(6, 4, 3), Layout(2, 3)
    for axes, message in ((3, "axis 1 should be the batch's"), (2, "no batch of sequences")):
        with pytest.raises(InputError, match=message):
            check(Without(axes), x, layout, by_loop)
