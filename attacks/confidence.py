"""Scores from one model's answer for the canary itself: logit-scaled confidence, margin, entropy, modified entropy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from attacks.base import Attack
from attacks.view import Access, ArrayView, View
from canaries.base import CanarySet
from canaries.errors import InputError
from canaries.records import ArrayRecords

Floats = NDArray[np.float64]

LEAST_LOSS = 2.0**-53
"""A loss below this is rounding of a probability that float64 cannot tell from 1."""


def logit_confidence(loss: Floats) -> Floats:
    """Log p - log(1 - p) of p = exp(-loss), in nats; any shape. From the loss alone, without loss of precision.

    >>> logit_confidence(np.log([2.0, 4.0])).round(4)
    array([ 0.    , -1.0986])
    """
    loss = np.maximum(loss, LEAST_LOSS)
    return np.asarray(-loss - np.log(-np.expm1(-loss)))


@dataclass(frozen=True)
class Confidence(Attack):
    """Score = the logit log(p / (1 - p)) of the probability p of the canary's label, or of the whole text.

    Carlini et al. (2022), "Membership Inference Attacks From First Principles", section IV-C: it is close to normal
    where the loss is not. Within one model it orders canaries as the loss does; averages over models differ.
    """

    name: ClassVar[str] = "confidence"
    access: ClassVar[Access] = Access.LOSS
    kinds: ClassVar[frozenset[str]] = frozenset({"array", "text"})
    family: ClassVar[str] = "membership"
    evidence: ClassVar[frozenset[str]] = frozenset()

    def score(self, view: View, canaries: CanarySet, seed: int) -> tuple[Floats, Mapping[str, NDArray[Any]]]:
        """The logit, float64[models, canaries]; no evidence."""
        return logit_confidence(view.loss(canaries.records)), {}


@dataclass(frozen=True)
class Margin(Attack):
    """Score = log p of the canary's label less the largest log p of another: the hinge of Carlini et al. (2022)."""

    name: ClassVar[str] = "margin"
    access: ClassVar[Access] = Access.PROBABILITIES
    kinds: ClassVar[frozenset[str]] = frozenset({"array"})
    family: ClassVar[str] = "membership"
    evidence: ClassVar[frozenset[str]] = frozenset()

    def score(self, view: View, canaries: CanarySet, seed: int) -> tuple[Floats, Mapping[str, NDArray[Any]]]:
        """The margin in nats, float64[models, canaries]; no evidence.

        Raises:
            InputError: for canaries or models that are not of arrays.
        """
        p, y = _answers(view, canaries, self.name)
        mine = np.arange(p.shape[2]) == y[None, :, None]
        own = np.where(mine, p, 0).max(axis=2)
        return np.log(np.maximum(own, 1e-300)) - np.log(np.maximum(np.where(mine, 0, p).max(axis=2), 1e-300)), {}


@dataclass(frozen=True)
class Entropy(Attack):
    """Score = minus the entropy of the answer, in nats; the label is not looked at.

    Shokri et al. (2017) and Salem et al. (2019), "ML-Leaks": a model is surer of what it has seen. It is blind to what
    is surely wrong; `ModifiedEntropy` is not.
    """

    name: ClassVar[str] = "entropy"
    access: ClassVar[Access] = Access.PROBABILITIES
    kinds: ClassVar[frozenset[str]] = frozenset({"array"})
    family: ClassVar[str] = "membership"
    evidence: ClassVar[frozenset[str]] = frozenset()

    def score(self, view: View, canaries: CanarySet, seed: int) -> tuple[Floats, Mapping[str, NDArray[Any]]]:
        """Minus the entropy, float64[models, canaries]; no evidence.

        Raises:
            InputError: for canaries or models that are not of arrays.
        """
        p, _ = _answers(view, canaries, self.name)
        return (p * np.log(np.maximum(p, 1e-300))).sum(axis=2), {}


@dataclass(frozen=True)
class ModifiedEntropy(Attack):
    """Score = (1 - p_y) log p_y + sum over other labels of p_i log(1 - p_i): minus the modified entropy.

    Song, Mittal (2021), "Systematic Evaluation of Privacy Risks of Machine Learning Models", equation 8. It rises with
    the probability of the canary's label and falls with every other.
    """

    name: ClassVar[str] = "modified-entropy"
    access: ClassVar[Access] = Access.PROBABILITIES
    kinds: ClassVar[frozenset[str]] = frozenset({"array"})
    family: ClassVar[str] = "membership"
    evidence: ClassVar[frozenset[str]] = frozenset()

    def score(self, view: View, canaries: CanarySet, seed: int) -> tuple[Floats, Mapping[str, NDArray[Any]]]:
        """Minus the modified entropy, float64[models, canaries]; no evidence.

        Raises:
            InputError: for canaries or models that are not of arrays.
        """
        p, y = _answers(view, canaries, self.name)
        mine = np.arange(p.shape[2]) == y[None, :, None]
        inside = np.log(np.maximum(np.where(mine, p, 1 - p), 1e-300))
        return (np.where(mine, 1 - p, p) * inside).sum(axis=2), {}


def _answers(view: View, canaries: CanarySet, name: str) -> tuple[Floats, NDArray[np.int64]]:
    """float64[models, canaries, classes] and int64[canaries]."""
    records = canaries.records
    if not isinstance(records, ArrayRecords) or not isinstance(view, ArrayView):
        raise InputError(f"Attack '{name}' is for classifiers of arrays.")
    return view.probabilities(records.x), records.y
