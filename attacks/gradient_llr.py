"""The likelihood-ratio attack on gradients: what every update says under the sampling that is claimed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from attacks.base import Attack
from attacks.record import Floats, GradientRecord
from attacks.view import Access, View
from canaries.base import CanarySet

LEAST_NOISE = 0.1
"""Stands in for a claimed noise multiplier below it (that of the positive control is 0): the ratio stays finite."""


@dataclass(frozen=True)
class GradientLLR(Attack):
    """Score = sum over steps of the log-likelihood ratio of the update, with the canary against without it.

    Along the canary's clipped gradient, and less what the other records contributed, an update without the canary is
    N(0, 1) in units of the noise; with it, it is N(s, 1) at the claimed sampling rate q and N(0, 1) otherwise,
    s = |gradient| / (sigma C). The ratio is 1 - q + q exp(s z - s^2 / 2). The most powerful test of the mechanism that
    is claimed (Neyman, Pearson 1933), and so the sharper test of sampling: with batches larger than claimed, it grows
    faster than the sum of inner products.

    Only claimed facts enter, so a pipeline that does something else is held against what it says.
    """

    name: ClassVar[str] = "gradient-llr"
    access: ClassVar[Access] = Access.GRADIENTS
    kinds: ClassVar[frozenset[str]] = frozenset({"array", "text", "gradient"})
    family: ClassVar[str] = "white-box"
    evidence: ClassVar[frozenset[str]] = frozenset()

    def score(
        self, view: View, canaries: CanarySet, seed: int
    ) -> tuple[NDArray[np.float64], Mapping[str, NDArray[Any]]]:
        """The sum, float64[models, canaries], in nats; no evidence."""
        return step_ratios(view.gradient_record().of(canaries.ids)).sum(axis=1), {}


def step_ratios(record: GradientRecord) -> Floats:
    """float64[models, steps, canaries]: the log-likelihood ratio of each step, in nats."""
    rate = record.sample_rate[:, None]
    with np.errstate(divide="ignore"):  # log(0) at full batch: only the other term counts.
        return np.asarray(np.logaddexp(np.log1p(-rate), np.log(rate) + step_exponents(record)))


def step_exponents(record: GradientRecord) -> Floats:
    """float64[models, steps, canaries]: s z - s^2 / 2, the log-likelihood ratio if the canary is in the batch."""
    noise = max(record.noise_multiplier, LEAST_NOISE) * record.max_grad_norm
    return (record.unknown - record.norms**2 / 2) / noise**2
