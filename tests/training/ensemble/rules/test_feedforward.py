"""Linear layers, convolutions, embeddings and PReLU: norms and sums equal those of autograd."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from audit.training.ensemble.layout import Layout
from tests.training.ensemble.rules.by_autograd import by_loop, check, few, layouts, sizes


@few
@given(layouts, sizes, sizes, st.lists(st.integers(1, 5), max_size=2), st.booleans())
def test_linear(layout: Layout, inputs: int, outputs: int, positions: list[int], bias: bool) -> None:
    module = nn.Sequential(nn.Linear(inputs, 4), nn.ReLU(inplace=True), nn.Linear(4, outputs, bias=bias))
    check(module, torch.randn(layout.rows, *positions, inputs), layout)


@pytest.mark.parametrize(("positions", "inputs", "outputs"), [(1, 30, 20), (3, 40, 30), (40, 3, 2)])
def test_linear_by_gram_matrices_or_by_materialising(positions: int, inputs: int, outputs: int) -> None:
    layout = Layout(2, 3)
    x = torch.randn(layout.rows, positions, inputs)
    check(nn.Linear(inputs, outputs), x, layout)
    check(nn.Linear(inputs, outputs), x, layout, dtype=torch.float32)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@few
@given(
    layouts,
    st.integers(1, 3),
    st.integers(1, 4),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(0, 2), st.integers(0, 2)) | st.sampled_from(["valid", "same"]),
    st.integers(1, 2),
    st.booleans(),
)
def test_conv2d(
    layout: Layout,
    inputs: int,
    outputs: int,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int] | str,
    dilation: int,
    bias: bool,
) -> None:
    second = nn.Conv2d(
        3, outputs, kernel, stride=1 if padding == "same" else stride, padding=padding, dilation=dilation, bias=bias
    )
    check(nn.Sequential(nn.Conv2d(inputs, 3, 2), second), torch.randn(layout.rows, inputs, 9, 8), layout)


def test_conv2d_of_many_channels_copies_long_runs() -> None:
    layout = Layout(2, 3)
    check(nn.Conv2d(8, 2, 3, padding=1), torch.randn(layout.rows, 8, 6, 6), layout)


@few
@given(layouts, st.integers(1, 30), sizes, st.none() | st.just(0))
def test_embedding(layout: Layout, size: int, positions: int, padding: int | None) -> None:
    module = nn.Sequential(nn.Embedding(size, 3, padding_idx=padding), nn.Linear(3, 2))
    check(module, torch.randint(size, (layout.rows, positions)), layout)


@few
@given(layouts, st.sampled_from([1, 4]), st.lists(st.integers(1, 3), max_size=2))
def test_prelu(layout: Layout, slopes: int, positions: list[int]) -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.Flatten(1), nn.Unflatten(1, (4, *positions)), nn.PReLU(slopes))
    rows = torch.Size(positions).numel()
    check(module, torch.randn(layout.rows, rows, 3), layout, by_loop)
    if slopes == 1 and not positions:
        alone = nn.Sequential(nn.Linear(3, 1), nn.Flatten(0), nn.PReLU(), nn.Unflatten(0, (-1, 1)))
        check(alone, torch.randn(layout.rows, 3), layout, by_loop)
