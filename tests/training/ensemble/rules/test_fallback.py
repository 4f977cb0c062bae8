"""Layers without a rule: norms and sums equal those of autograd."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from audit.training.ensemble.layout import Layout
from audit.training.ensemble.stacked import Stacked
from canaries.errors import InputError
from tests.training.ensemble.rules.by_autograd import by_loop, check, few, layouts


class Scaled(nn.Module):
    """A layer without a rule."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width)
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) * self.scale


@pytest.mark.filterwarnings("ignore:Layer", "ignore:There is a performance drop")
def test_fallback() -> None:
    layout = Layout(2, 3, 2)
    check(nn.Sequential(nn.Linear(3, 3), Scaled(), nn.Conv1d(5, 2, 2)), torch.randn(layout.rows, 5, 3), layout)


class Modulated(nn.Module):
    """A layer without a rule, of an input and what comes beside it, batched or not."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor, *, mask: Tensor, parts: tuple[Tensor, float] = (torch.ones(()), 1.0)) -> Tensor:
        return torch.einsum("ts,bsd->btd", mask, x * self.weight) * parts[0] * parts[1]


class Beside(nn.Module):
    """Gives that layer a mask that all records share, and a tensor of each record's own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.layer = nn.Linear(3, 3), Modulated()

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.ones(x.shape[1], x.shape[1], dtype=x.dtype).tril()
        return self.layer(self.first(x), mask=mask, parts=(x.square(), 0.5))


@pytest.mark.filterwarnings("ignore:Layer", "ignore:There is a performance drop")
@few
@given(layouts, st.integers(1, 6))
def test_fallback_splits_what_is_batched_and_nothing_else(layout: Layout, time: int) -> None:
    check(Beside(), torch.randn(layout.rows, time, 3), layout, by_loop)
    check(Beside(), torch.randn(layout.rows, layout.rows, 3), layout, by_loop)


@pytest.mark.filterwarnings("ignore:Layer", "ignore:There is a performance drop")
@few
@given(
    layouts,
    st.sampled_from(
        [
            lambda: nn.Conv1d(4, 2, 2),
            lambda: nn.Conv1d(4, 4, 2, groups=2),
            lambda: nn.ConvTranspose1d(4, 2, 2),
            lambda: weight_norm(nn.Conv1d(4, 2, 3)),
            lambda: nn.RMSNorm(5),
            lambda: nn.InstanceNorm1d(4, affine=True),
            lambda: Scaled(5),
        ]
    ),
)
def test_fallback_of_many_layers(layout: Layout, make: Callable[[], nn.Module]) -> None:
    check(nn.Sequential(nn.Linear(3, 5), make(), nn.Tanh()), torch.randn(layout.rows, 4, 3), layout, by_loop)


def test_fallback_says_so_once(recwarn: pytest.WarningsRecorder) -> None:
    class Unheard(Scaled):
        pass

    for _ in range(2):
        Stacked(nn.Sequential(Unheard(), Unheard()))
    said = [str(w.message) for w in recwarn]
    assert len(said) == 1
    assert "Unheard" in said[0]
    assert "vmap(grad)" in said[0]


@pytest.mark.filterwarnings("ignore:Layer", "ignore:There is a performance drop")
def test_a_layer_without_a_rule_that_returns_several_tensors_is_refused() -> None:
    attention = nn.MultiheadAttention(3, 1, batch_first=True, add_bias_kv=True)

    class Module(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = attention

        def forward(self, x: Tensor) -> Tensor:
            return self.attention(x, x, x)[0]

    with pytest.raises(InputError, match=r"'attention' \(MultiheadAttention\) has no rule and returns a tuple"):
        check(Module(), torch.randn(6, 2, 3), Layout(2, 3), by_loop)
