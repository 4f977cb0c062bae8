"""Optimisers over the parameters of all models, [models, size], in place; the formulas are torch.optim's."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class Optimiser(ABC):
    """Updates parameters from gradients of the same shape [models, size]; `weight_decay` is the L2 coefficient."""

    def __init__(self, weight_decay: float) -> None:
        self.weight_decay = weight_decay

    def step(self, parameters: Tensor, gradient: Tensor, learning_rate: float) -> None:
        """One update; the gradient is used up."""
        if self.weight_decay:
            gradient.add_(parameters, alpha=self.weight_decay)
        self.update(parameters, gradient, learning_rate)

    @abstractmethod
    def update(self, parameters: Tensor, gradient: Tensor, learning_rate: float) -> None:
        """The update after weight decay."""


class SGD(Optimiser):
    """v = momentum v + g; p = p - rate v (Sutskever et al. 2013, as in torch)."""

    def __init__(self, weight_decay: float, momentum: float) -> None:
        super().__init__(weight_decay)
        self.momentum = momentum
        self._velocity: Tensor | None = None

    def update(self, parameters: Tensor, gradient: Tensor, learning_rate: float) -> None:
        """See the class."""
        if self.momentum:
            if self._velocity is None:
                self._velocity = torch.zeros_like(gradient)
            gradient = self._velocity.mul_(self.momentum).add_(gradient)
        parameters.add_(gradient, alpha=-learning_rate)


class Adam(Optimiser):
    """Adam (Kingma & Ba 2015) with betas (0.9, 0.999) and epsilon 1e-8."""

    def __init__(self, weight_decay: float) -> None:
        super().__init__(weight_decay)
        self._moments: tuple[Tensor, Tensor] | None = None
        self._steps = 0

    def update(self, parameters: Tensor, gradient: Tensor, learning_rate: float) -> None:
        """See the class."""
        if self._moments is None:
            self._moments = (torch.zeros_like(gradient), torch.zeros_like(gradient))
        first, second = self._moments
        self._steps += 1
        first.lerp_(gradient, 0.1)
        second.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
        scale = (second / (1 - 0.999**self._steps)).sqrt_().add_(1e-8)
        parameters.addcdiv_(first, scale, value=-learning_rate / (1 - 0.9**self._steps))
