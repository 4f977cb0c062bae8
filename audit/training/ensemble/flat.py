"""All parameters of all models in one matrix, and views of it by name."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Flat:
    """How named parameters lie in the columns of a matrix [models, size].

    Args:
        shapes: shape of each parameter, by name.
    """

    def __init__(self, shapes: Mapping[str, torch.Size]) -> None:
        self.shapes = dict(shapes)
        self.size = sum(math.prod(s) for s in self.shapes.values())

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """[models, shape...] by name, sharing memory with `flat`."""
        sizes = [math.prod(s) for s in self.shapes.values()]
        parts = torch.split(flat, sizes, dim=1)
        return {
            n: torch.unflatten(p, 1, s) if s else p[:, 0] for (n, s), p in zip(self.shapes.items(), parts, strict=True)
        }

    def row(self, module: nn.Module) -> Tensor:
        """[size]: the values of a module's parameters."""
        named = dict(module.named_parameters())
        return torch.cat([named[n].detach().flatten() for n in self.shapes])

    def load(self, module: nn.Module, row: Tensor) -> nn.Module:
        """Set a module's parameters to a row; returns the module."""
        named, views = dict(module.named_parameters()), self.views(row.unsqueeze(0))
        with torch.no_grad():
            for name, value in views.items():
                named[name].copy_(value[0])
        return module
