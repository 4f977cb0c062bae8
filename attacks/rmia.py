"""RMIA: how many records of the population does a canary's likelihood ratio beat?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from attacks.cross_model import CrossModel, KnownModels
from attacks.population import count_below, refinement
from attacks.view import Access, View
from canaries.base import CanarySet
from canaries.errors import InputError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RelativeSignal(CrossModel):
    """What both forms share: LR(x, z) = (P(x|f) / P(x)) / (P(z|f) / P(z)), and the share of z with LR >= gamma.

    Zarifzadeh, Liu, Shokri (2024), "Low-Cost High-Power Membership Inference Attacks", equations 2 to 4. P(x|f) is the
    probability that model f gives the label of x, or the text. P(x) is its mean over models with and without x, half
    and half. The z are the references, which no model trained on; their P(z) is offline in either form,
    ((1 + a) P_out + 1 - a) / 2. A reference is held against the others. The score is (count + r) / (references + 1)
    with r in (0, 1), increasing in P(x|f) / P(x), which breaks the count's ties and changes no other order; without
    references, r alone.

    Attributes:
        gamma: how much likelier x must have become than z.
        a: in [0, 1], how P_in follows from P_out: P_in = a P_out + 1 - a.
    """

    access: ClassVar[Access] = Access.LOSS
    kinds: ClassVar[frozenset[str]] = frozenset({"array", "text"})
    family: ClassVar[str] = "membership"
    evidence: ClassVar[frozenset[str]] = frozenset()

    gamma: float = 1.0
    a: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.gamma < math.inf:
            raise InputError(f"Expected gamma finite and > 0 for attack '{self.name}', got {self.gamma}.")
        if not 0 <= self.a <= 1:
            raise InputError(f"Expected a in [0, 1] for attack '{self.name}', got {self.a}.")

    def score(self, view: View, canaries: CanarySet, seed: int) -> tuple[Floats, Mapping[str, NDArray[Any]]]:
        """The signal, the log-probability in nats, float64[models, canaries]; no evidence."""
        return -view.loss(canaries.records), {}

    def relative(self, signal: Floats, known: KnownModels, marginal: Floats) -> Floats:
        """float64[targets, canaries] in (0, 1), from log P(x) float64[canaries] of the canaries."""
        ratio = signal - marginal
        population = known.population
        if not population.any():
            return refinement(ratio)
        unseen = offline(log_mean(known.signal, np.ones_like(known.member)), self.a)
        ratio_z = (signal - unseen)[:, population]
        counted = count_below(ratio, ratio_z, np.zeros_like(population), math.log(self.gamma))
        own = (ratio - (signal - unseen) >= math.log(self.gamma)) & population
        middle = np.median(ratio_z, axis=1, keepdims=True)
        return np.asarray((counted - own + refinement(ratio - middle)) / (1 + int(population.sum())))


@dataclass(frozen=True)
class RMIA(RelativeSignal):
    """Online: P(x) = (P_in + P_out) / 2, means over known models with and without x; see `RelativeSignal`.

    Where no known model has x, or none lacks it, the mean of the others stands in by P_in = a P_out + 1 - a.
    """

    name: ClassVar[str] = "rmia"

    def compare(self, signal: Floats, known: KnownModels) -> Floats:
        """The score, float64[targets, canaries]."""
        ins, outs = log_mean(known.signal, known.member), log_mean(known.signal, ~known.member)
        with np.errstate(invalid="ignore"):  # NaN where one side has no model; replaced below.
            both = np.logaddexp(ins, outs) - math.log(2)
        alone = np.where(np.isnan(outs), ins, offline(outs, self.a))
        return self.relative(signal, known, np.nan_to_num(np.where(np.isnan(both), alone, both)))


@dataclass(frozen=True)
class RMIAOffline(RelativeSignal):
    """Offline: P(x) = ((1 + a) P_out + 1 - a) / 2, from known models without x alone; see `RelativeSignal`.

    A canary that every known model has takes the mean of them all.
    """

    name: ClassVar[str] = "rmia-offline"

    def compare(self, signal: Floats, known: KnownModels) -> Floats:
        """The score, float64[targets, canaries]."""
        outs = log_mean(known.signal, ~known.member)
        outs = np.where(np.isnan(outs), log_mean(known.signal, known.member), outs)
        return self.relative(signal, known, offline(np.nan_to_num(outs), self.a))


def offline(outs: Floats, a: float) -> Floats:
    """log(((1 + a) P_out + 1 - a) / 2) from log P_out."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.logaddexp(np.log((1 + a) / 2) + outs, np.log((1 - a) / 2)))


def log_mean(signal: Floats, chosen: NDArray[np.bool_]) -> Floats:
    """float64[canaries]: log of the mean of exp(signal) over the models that are chosen and not NaN; NaN for none."""
    use = chosen & ~np.isnan(signal)
    top = np.where(use, signal, -np.inf).max(axis=0, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0.0)
    total = np.exp(np.where(use, signal - top, -np.inf)).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(use.any(axis=0), top + np.log(total / use.sum(axis=0)), np.nan))
