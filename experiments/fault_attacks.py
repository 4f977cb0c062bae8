"""Attacks on the gradient record that are made for one kind of fault each; the general ones are in `attacks`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from attacks.base import Attack
from attacks.record import Floats
from attacks.view import Access, View
from canaries.base import CanarySet


@dataclass(frozen=True)
class GradientSpread(Attack):
    """Score = the standard deviation over steps of what an update says about the canary.

    Noise that is the same in every step cancels, and what remains is whether the canary was in some batches and not in
    others. Fresh noise drowns it.
    """

    name: ClassVar[str] = "gradient-spread"
    access: ClassVar[Access] = Access.GRADIENTS
    kinds: ClassVar[frozenset[str]] = frozenset({"array"})
    family: ClassVar[str] = "white-box"

    def score(
        self, view: View, canaries: CanarySet, seed: int
    ) -> tuple[NDArray[np.float64], Mapping[str, NDArray[Any]]]:
        """float64[models, canaries]; no evidence."""
        return view.gradient_record().of(canaries.ids).unknown.std(axis=1), {}


@dataclass(frozen=True)
class GradientEpochs(Attack):
    """Score = the log-likelihood ratio if the canary is in exactly one batch of every epoch, each as likely at first.

    The most powerful test of shuffled batches, where those of an epoch stand side by side; the claim that it is held
    against is whatever is claimed.

    Attributes:
        batches: in an epoch.
        place: the batch that it is in, in every epoch, for an adversary who knows the order of the data; None where
            each epoch has an order of its own.
    """

    name: ClassVar[str] = "gradient-epochs"
    access: ClassVar[Access] = Access.GRADIENTS
    kinds: ClassVar[frozenset[str]] = frozenset({"array"})
    family: ClassVar[str] = "white-box"

    batches: int = 4
    place: int | None = None

    def score(
        self, view: View, canaries: CanarySet, seed: int
    ) -> tuple[NDArray[np.float64], Mapping[str, NDArray[Any]]]:
        """float64[models, canaries], in nats; no evidence."""
        record = view.gradient_record().of(canaries.ids)
        noise = max(record.noise_multiplier, 0.1) * record.max_grad_norm
        exponent: Floats = (record.unknown - record.norms**2 / 2) / noise**2
        models, steps, planted = exponent.shape
        epochs = exponent[:, : steps // self.batches * self.batches].reshape(models, -1, self.batches, planted)
        if self.place is not None:
            return np.asarray(epochs[:, :, self.place].sum(axis=1)), {}
        return np.asarray(logsumexp(epochs, axis=2).sum(axis=1)), {}
