"""Random views of images: shifts and mirror images, drawn from each model's own stream."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from canaries.errors import InputError


@dataclass(frozen=True)
class Augmentation:
    """`views` random views of each image.

    Attributes:
        views: how many.
        shift: largest shift in pixels, each way and in both directions.
        flip: whether to mirror left to right with probability 1/2.
    """

    views: int
    shift: int
    flip: bool

    def draw(self, examples: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """int64[examples, views, 3]: rows down, columns right, mirrored or not, for one model's batch."""
        shape = (examples, self.views)
        moves = rng.integers(-self.shift, self.shift + 1, (*shape, 2))
        mirrored = rng.integers(0, 2, (*shape, 1)) if self.flip else np.zeros((*shape, 1), dtype=np.int64)
        return np.concatenate([moves, mirrored], axis=2)

    def apply(self, x: Tensor, moves: Tensor) -> Tensor:
        """Images [n, channels, height, width] and moves int64[n, views, 3] -> [n * views, channels, height, width]."""
        if x.ndim != 4:
            raise InputError(f"Augmentations need images of shape [n, channels, height, width], got {tuple(x.shape)}.")
        n, _, height, width = x.shape
        padded = F.pad(x, [self.shift] * 4)
        down, right, mirrored = moves.view(-1, 3).unbind(1)
        row = torch.arange(height, device=x.device) + self.shift - down.unsqueeze(1)
        column = torch.arange(width, device=x.device).expand(n * self.views, -1)
        column = torch.where(mirrored.bool().unsqueeze(1), width - 1 - column, column) + self.shift - right.unsqueeze(1)
        which = torch.arange(n, device=x.device).repeat_interleave(self.views)
        picked = padded[which[:, None, None], :, row[:, :, None], column[:, None, :]]
        return picked.permute(0, 3, 1, 2)
