"""Clipped sums of per-example gradients: one forward pass, one backward pass to the layers' outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from audit.training.ensemble.layout import Layout
from audit.training.ensemble.stacked import Stacked
from audit.training.ensemble.terms import Term, combined

Loss = Callable[[Tensor, Tensor], Tensor]
"""(outputs [rows, ...], targets [rows, ...]) -> [rows], each row's loss."""

STABILISER = 1e-6
"""Added to norms before dividing, as Opacus does."""


def clip_factors(norms: Tensor, max_norm: float) -> Tensor:
    """What gradients of these norms are multiplied with so that no norm exceeds `max_norm`."""
    return (max_norm / (norms + STABILISER)).clamp(max=1.0)


@dataclass(frozen=True)
class PerExample:
    """The per-example gradients of one chunk, in the form of terms.

    Attributes:
        terms: one term for each parameter.
        norms: [models, examples], norms over all parameters.
        losses: [models, examples], each example's loss, averaged over its augmentations.
    """

    terms: dict[str, Term]
    norms: Tensor
    losses: Tensor

    def clip_factors(self, max_norm: float) -> Tensor:
        """[models, examples]: what each gradient is multiplied with so that its norm is at most `max_norm`."""
        return clip_factors(self.norms, max_norm)

    def weighted_sum(self, weights: Tensor) -> dict[str, Tensor]:
        """[models, shape...] by parameter: the sum over examples with weights [models, examples]."""
        return {name: term.weighted_sum(weights) for name, term in self.terms.items()}

    def dot(self, directions: dict[str, Tensor]) -> Tensor:
        """[models, examples]: inner products of the gradients with directions [models, shape...]."""
        return torch.stack([t.dot(directions[n]) for n, t in self.terms.items()]).sum(0)


def per_example(
    stacked: Stacked, parameters: dict[str, Tensor], x: Tensor, y: Tensor, layout: Layout, loss: Loss
) -> PerExample:
    """Per-example gradients of every model's loss on its own examples.

    Args:
        stacked: the model.
        parameters: [models, shape...] by name.
        x: inputs [rows, ...]; see `Layout`.
        y: targets [rows, ...].
        layout: the chunk's layout.
        loss: each row's loss; an example's loss is the mean over its augmentations (De et al. 2022).
    """
    with torch.enable_grad():
        outputs, tape = stacked.run(parameters, x, layout, recording=True)
        losses = loss(outputs, y).view(layout.models, layout.examples, layout.views).mean(2)
    losses.backward(torch.ones_like(losses))  # type: ignore[no-untyped-call]
    with torch.no_grad():
        terms = {name: combined(tape.terms[name]) for name in stacked.shapes if name in tape.terms}
        norms = torch.stack([t.squared_norms() for t in terms.values()]).sum(0).sqrt()
    return PerExample(terms, norms, losses.detach())
