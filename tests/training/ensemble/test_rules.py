"""Every rule: norms and clipped sums equal those of autograd, example by example."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from audit.training.ensemble.gradients import PerExample, per_example
from audit.training.ensemble.layout import Layout
from audit.training.ensemble.rules import RULES, FallbackRule
from audit.training.ensemble.stacked import Stacked
from canaries.errors import InputError

RELATIVE = 1e-5
SINGLE = 1e-4
ROUNDING = 1e-11
"""Where a gradient vanishes, only float64's rounding is left of it."""
Parameters = dict[str, Tensor]

layouts = st.builds(Layout, st.integers(1, 3), st.integers(1, 4), st.integers(1, 3))
sizes = st.integers(1, 6)
few = settings(max_examples=25, deadline=None)


def criterion(output: Tensor, _: Tensor) -> Tensor:
    return output.flatten(1).sin().cumsum(1).square().mean(1)


def draw(stacked: Stacked, models: int) -> Parameters:
    return {n: 0.5 * torch.randn(models, *s) for n, s in stacked.shapes.items()}


def by_vmap(module: nn.Module, parameters: Parameters, x: Tensor, layout: Layout) -> Parameters:
    """Gradients [models, examples, shape...] by torch.func."""

    def loss(values: Parameters, views: Tensor) -> Tensor:
        return criterion(functional_call(module, values, (views,)), views).mean()

    split = x.view(layout.models, layout.examples, layout.views, *x.shape[1:])
    return vmap(vmap(grad(loss), in_dims=(None, 0)))(parameters, split)


def by_loop(module: nn.Module, parameters: Parameters, x: Tensor, layout: Layout) -> Parameters:
    """The same by autograd, one example after the other, for layers that vmap cannot run."""
    split = x.view(layout.models, layout.examples, layout.views, *x.shape[1:])
    rows = []
    for k in range(layout.models):
        values = {n: p[k].clone().requires_grad_() for n, p in parameters.items()}
        losses = [criterion(functional_call(module, values, (v,)), v).mean() for v in split[k]]
        rows.append([torch.autograd.grad(loss, list(values.values())) for loss in losses])
    return {n: torch.stack([torch.stack([g[i] for g in row]) for row in rows]) for i, n in enumerate(parameters)}


def close(found: Tensor, wanted: Tensor, relative: float = RELATIVE) -> None:
    assert found.shape == wanted.shape
    difference = (found - wanted).detach().abs().max()
    assert float(difference) <= relative * float(wanted.detach().abs().max()) + ROUNDING


def check(
    module: nn.Module,
    x: Tensor,
    layout: Layout,
    reference: Callable[[nn.Module, Parameters, Tensor, Layout], Parameters] = by_vmap,
    dtype: torch.dtype = torch.float64,
) -> PerExample:
    """Norms, gradients, clipped and weighted sums and inner products against the reference in float64.

    To 1e-5 relative, in float32 1e-4.
    """
    module = module.double()
    parameters = {n: p.double() for n, p in draw(Stacked(module), layout.models).items()}
    x = x.double() if x.is_floating_point() else x
    wanted = reference(module, parameters, x, layout)
    relative = RELATIVE if dtype == torch.float64 else SINGLE
    stacked = Stacked(module.to(dtype))
    inputs = x.to(dtype) if x.is_floating_point() else x
    found = per_example(stacked, {n: p.to(dtype) for n, p in parameters.items()}, inputs, inputs, layout, criterion)
    norms = torch.stack([g.flatten(2).square().sum(2) for g in wanted.values()]).sum(0).sqrt()
    close(found.norms, norms, relative)
    limit = float(norms.median())
    for weights in (torch.rand(layout.models, layout.examples), found.clip_factors(limit)):
        sums = found.weighted_sum(weights.to(dtype))
        for name, gradient in wanted.items():
            close(sums[name], torch.einsum("kb,kb...->k...", weights.double(), gradient), relative)
            close(found.terms[name].gradients(), gradient, relative)
    close(found.clip_factors(limit), (limit / (norms + 1e-6)).clamp(max=1), relative)
    directions = {n: d.to(dtype) for n, d in draw(stacked, layout.models).items()}
    dots = [torch.einsum("kb...,k...->kb", wanted[n], d.double()) for n, d in directions.items()]
    close(found.dot(directions), torch.stack(dots).sum(0), relative)
    return found


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


