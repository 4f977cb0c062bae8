"""What white-box attacks see of models that trained together: where they moved, and the gradient record."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from attacks.record import GradientRecord
from audit.mechanism import DPSGD
from audit.training.ensemble.engine import Trained, bytes_per_row
from audit.training.ensemble.flat import Flat
from audit.training.ensemble.gradients import per_example
from audit.training.ensemble.layout import Layout
from audit.training.ensemble.recipe import Recipe
from audit.training.ensemble.spikes import spikes
from audit.training.ensemble.stacked import Stacked
from audit.training.models import Architecture
from audit.training.speed import Speed
from canaries.records import GradientRecords, Records


@dataclass(frozen=True, eq=False)
class Movement:
    """records -> float64[models, n]: inner products of initial less final parameters with clipped gradients.

    Attributes:
        model: the architecture.
        loss: each row's loss.
        max_grad_norm: what gradients are clipped to.
        stacked: the model, stacked.
        initial: [models, size], or None where the adversary does not know them: zero stands for them.
        parameters: [models, size], where gradients are taken.
        speed: portions.
    """

    model: Architecture
    loss: nn.Module
    max_grad_norm: float
    stacked: Stacked
    initial: Tensor | None
    parameters: Tensor
    speed: Speed = field(default_factory=Speed)

    def __call__(self, records: Records) -> NDArray[np.float64]:
        """See the class."""
        change = -self.parameters if self.initial is None else self.initial - self.parameters
        if isinstance(records, GradientRecords):
            found = spikes(records, self.stacked.shapes, self.max_grad_norm).moved("cpu", change.dtype)
            return (change[:, found.coordinates] * found.clipped(self.max_grad_norm)).double().numpy()
        inputs, targets = self.model.tensors(records)
        inputs = inputs.to(change.dtype) if inputs.is_floating_point() else inputs
        stacked = self.stacked.moved("cpu", change.dtype)
        rows = self.speed.rows_for(bytes_per_row(stacked, self.parameters[:1], inputs, targets, self.loss))
        together = min(len(change), rows)
        blocks = []
        for k in range(0, len(change), together):
            some = slice(k, k + together)
            flat, size = Flat(stacked.shapes), rows // together
            parameters, directions = flat.views(self.parameters[some]), flat.views(change[some])
            models, parts = len(change[some]), []
            for x, y in zip(torch.split(inputs, size), torch.split(targets, size), strict=True):
                merged_x, merged_y = (t.expand(models, *t.shape).flatten(0, 1) for t in (x, y))
                examples = per_example(stacked, parameters, merged_x, merged_y, Layout(models, len(x)), self.loss)
                with torch.no_grad():
                    parts.append(examples.dot(directions) * examples.clip_factors(self.max_grad_norm))
            blocks.append(torch.cat(parts, 1))
        return torch.cat(blocks).double().numpy()


def gradient_record(
    ids: tuple[str, ...], trained: Trained, recipe: Recipe, claimed: DPSGD, records: int
) -> GradientRecord:
    """What was recorded, in units of the noisy sum, beside what is claimed of the mechanism.

    Args:
        ids: of the canaries that were watched.
        trained: what training left.
        recipe: how it was done.
        claimed: what the accountant is told.
        records: how many the sample rate was multiplied with to get the expected batch size.
    """
    divisor = np.array([recipe.rate_at(step) * records for step in range(recipe.steps)])[:, None]
    rates = np.concatenate([np.full(steps, rate) for steps, rate in claimed.phases])
    if len(rates) != recipe.steps:  # Shuffled epochs are claimed as one full batch each.
        rates = np.array([recipe.rate_at(step) for step in range(recipe.steps)])
    return GradientRecord(
        ids=ids,
        products=trained.products * divisor,
        known=trained.known * divisor,
        norms=np.minimum(trained.norms, recipe.max_grad_norm),
        sample_rate=rates,
        noise_multiplier=claimed.noise_multiplier,
        max_grad_norm=recipe.max_grad_norm,
    )
