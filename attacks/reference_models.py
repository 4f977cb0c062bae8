"""Attack-R and difficulty calibration: a canary's loss against its losses in models that did not train on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from attacks.cross_model import CrossModel, KnownModels
from attacks.population import refinement
from attacks.view import Access, View
from canaries.base import CanarySet

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LossSignal(CrossModel):
    """What both share: the signal is minus the loss."""

    access: ClassVar[Access] = Access.LOSS
    kinds: ClassVar[frozenset[str]] = frozenset({"array", "text"})
    family: ClassVar[str] = "membership"
    evidence: ClassVar[frozenset[str]] = frozenset()

    def score(self, view: View, canaries: CanarySet, seed: int) -> tuple[Floats, Mapping[str, NDArray[Any]]]:
        """The signal in nats, float64[models, canaries]; no evidence."""
        return -view.loss(canaries.records), {}


@dataclass(frozen=True)
class CalibratedLoss(LossSignal):
    """Score = the mean loss of known models without the canary, less its loss.

    Watson, Guo, Cormode, Sablayrolles (2022), "On the Importance of Difficulty Calibration in Membership Inference
    Attacks". A canary that every known model has takes the mean of them all.
    """

    name: ClassVar[str] = "calibrated-loss"

    def compare(self, signal: Floats, known: KnownModels) -> Floats:
        """The difference in nats, float64[targets, canaries]."""
        return signal - unseen_mean(known)


@dataclass(frozen=True)
class ReferenceModels(LossSignal):
    """Score = share of the known models without the canary that give it a larger loss, ties broken by the difference.

    Attack-R of Ye et al. (2022), "Enhanced Membership Inference Attacks against Machine Learning Models". With n such
    models it is (count + r) / (n + 1), where r in (0, 1) increases with `CalibratedLoss`.
    """

    name: ClassVar[str] = "reference-models"

    def compare(self, signal: Floats, known: KnownModels) -> Floats:
        """The share, float64[targets, canaries], in (0, 1)."""
        use = ~known.member & ~np.isnan(known.signal)
        below = np.array([((known.signal <= row) & use).sum(axis=0) for row in signal]).reshape(signal.shape)
        return np.asarray((below + refinement(signal - unseen_mean(known))) / (1 + use.sum(axis=0)))


def unseen_mean(known: KnownModels) -> Floats:
    """float64[canaries]: mean signal of the models without each canary; of all where none lacks it; 0 without any."""
    outs, everyone = known.arm(False).mean, known.arm(True).mean
    return np.nan_to_num(np.where(np.isnan(outs), everyone, outs))
