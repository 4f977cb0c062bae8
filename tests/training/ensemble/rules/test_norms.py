"""Normalisations: norms and sums equal those of autograd."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from audit.training.ensemble.layout import Layout
from tests.training.ensemble.rules.by_autograd import by_loop, check, few, layouts


@few
@given(layouts, st.integers(1, 4), st.booleans(), st.booleans())
def test_layer_norm(layout: Layout, positions: int, affine: bool, matrix: bool) -> None:
    shape = (positions, 5) if matrix else (5,)
    module = nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(shape, elementwise_affine=affine))
    check(module, torch.randn(layout.rows, positions, 3), layout)


@few
@given(layouts, st.sampled_from([1, 2, 4]), st.booleans(), st.integers(1, 5))
def test_group_norm(layout: Layout, groups: int, affine: bool, side: int) -> None:
    module = nn.Sequential(nn.Conv2d(2, 4, 1), nn.GroupNorm(groups, 4, affine=affine), nn.Tanh())
    check(module, torch.randn(layout.rows, 2, side, 2), layout)


@pytest.mark.parametrize("mean", [0.0, 10.0, 255.0])
def test_group_norm_in_float32_of_inputs_far_from_zero(mean: float) -> None:
    torch.manual_seed(0)
    layout = Layout(2, 3)
    module = nn.Sequential(nn.GroupNorm(2, 4), nn.Conv2d(4, 3, 3))
    check(module, torch.randn(layout.rows, 4, 8, 8) + mean, layout, by_loop, torch.float32)


@pytest.mark.filterwarnings("ignore:Layer", "ignore:There is a performance drop")
@few
@given(layouts, st.sampled_from([nn.Linear, functools.partial(nn.Linear, bias=False)]))
def test_weight_normalisation(layout: Layout, make: Callable[[int, int], nn.Module]) -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), weight_norm(make(4, 3)))
    check(module, torch.randn(layout.rows, 2, 3), layout, by_loop)
