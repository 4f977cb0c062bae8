"""The epoch attack on gradients: the likelihood ratio if a canary is in exactly one batch of every epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from attacks.base import Attack
from attacks.gradient_llr import step_exponents
from attacks.view import Access, View
from canaries.base import CanarySet
from canaries.errors import InputError


@dataclass(frozen=True)
class GradientEpochs(Attack):
    """Score = log-likelihood ratio of all updates, with the canary in one batch of each epoch against in none.

    For batches that a data loader cuts from an order of the data while the accountant assumes Poisson sampling (Chua,
    Ghazi, Kamath, Kumar, Manurangsi, Sinha, Zhang 2024, "How Private are DP-SGD Implementations?"). Each batch of an
    epoch is as likely at first, so the ratio of an epoch is the mean over its batches of exp(s z - s^2 / 2), in the
    notation of `GradientLLR`: the most powerful test of such sampling with the claimed noise (Neyman, Pearson 1933).
    Steps after the last whole epoch are not used. Its scores are held against whatever is claimed.

    Attributes:
        batches: batches in an epoch, at least 2.
        place: the batch, from 0, that every canary is in in every epoch, for an adversary who knows an order of the
            data that never changes; None where it is unknown and each epoch has an order of its own.

    Raises:
        InputError: for fewer than two batches, a place outside of the epoch, or a record of less than one epoch.
    """

    name: ClassVar[str] = "gradient-epochs"
    access: ClassVar[Access] = Access.GRADIENTS
    kinds: ClassVar[frozenset[str]] = frozenset({"array", "text", "gradient"})
    family: ClassVar[str] = "white-box"
    evidence: ClassVar[frozenset[str]] = frozenset()

    batches: int = 4
    place: int | None = None

    def __post_init__(self) -> None:
        if self.batches < 2:
            raise InputError(f"Expected batches >= 2 in an epoch, got {self.batches}.")
        if self.place is not None and not 0 <= self.place < self.batches:
            raise InputError(f"Expected place in 0 to {self.batches - 1}, got {self.place}.")

    def score(
        self, view: View, canaries: CanarySet, seed: int
    ) -> tuple[NDArray[np.float64], Mapping[str, NDArray[Any]]]:
        """The ratio, float64[models, canaries], in nats; no evidence."""
        exponents = step_exponents(view.gradient_record().of(canaries.ids))
        models, steps, planted = exponents.shape
        epochs = steps // self.batches
        if not epochs:
            raise InputError(
                f"Expected at least one epoch of {self.batches} steps in the gradient record, got {steps}."
            )
        each = exponents[:, : epochs * self.batches].reshape(models, epochs, self.batches, planted)
        if self.place is not None:
            return np.asarray(each[:, :, self.place].sum(axis=1)), {}
        return np.asarray((logsumexp(each, axis=2) - np.log(self.batches)).sum(axis=1)), {}
