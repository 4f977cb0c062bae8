"""Attention: norms and sums equal those of autograd."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call

from audit.training.ensemble.layout import Layout
from audit.training.ensemble.stacked import Stacked
from tests.training.ensemble.rules.by_autograd import by_loop, check, draw, layouts


class Attending(nn.Module):
    """Self-attention, or attention between different sequences, causal."""

    def __init__(self, same: bool, bias: bool, weights: bool) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.attention = nn.MultiheadAttention(4, 2, bias=bias, batch_first=True)
        self.same, self.weights = same, weights

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], dtype=x.dtype)
        others = (h, h) if self.same else (2 * h, h + 1)
        return self.attention(h, *others, attn_mask=mask, need_weights=self.weights)[0]


@settings(max_examples=12, deadline=None)
@given(layouts, st.integers(1, 6), *[st.booleans()] * 3)
def test_attention(layout: Layout, time: int, same: bool, bias: bool, weights: bool) -> None:
    check(Attending(same, bias, weights), torch.randn(layout.rows, time, 3), layout, by_loop)


class Crossing(nn.Module):
    """Attention between sequences of different widths and lengths."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, bias=bias, kdim=3, vdim=2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        others = torch.cat([x, x.sin()], 1)
        return self.attention(x, others[..., :3], value=others[..., :2])[0]


@settings(max_examples=12, deadline=None)
@given(layouts, st.integers(1, 4), st.booleans())
def test_attention_between_different_widths(layout: Layout, time: int, bias: bool) -> None:
    check(Crossing(bias), torch.randn(layout.rows, time, 4), layout, by_loop)


def test_transformer_layer() -> None:
    layout = Layout(2, 3)
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0, batch_first=True)
    check(layer, torch.randn(layout.rows, 5, 4), layout, by_loop)


def test_causality_is_the_models_own() -> None:
    """Outputs for many models at once equal each model's outputs alone."""
    module = Attending(same=True, bias=True, weights=False)
    stacked = Stacked(module)
    parameters = draw(stacked, 3)
    x = torch.randn(5, 4, 3)
    together = stacked.outputs(parameters, x)
    for k in range(3):
        alone = functional_call(module, {n: p[k] for n, p in parameters.items()}, (x,))
        torch.testing.assert_close(together[k], alone)
    assert F.mse_loss(together[0], together[1]) > 0
