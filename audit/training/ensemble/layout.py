"""How the models, the examples and an example's augmentations lie in one merged batch axis."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """A merged batch: row (k * examples + b) * views + v is augmentation v of example b of model k.

    Attributes:
        models: models in this chunk.
        examples: examples of each model in this chunk, padding included.
        views: augmentations of each example.
    """

    models: int
    examples: int
    views: int = 1

    @property
    def pairs(self) -> int:
        """Pairs of a model and an example: one clipped gradient each."""
        return self.models * self.examples

    @property
    def rows(self) -> int:
        """Length of the merged batch axis."""
        return self.pairs * self.views

    def per_model(self, x: Tensor) -> Tensor:
        """[rows, ..., d] -> [models, everything else, d], for one product per model."""
        return x.reshape(self.models, -1, x.shape[-1])

    def per_pair(self, x: Tensor) -> Tensor:
        """[rows, ..., d] -> [pairs, positions, d], augmentations counted as positions."""
        return x.reshape(self.pairs, -1, x.shape[-1])
