"""Terms: how a layer's per-example gradient is made of inputs and output gradients, and its norm without it.

The gradient of example b with respect to one parameter is a sum over positions t (time steps, pixels of the
output, augmentations) of something small. Three kinds cover the usual layers:

- `Outer`: sum_t g_t a_t^T, the weights of linear, convolutional and recurrent layers and of attention;
- `Lookup`: rows of a table, the weights of embeddings;
- `Dense`: the per-example gradient itself, where it is small (biases, scales) or no rule is known.

References:
    Goodfellow (2015), Efficient per-example gradient computations, for one position.
    Li, Tramer, Liang, Hashimoto (2022), Large language models can be strong DP learners: Gram matrices over positions.
    Bu, Mao, Xu (2022), Scalable and efficient training of large CNNs with DP: the cheaper of both, layer by layer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from audit.training.ensemble.layout import Layout
from audit.training.ensemble.tap import Tap

MATERIALISE_COST = 8
"""Multiply-adds that one float of a materialised gradient costs (written once, read twice); measured."""


class Term(ABC):
    """One parameter's share of the per-example gradients of one chunk. All methods come after backward."""

    def __init__(self, layout: Layout, tap: Tap) -> None:
        self.layout = layout
        self.tap = tap

    @abstractmethod
    def gradients(self) -> Tensor:
        """[models, examples, parameter's shape...]: the per-example gradients."""

    @abstractmethod
    def squared_norms(self) -> Tensor:
        """[models, examples]: their squared norms."""

    @abstractmethod
    def weighted_sum(self, weights: Tensor) -> Tensor:
        """[models, parameter's shape...]: their sum over examples with weights [models, examples]."""

    def dot(self, direction: Tensor) -> Tensor:
        """[models, examples]: their inner products with a direction [models, parameter's shape...]."""
        return torch.bmm(self.gradients().flatten(2), direction.flatten(1).unsqueeze(2))[..., 0]


class Dense(Term):
    """Per-example gradients, computed when first asked for.

    Args:
        layout: the chunk's layout.
        tap: the layer's output gradient.
        compute: output gradient [rows, ...] -> [models, examples, parameter's shape...].
    """

    def __init__(self, layout: Layout, tap: Tap, compute: Callable[[Tensor], Tensor]) -> None:
        super().__init__(layout, tap)
        self._compute = compute
        self._gradients: Tensor | None = None

    def gradients(self) -> Tensor:
        """[models, examples, shape...]."""
        if self._gradients is None:
            self._gradients = self._compute(self.tap.gradient)
        return self._gradients

    def squared_norms(self) -> Tensor:
        """[models, examples]."""
        return squared(self.gradients().flatten(2))

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """[models, shape...]."""
        return weigh(weights, self.gradients())


def summed(layout: Layout, tap: Tap) -> Dense:
    """The term of a bias: output gradients [rows, ..., d] summed over positions."""
    return Dense(layout, tap, lambda g: positions_summed(layout, g))


def positions_summed(layout: Layout, g: Tensor) -> Tensor:
    """[rows, ..., d] -> [models, examples, d]."""
    g = layout.per_pair(g)
    summed = g[:, 0] if g.shape[1] == 1 else g.sum(1)
    return summed.view(layout.models, layout.examples, -1)