@few
@given(layouts, st.sampled_from([1, 4]), st.lists(st.integers(1, 3), max_size=2))
def test_prelu(layout: Layout, slopes: int, positions: list[int]) -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.Flatten(1), nn.Unflatten(1, (4, *positions)), nn.PReLU(slopes))
    rows = torch.Size(positions).numel()
    check(module, torch.randn(layout.rows, rows, 3), layout, by_loop)
    if slopes == 1 and not positions:
        alone = nn.Sequential(nn.Linear(3, 1), nn.Flatten(0), nn.PReLU(), nn.Unflatten(0, (-1, 1)))
        check(alone, torch.randn(layout.rows, 3), layout, by_loop)


@pytest.mark.filterwarnings("ignore:Layer", "ignore:There is a performance drop")
@few
@given(layouts, st.sampled_from([nn.Linear, functools.partial(nn.Linear, bias=False)]))
def test_weight_normalisation(layout: Layout, make: Callable[[int, int], nn.Module]) -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), weight_norm(make(4, 3)))
    check(module, torch.randn(layout.rows, 2, 3), layout, by_loop)


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


def test_transformer_layer() -> None:
    layout = Layout(2, 3)
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0, batch_first=True)
    check(layer, torch.randn(layout.rows, 5, 4), layout, by_loop)


class Tied(nn.Module):
    """Output weights are the embedding's, and one layer is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.twice = nn.Linear(4, 4)
        self.output = nn.Linear(4, 7)
        self.output.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.twice(self.twice(self.embed(x)).tanh()))


def test_shared_parameters() -> None:
    layout = Layout(2, 3, 2)
    check(Tied(), torch.randint(7, (layout.rows, 5)), layout, by_loop)


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


def test_spectral_normalisation_is_refused() -> None:
    with pytest.raises(InputError, match=r"_SpectralNorm\) keeps a state"):
        Stacked(nn.Sequential(spectral_norm(nn.Linear(3, 3))))


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm1d(3),
        nn.InstanceNorm1d(3, track_running_stats=True),
        nn.Dropout(0.5),
        nn.RReLU(),
        nn.GRU(3, 3, 2, dropout=0.5),
        nn.LSTM(3, 3, proj_size=2),
    ],
)
def test_refused_layers_are_named(layer: nn.Module) -> None:
    with pytest.raises(InputError, match=rf"'1\.0' \({type(layer).__name__}\)"):
        Stacked(nn.Sequential(nn.Linear(3, 3), nn.Sequential(layer)))


class Placed(nn.Module):
    """Positions that all records share, looked up once for all: no gradient of theirs can be told apart."""

    def __init__(self, time: int) -> None:
        super().__init__()
        self.tokens, self.places, self.output = nn.Embedding(7, 4), nn.Embedding(time, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.output((self.tokens(x) + self.places(torch.arange(x.shape[1]))).tanh())


@pytest.mark.parametrize("time", [1, 2, 3, 5, 6, 12])
def test_an_input_that_is_no_batch_is_refused_whatever_its_length(time: int) -> None:
    """The batch has 6 rows, so a length of 6 or 12 could pass for it."""
    layout = Layout(2, 3)
    with pytest.raises(InputError, match=r"Layer 'places' \(Embedding\) gets an input of shape .* expand"):
        check(Placed(time), torch.randint(7, (layout.rows, time)), layout, by_loop)


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


def test_a_model_without_parameters_is_refused() -> None:
    with pytest.raises(InputError, match="no trainable parameters"):
        Stacked(nn.ReLU())


def test_frozen_parameters_have_no_gradient() -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    module[0].requires_grad_(False)
    found = per_example((s := Stacked(module)), draw(s, 2), torch.randn(6, 3), torch.zeros(6), Layout(2, 3), criterion)
    assert set(found.terms) == {"1.weight", "1.bias"}


def test_layers_that_the_loss_ignores_have_zero_gradient() -> None:
    class Ignoring(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.ignored = nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            self.ignored(x)
            return self.used(x)

    layout = Layout(2, 3)
    check(Ignoring(), torch.randn(layout.rows, 3), layout)


def test_every_rule_is_tested_here() -> None:
    tested = {
        "LinearRule", "Conv2dRule", "EmbeddingRule", "LayerNormRule", "GroupNormRule", "RNNRule", "GRURule", "LSTMRule",
        "CellRule", "AttentionRule", "PReLURule", "FallbackRule",
    }  # fmt: skip
    assert {rule.__name__ for rule in (*RULES, FallbackRule)} == tested


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
