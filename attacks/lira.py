"""LiRA: is a canary's confidence likelier from models that trained on it, or from models that did not?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from attacks.confidence import logit_confidence
from attacks.cross_model import Arm, CrossModel, KnownModels
from attacks.view import Access, View
from canaries.base import CanarySet
from canaries.errors import InputError

Floats = NDArray[np.float64]
Variance = Literal["per-example", "fixed"]


@dataclass(frozen=True)
class LogitSignal(CrossModel):
    """What LiRA's forms share: the signal is the logit-scaled confidence, close to normal for each canary."""

    access: ClassVar[Access] = Access.LOSS
    kinds: ClassVar[frozenset[str]] = frozenset({"array", "text"})
    family: ClassVar[str] = "membership"
    evidence: ClassVar[frozenset[str]] = frozenset()

    def score(self, view: View, canaries: CanarySet, seed: int) -> tuple[Floats, Mapping[str, NDArray[Any]]]:
        """The signal, float64[models, canaries]; no evidence."""
        return logit_confidence(view.loss(canaries.records)), {}


@dataclass(frozen=True)
class LiRA(LogitSignal):
    """Online: score = log N(signal; mean_in, variance_in) - log N(signal; mean_out, variance_out), canary by canary.

    Carlini et al. (2022), "Membership Inference Attacks From First Principles", Algorithm 1. The adversary has models
    trained with and without each canary. Where one side has none for some canary, its mean is the other side's, moved
    by the mean distance of all canaries that have both.

    Attributes:
        variance: "per-example", each canary's own (of two models at least, else fixed); or "fixed", one for all
            canaries, which the paper takes below 64 models. It is pooled within canaries here; the published code
            takes the deviation of all signals, which holds the canaries' differences too.
    """

    name: ClassVar[str] = "lira"

    variance: Variance = "fixed"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_variance(self.variance)

    def compare(self, signal: Floats, known: KnownModels) -> Floats:
        """The log likelihood ratio in nats, float64[targets, canaries]."""
        ins, outs = known.arm(True), known.arm(False)
        mean_in, mean_out = both_means(ins, outs)
        return normal(signal, mean_in, variances(ins, self.variance)) - normal(
            signal, mean_out, variances(outs, self.variance)
        )


@dataclass(frozen=True)
class LiRAOffline(LogitSignal):
    """Offline: score = (signal - mean_out) / deviation_out, how far the signal lies above models without the canary.

    Carlini et al. (2022), section VI-A; their score is its normal probability, which orders alike. The adversary needs
    no model trained on the canary. A canary that no model left out takes the mean of the other canaries'.

    Attributes:
        variance: as in `LiRA`.
    """

    name: ClassVar[str] = "lira-offline"

    variance: Variance = "fixed"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_variance(self.variance)

    def compare(self, signal: Floats, known: KnownModels) -> Floats:
        """Standard deviations above the models without it, float64[targets, canaries]."""
        outs = known.arm(False)
        mean = np.where(np.isnan(outs.mean), np.nanmean(outs.mean) if outs.any else 0.0, outs.mean)
        return np.asarray((signal - mean) / np.sqrt(variances(outs, self.variance)))


def check_variance(variance: str) -> None:
    """Reject another word than "per-example" and "fixed"."""
    if variance not in ("per-example", "fixed"):
        raise InputError(f"Expected variance to be 'per-example' or 'fixed', got {variance!r}.")


def variances(arm: Arm, variance: Variance) -> Floats:
    """float64[canaries]: unbiased, never below a millionth of the one pooled within canaries."""
    pooled = arm.pooled_variance()
    if variance == "fixed":
        return np.full(arm.count.shape, pooled)
    own = np.divide(arm.squares, arm.count - 1, out=np.full(arm.count.shape, pooled), where=arm.count > 1)
    return np.maximum(own, 1e-6 * pooled)


def both_means(ins: Arm, outs: Arm) -> tuple[Floats, Floats]:
    """Means of both arms, each float64[canaries]; where one is missing, the other moved by the mean distance.

    Where no canary has both, the distance is taken as one standard deviation, and all that has no mean is 0.
    """
    distances = (ins.mean - outs.mean)[(ins.count > 0) & (outs.count > 0)]
    apart = float(distances.mean()) if distances.size else float(np.sqrt((outs if outs.any else ins).pooled_variance()))
    mean_out = np.where(np.isnan(outs.mean), ins.mean - apart, outs.mean)
    mean_in = np.where(np.isnan(ins.mean), outs.mean + apart, ins.mean)
    return np.nan_to_num(mean_in, nan=apart), np.nan_to_num(mean_out)


def normal(x: Floats, mean: Floats, variance: Floats) -> Floats:
    """Log density in nats."""
    return np.asarray(-((x - mean) ** 2) / (2 * variance) - np.log(2 * np.pi * variance) / 2)
