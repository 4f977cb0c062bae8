"""What every rule is held to: gradients of autograd, example by example."""

from __future__ import annotations

from collections.abc import Callable

import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from audit.training.ensemble.gradients import PerExample, per_example
from audit.training.ensemble.layout import Layout
from audit.training.ensemble.stacked import Stacked

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
