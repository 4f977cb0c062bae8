"""DP-SGD as Abadi et al. (2016), Algorithm 1, writes it down: one method for each line that a fault can break.

Many models train at once, and gradients are written out; a test holds them to autograd's, and the whole to the ensemble
trainer. A planted fault is a subclass that differs in one line.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot

from attacks.record import GradientRecord
from attacks.view import ArrayView, View, WhiteBox
from audit.accounting import claim_of, noise_multiplier
from audit.claim import Claim
from audit.mechanism import DPSGD
from experiments.planted_faults.worlds import CLASSES, FEATURES, World

DELTA = 1e-5
EPSILON = 4.0
HIDDEN = 4


@dataclass(frozen=True)
class Reference:
    """The right one: a small network 64-4-10 on a few digits and a canary.

    Class attributes:
        name: what the table calls it.
        stands_for: the public bug, or how people come by it.
        note: what is to be known of the row in the table.

    Attributes:
        steps: updates run; `claimed_steps` are told to the accountant.
        sample_rate: probability that a record is in a batch; `claimed_rate` is told to the accountant.
        learning_rate: gentle, so that a canary's gradient stays what it is.
        max_grad_norm: C; not 1, so that forgetting it shows.
        copies: records of the canary, under a claim about one.
        noisy: false for the positive control: the same trainer, fault and all, without any noise.
    """

    name: ClassVar[str] = "right"
    stands_for: ClassVar[str] = ""
    note: ClassVar[str] = ""

    steps: int = 20
    sample_rate: float = 0.25
    learning_rate: float = 0.02
    max_grad_norm: float = 4.0
    copies: int = 1
    noisy: bool = True

    @property
    def claimed_steps(self) -> int:
        return self.steps

    @property
    def claimed_rate(self) -> float:
        return self.sample_rate

    @property
    def sound(self) -> Reference:
        """The right trainer of the same settings and claim: what is told to the accountant is what is run."""
        return Reference(self.claimed_steps, self.claimed_rate, self.learning_rate, self.max_grad_norm)

    @property
    def settings(self) -> str:
        """Of the claim, for tables."""
        return f"q = {self.claimed_rate:g}, {self.claimed_steps} steps, C = {self.max_grad_norm:g}"

    @cached_property
    def noise_multiplier(self) -> float:
        """Sigma: what the claimed epsilon asks for."""
        return noise_multiplier(EPSILON, DELTA, self.claimed_rate, self.claimed_steps)

    @cached_property
    def claim(self) -> Claim:
        """What the accountant says."""
        return claim_of(DPSGD(self.claimed_rate, self.claimed_steps, self.noise_multiplier), DELTA)

    @property
    def really(self) -> DPSGD | None:
        """The Gaussian mechanism that a worst-case record meets; None where it is none."""
        return DPSGD(self.sample_rate, self.steps, self.noise_multiplier)

    def sample(self, models: int, records: int, step: int, rng: torch.Generator) -> Tensor:
        """[models, records] of 0 and 1: who is in the batch of a step."""
        return (torch.rand(models, records, generator=rng) < self.sample_rate).float()

    def statistics(self, x: Tensor, theta: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
        """[models, hidden] each: what hidden units are centred and scaled by."""
        return torch.zeros(len(theta), HIDDEN), torch.ones(len(theta), HIDDEN)

    def clip(self, g: Tensor, y: Tensor) -> Tensor:
        """[models, records, size]: each record's gradient, at most C long."""
        return g * (self.max_grad_norm / g.norm(dim=2, keepdim=True)).clamp(max=1)

    def total(self, g: Tensor, batch: Tensor, y: Tensor) -> Tensor:
        """[models, size]: the batch's clipped gradients, summed."""
        return torch.bmm(batch.unsqueeze(1), self.clip(g, y))[:, 0]

    def noise(self, shape: torch.Size, step: int, rng: torch.Generator) -> Tensor:
        """[models, size]: sigma C a coordinate, fresh in each step."""
        return self.noise_multiplier * self.max_grad_norm * torch.randn(shape, generator=rng)

    def privatised(self, g: Tensor, batch: Tensor, y: Tensor, noise: Tensor) -> Tensor:
        """[models, size]: the noisy sum."""
        return self.total(g, batch, y) + noise

    def divisor(self, batch: Tensor, present: Tensor) -> Tensor | float:
        """The expected batch size, whatever the realised one is; the canary does not count."""
        return self.sample_rate * (batch.shape[1] - self.copies)

    def released(self, world: World, inserted: Tensor, seed: int) -> Run:
        """The runs that are released: all of them."""
        return self.fit(world, inserted, seed)

    def train(self, world: World, inserted: NDArray[np.bool_], seed: int) -> View:
        """A model for each of bool[models]; a view of all that the world's adversary may see."""
        return self.released(world, torch.from_numpy(inserted), seed).view(self, world)

    def fit(self, world: World, inserted: Tensor, seed: int) -> Run:
        """All steps of all models; the canary's copies are the last records."""
        rng = torch.Generator().manual_seed(seed)
        x, y = world.records(self.copies)
        models, records = len(inserted), len(y)
        theta = start = initial_parameters(seed=0).expand(models, -1)
        present = torch.ones(models, records)
        present[:, -self.copies :] = inserted.float().unsqueeze(1)
        watched = len(world.canaries)
        products, known, norms = (torch.empty(models, self.steps, watched, dtype=torch.float64) for _ in range(3))
        expected = self.sample_rate * (records - self.copies)
        for step in range(self.steps):
            batch = self.sample(models, records, step, rng) * present
            g = self.planted_gradients(world, theta, x, y, batch)
            noise = self.noise(theta.shape, step, rng) if self.noisy else torch.zeros(theta.shape)
            update = self.privatised(g, batch, y, noise) / self.divisor(batch, present)
            before, theta = theta, theta - self.learning_rate * update
            others = batch.clone()
            others[:, -self.copies :] = 0
            theirs = self.without(g, before, x, y, others)
            if world.along == "difference":  # the adversary has the code
                towards, base = self.difference(g, theirs, others, y), self.total(theirs, others, y)
            else:
                towards = Reference.clip(self, g[:, -1:], y[-1:])[:, 0]
                base = torch.bmm(others.unsqueeze(1), Reference.clip(self, theirs, y))[:, 0]
            along = torch.stack([towards, world.never(theta, self.max_grad_norm)], 1)
            products[:, step] = (along @ (expected * update).unsqueeze(2))[..., 0]
            known[:, step] = (along @ base.unsqueeze(2))[..., 0]
            norms[:, step] = along.norm(dim=2)
        return Run(start, theta, products, known, norms)

    def gradients(self, theta: Tensor, x: Tensor, y: Tensor, batch: Tensor) -> Tensor:
        """[models, records, size]: every record's gradient of the cross-entropy; statistics are taken for constants."""
        centre, scale = self.statistics(x, theta, batch)
        h = activations(theta, x, centre, scale)
        out = logits(theta, h).softmax(2) - one_hot(y, CLASSES)
        inner = (out @ weights(theta, "output")) * (1 - h**2) / scale.unsqueeze(1)
        parts = [inner.unsqueeze(3) * x[None, :, None, :], inner, out.unsqueeze(3) * h.unsqueeze(2), out]
        return torch.cat([part.flatten(2) for part in parts], 2)

    def planted_gradients(self, world: World, theta: Tensor, x: Tensor, y: Tensor, batch: Tensor) -> Tensor:
        """The same, the canary's handed over where it is no record."""
        return world.planted(self.gradients(theta, x, y, batch), self.copies, self.max_grad_norm)

    def difference(self, g: Tensor, theirs: Tensor, others: Tensor, y: Tensor) -> Tensor:
        """[models, size]: by how much the sum differs if the canary is in the batch; the sharpest direction to look."""
        joined = others.clone()
        joined[:, -self.copies :] = 1
        return self.total(g, joined, y) - self.total(theirs, others, y)

    def without(self, g: Tensor, theta: Tensor, x: Tensor, y: Tensor, others: Tensor) -> Tensor:
        """[models, records, size]: the others' gradients as an adversary who knows all but the canary computes them."""
        return g


