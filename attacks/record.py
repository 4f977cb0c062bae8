"""The gradient record: what an adversary who sees every update learns about each canary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from canaries.errors import InputError

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GradientRecord:
    """Inner products of every noisy update with every canary's clipped gradient, and what is claimed of the mechanism.

    The adversary of add-or-remove-one knows all records but the canary; what they contributed to an update is
    therefore known to it, batch by batch.

    Attributes:
        ids: canary ids, in the order of the columns.
        products: float64[models, steps, canaries], inner products of the noisy sum of clipped gradients (the update
            times what it was divided by) with the canary's clipped gradient.
        known: float64[models, steps, canaries], the part of `products` that the records contributed which every model
            trains on.
        norms: float64[models, steps, canaries], norms of the canaries' clipped gradients.
        sample_rate: float64[steps], the claimed probability that a record is in a batch.
        noise_multiplier: sigma, as claimed; 0 where none is.
        max_grad_norm: C, the clipping norm; the noise's standard deviation is claimed to be sigma * C a coordinate.
    """

    ids: tuple[str, ...]
    products: Floats
    known: Floats
    norms: Floats
    sample_rate: Floats
    noise_multiplier: float
    max_grad_norm: float

    def __post_init__(self) -> None:
        shape = (self.products.shape[0], len(self.sample_rate), len(self.ids))
        for name in ("products", "known", "norms"):
            if getattr(self, name).shape != shape:
                raise InputError(
                    f"Expected {name} of shape [models, {shape[1]}, {shape[2]}], got {getattr(self, name).shape}."
                )

    @property
    def unknown(self) -> Floats:
        """float64[models, steps, canaries]: `products` less what is known: the canaries' own share, and the noise."""
        return self.products - self.known

    def of(self, ids: Sequence[str]) -> GradientRecord:
        """The record of these canaries, in this order.

        Raises:
            InputError: for a canary that was not watched.
        """
        column = {canary: i for i, canary in enumerate(self.ids)}
        if missing := [canary for canary in ids if canary not in column]:
            raise InputError(f"The gradient record does not hold canary '{missing[0]}'.")
        keep = [column[canary] for canary in ids]
        return replace(
            self,
            ids=tuple(ids),
            products=self.products[:, :, keep],
            known=self.known[:, :, keep],
            norms=self.norms[:, :, keep],
        )