class Outer(Term):
    """sum_t g_t a_t^T for inputs a_t and output gradients g_t.

    Args:
        layout: the chunk's layout.
        tap: output gradients, [rows, ..., outputs].
        inputs: [rows, ..., inputs], with as many positions.
        fold: [..., outputs, inputs] -> [..., parameter's shape...], where the parameter is no such matrix.
    """

    def __init__(
        self, layout: Layout, tap: Tap, inputs: Tensor, fold: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        super().__init__(layout, tap)
        self.inputs = inputs
        self.fold = fold
        self._matrices: Tensor | None = None

    @property
    def positions(self) -> int:
        """Positions of one example, augmentations included."""
        return self.inputs.numel() // (self.layout.pairs * self.inputs.shape[-1])

    def materialises(self) -> bool:
        """Whether writing the gradient down is cheaper than Gram matrices and a second product."""
        t, i, o = self.positions, self.inputs.shape[-1], self.tap.gradient.shape[-1]
        return t > 1 and MATERIALISE_COST * i * o < t * t * (i + o)

    def matrices(self) -> Tensor:
        """[pairs, outputs, inputs]."""
        if self._matrices is None:
            g, a = self.layout.per_pair(self.tap.gradient), self.layout.per_pair(self.inputs)
            self._matrices = torch.bmm(g.mT, a)
        return self._matrices

    def gradients(self) -> Tensor:
        """[models, examples, shape...]."""
        m = self.matrices()
        return self._folded(m.view(self.layout.models, self.layout.examples, *m.shape[1:]))

    def squared_norms(self) -> Tensor:
        """[models, examples]."""
        g, a = self.layout.per_pair(self.tap.gradient), self.layout.per_pair(self.inputs)
        if self.positions == 1:
            norms = squared(a[:, 0]) * squared(g[:, 0])
        elif self.materialises():
            norms = squared(self.matrices().flatten(1))
        else:
            norms = torch.linalg.vecdot(torch.bmm(a, a.mT).flatten(1), torch.bmm(g, g.mT).flatten(1))
        return norms.view(self.layout.models, self.layout.examples)

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """[models, shape...]."""
        if self._matrices is not None:
            m = self._matrices
            return self._folded(weigh(weights, m.view(*weights.shape, *m.shape[1:])))
        g = self.layout.per_pair(self.tap.gradient) * weights.reshape(-1, 1, 1)
        return self._folded(torch.bmm(self.layout.per_model(g).mT, self.layout.per_model(self.inputs)))

    def dot(self, direction: Tensor) -> Tensor:
        """[models, examples]: sum_t g_t^T D a_t, so that no gradient is written down for it."""
        g = self.layout.per_model(self.tap.gradient)
        products = g * torch.bmm(self.layout.per_model(self.inputs), self._adjoint(direction).mT)
        return products.reshape(self.layout.models, self.layout.examples, -1).sum(2)

    def _adjoint(self, direction: Tensor) -> Tensor:
        """The matrices [models, outputs, inputs] that have the products with matrices that `direction` has folded."""
        if self.fold is None:
            return direction
        like = direction.new_zeros(direction.shape[0], self.tap.gradient.shape[-1], self.inputs.shape[-1])
        pull = torch.func.vjp(self.fold, like)[1]
        return pull(direction)[0]

    def _folded(self, matrices: Tensor) -> Tensor:
        return matrices if self.fold is None else self.fold(matrices)


class Lookup(Term):
    """Rows of a table: the gradient of row r is the sum of g_t over the positions that looked r up.

    Args:
        layout: the chunk's layout.
        tap: output gradients, [rows, ..., width].
        index: int64[rows, ...], the rows looked up.
        size: rows of the table.
        skip: a row that gets no gradient, or None.
    """

    def __init__(self, layout: Layout, tap: Tap, index: Tensor, size: int, skip: int | None) -> None:
        super().__init__(layout, tap)
        self.index = index.reshape(layout.pairs, -1)
        self.size = size
        self.skip = skip
        self._gradients: Tensor | None = None

    def materialises(self) -> bool:
        """Whether writing the gradient down is cheaper than comparing all positions with each other."""
        return MATERIALISE_COST * self.size < self.index.shape[1] ** 2

    def _outputs(self) -> Tensor:
        g = self.layout.per_pair(self.tap.gradient)
        return g if self.skip is None else g * (self.index != self.skip).unsqueeze(-1)

    def _scattered(self, g: Tensor, groups: int) -> Tensor:
        """[groups, size, width]: rows of `g` [pairs, positions, width] added up by table row within each group."""
        g, index = g.reshape(groups, -1, g.shape[-1]), self.index.reshape(groups, -1)
        start = torch.arange(groups, device=index.device).unsqueeze(1) * self.size
        table = torch.zeros(groups * self.size, g.shape[-1], dtype=g.dtype, device=g.device)
        table.index_add_(0, (index + start).flatten(), g.flatten(0, 1))
        return table.view(groups, self.size, -1)

    def gradients(self) -> Tensor:
        """[models, examples, size, width]."""
        if self._gradients is None:
            table = self._scattered(self._outputs(), self.layout.pairs)
            self._gradients = table.view(self.layout.models, self.layout.examples, *table.shape[1:])
        return self._gradients

    def squared_norms(self) -> Tensor:
        """[models, examples]."""
        if self.materialises():
            return squared(self.gradients().flatten(2))
        g = self._outputs()
        same = self.index.unsqueeze(1) == self.index.unsqueeze(2)
        norms = (torch.bmm(g, g.mT) * same).sum((1, 2))
        return norms.view(self.layout.models, self.layout.examples)

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """[models, size, width]."""
        if self._gradients is not None:
            return weigh(weights, self._gradients)
        return self._scattered(self._outputs() * weights.reshape(-1, 1, 1), self.layout.models)

    def dot(self, direction: Tensor) -> Tensor:
        """[models, examples]: of each position's output gradient with the row that it looked up."""
        models, size, width = direction.shape
        start = torch.arange(models, device=self.index.device).unsqueeze(1) * size
        rows = (self.index.reshape(models, -1) + start).flatten()
        found = direction.reshape(-1, width).index_select(0, rows)
        return (self._outputs() * found.view(*self.index.shape, width)).sum((1, 2)).view(models, -1)


def combined(terms: Sequence[Term]) -> Term:
    """One term for a parameter used several times: the gradients add up before any norm is taken."""
    if len(terms) == 1:
        return terms[0]
    return Dense(terms[0].layout, terms[0].tap, lambda _: torch.stack([t.gradients() for t in terms]).sum(0))


def squared(x: Tensor) -> Tensor:
    """[..., d] -> [...]: squared norms along the last axis."""
    return torch.linalg.vector_norm(x, dim=-1).square()


def weigh(weights: Tensor, gradients: Tensor) -> Tensor:
    """[models, examples] and [models, examples, shape...] -> [models, shape...]."""
    flat = torch.bmm(weights.unsqueeze(1), gradients.flatten(2))
    return flat.view(gradients.shape[0], *gradients.shape[2:])