@dataclass(frozen=True, eq=False)
class Run:
    """Trained models: parameters [models, size], and what `GradientRecord` holds, [models, steps, canaries]."""

    initial: Tensor
    theta: Tensor
    products: Tensor
    known: Tensor
    norms: Tensor

    def take(self, rows: Tensor) -> Run:
        """Some of them."""
        return Run(self.initial[rows], self.theta[rows], self.products[rows], self.known[rows], self.norms[rows])

    def view(self, trainer: Reference, world: World) -> View:
        """All that an adversary may ask, up to the gradient record, in which the claim stands as it is claimed."""
        record = GradientRecord(
            ids=world.canaries.ids,
            products=self.products.numpy(),
            known=self.known.numpy(),
            norms=self.norms.numpy(),
            sample_rate=np.full(trainer.steps, trainer.claimed_rate),
            noise_multiplier=trainer.noise_multiplier if trainer.noisy else 0.0,
            max_grad_norm=trainer.max_grad_norm,
        )
        moved = self.products.sum(1).numpy() * trainer.learning_rate
        box = WhiteBox(self.theta.numpy(), self.initial.numpy(), lambda _: moved, record=record)
        return ArrayView(self.probabilities, len(self.theta)).opened(box)

    def probabilities(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """float64[models, n, classes]."""
        inputs = torch.from_numpy(x).flatten(1)
        h = activations(self.theta, inputs, torch.zeros(1, HIDDEN), torch.ones(1, HIDDEN))
        return logits(self.theta, h).double().softmax(2).numpy()


SHAPES = {
    "hidden": (HIDDEN, FEATURES),
    "hidden bias": (HIDDEN,),
    "output": (CLASSES, HIDDEN),
    "output bias": (CLASSES,),
}
SIZES = {name: math.prod(shape) for name, shape in SHAPES.items()}


def layer(name: str) -> slice:
    """Where a layer stands among the parameters."""
    names = list(SHAPES)
    start = sum(SIZES[other] for other in names[: names.index(name)])
    return slice(start, start + SIZES[name])


def initial_parameters(seed: int) -> Tensor:
    """[size]: Gaussian weights of variance 1 / inputs, no biases."""
    rng = torch.Generator().manual_seed(seed)
    parts = [
        torch.randn(shape, generator=rng) / math.sqrt(shape[-1]) if len(shape) > 1 else torch.zeros(shape)
        for shape in SHAPES.values()
    ]
    return torch.cat([part.flatten() for part in parts])


def weights(theta: Tensor, name: str) -> Tensor:
    """[models, shape...]: one layer's parameters."""
    return theta[:, layer(name)].unflatten(1, SHAPES[name])


def hidden(theta: Tensor, x: Tensor) -> Tensor:
    """[models, records, hidden], before they are centred, scaled and bent."""
    return x @ weights(theta, "hidden").mT + weights(theta, "hidden bias").unsqueeze(1)


def activations(theta: Tensor, x: Tensor, centre: Tensor, scale: Tensor) -> Tensor:
    """[models, records, hidden]."""
    return torch.tanh((hidden(theta, x) - centre.unsqueeze(1)) / scale.unsqueeze(1))


def logits(theta: Tensor, h: Tensor) -> Tensor:
    """[models, records, classes]."""
    return h @ weights(theta, "output").mT + weights(theta, "output bias").unsqueeze(1)
