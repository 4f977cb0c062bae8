"""Whether the ensemble's per-example gradients of a model are those of plain autograd, tried on a few records."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from audit.training.ensemble.flat import Flat
from audit.training.ensemble.gradients import Loss, per_example
from audit.training.ensemble.layout import Layout
from audit.training.ensemble.stacked import Stacked
from audit.training.models import DRAWING, light_copy
from canaries.errors import InputError, said

MODELS = 2
EXAMPLES = (2, 3)
"""Numbers of records tried: what is no batch cannot be as long as both."""
SCATTER = 0.01
"""Standard deviation of what is added to the parameters, so that the models differ and no activation sits on a kink."""
TOLERANCE = {torch.float32: 2e-3, torch.float64: 1e-6}
"""Of the largest gradient; mistakes are of its own order."""


def check_gradients(module: nn.Module, x: Tensor, y: Tensor, loss: Loss, dtype: torch.dtype) -> None:
    """Refuse a model whose per-example gradients the ensemble would get wrong.

    Args:
        module: the model.
        x: inputs of some records, [n, ...].
        y: their targets, [n, ...].
        loss: each row's loss.
        dtype: of the training.

    Raises:
        InputError: where two passes over the same records differ, the gradients are not those of autograd on one
            record at a time, or the model cannot be run.
    """
    try:
        with DRAWING, torch.random.fork_rng(devices=[]):
            for examples in EXAMPLES:
                _compare(light_copy(module), x, y, loss, dtype, examples)
    except InputError:
        raise
    except Exception as error:  # A module's own code may raise anything, on several lines.
        raise InputError(
            f"Model {type(module).__name__} cannot be trained in an ensemble: {type(error).__name__}: {said(error)}."
        ) from error


def _compare(module: nn.Module, x: Tensor, y: Tensor, loss: Loss, dtype: torch.dtype, examples: int) -> None:
    stacked = Stacked(module.to(dtype)).moved("cpu", dtype)
    flat = Flat(stacked.shapes)
    scatter = torch.randn(MODELS, flat.size, generator=torch.Generator().manual_seed(0)).to(dtype)
    parameters = flat.views(flat.row(module) + SCATTER * scatter)
    chosen = torch.arange(examples) % len(x)
    x, y = (t[chosen].to(dtype) if t.is_floating_point() else t[chosen] for t in (x, y))
    merged_x, merged_y = (t.repeat(MODELS, *[1] * (t.ndim - 1)) for t in (x, y))
    weights = torch.arange(1.0, examples + 1, dtype=dtype).expand(MODELS, -1)
    layout = Layout(MODELS, examples)
    first, again = (per_example(stacked, parameters, merged_x, merged_y, layout, loss) for _ in range(2))
    said = f"Model {type(module).__name__}"
    if _off(again.losses, first.losses, dtype) or _off(again.norms, first.norms, dtype):
        raise InputError(
            f"{said} answers the same records differently when asked twice: layers that draw random numbers or keep "
            "a state from pass to pass cannot be trained in an ensemble."
        )
    norms, sums = _by_autograd(module.train(), flat, parameters, x, y, loss, weights[0])
    found = first.weighted_sum(weights)
    together = torch.cat([found.get(n, torch.zeros_like(p)).flatten(1) for n, p in parameters.items()], 1)
    if _off(first.norms, norms, dtype) or _off(together, sums, dtype):
        raise InputError(
            f"{said} has other per-example gradients in a batch than on one record at a time (norms "
            f"{_listed(first.norms)} for {_listed(norms)}): it mixes the records of a batch, or treats what they "
            "share as one for each."
        )


def _by_autograd(
    module: nn.Module, flat: Flat, parameters: dict[str, Tensor], x: Tensor, y: Tensor, loss: Loss, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """Norms [models, examples] and weighted sums [models, size] of gradients, one record at a time."""
    norms, sums = torch.zeros(MODELS, len(x), dtype=weights.dtype), torch.zeros(MODELS, flat.size, dtype=weights.dtype)
    for k in range(MODELS):
        values = {n: p[k].clone().requires_grad_() for n, p in parameters.items()}
        for b, weight in enumerate(weights):
            error = loss(functional_call(module, values, (x[b : b + 1],)), y[b : b + 1]).sum()
            found = torch.autograd.grad(error, list(values.values()), allow_unused=True, materialize_grads=True)
            gradient = torch.cat([g.flatten() for g in found])
            norms[k, b] = gradient.norm()
            sums[k] += weight * gradient
    return norms, sums


def _off(found: Tensor, wanted: Tensor, dtype: torch.dtype) -> bool:
    return bool((found - wanted).abs().max() > TOLERANCE[dtype] * wanted.abs().max())


def _listed(values: Tensor) -> str:
    return ", ".join(f"{v:.3g}" for v in values[0].tolist())
