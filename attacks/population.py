"""Attack-P: a model's loss for a canary among its losses for records that it has not seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from attacks.base import Attack
from attacks.view import Access, View
from canaries.base import CanarySet

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Population(Attack):
    """Score = share of the population's records that the same model gives a larger loss, ties broken by the loss.

    Attack-P of Ye et al. (2022), "Enhanced Membership Inference Attacks against Machine Learning Models". Of P records
    it is (count + r) / (P + 1), where r in (0, 1) falls with the loss: one minus a p-value of "not a member", so that
    thresholds mean the same in every model. The population is the references: records of the canaries' own make which
    no model trains on. A reference is held against the others.
    """

    name: ClassVar[str] = "population"
    access: ClassVar[Access] = Access.LOSS
    kinds: ClassVar[frozenset[str]] = frozenset({"array", "text"})
    family: ClassVar[str] = "membership"
    evidence: ClassVar[frozenset[str]] = frozenset()
    needs_references: ClassVar[bool] = True

    def score(self, view: View, canaries: CanarySet, seed: int) -> tuple[Floats, Mapping[str, NDArray[Any]]]:
        """The share, float64[models, canaries], in (0, 1); no evidence.

        Raises:
            InputError: without references.
        """
        self.check(canaries)
        signal = -view.loss(canaries.records)
        counted = count_below(signal, signal[:, canaries.reference], canaries.reference)
        return (counted + refinement(signal - np.median(signal, axis=1, keepdims=True))) / (
            1 + int(canaries.reference.sum())
        ), {}


def count_below(value: Floats, population: Floats, own: NDArray[np.bool_], at_least: float = 0.0) -> Floats:
    """float64[models, canaries]: how many of `population` [models, P] lie at least `at_least` below each value.

    Args:
        value: float64[models, canaries].
        population: float64[models, P], the values of the canaries where `own` is true.
        own: bool[canaries], which canaries are in the population; they are not counted for themselves.
        at_least: the least difference that counts; 0 counts those that are strictly lower or equal.
    """
    counts = np.array(
        [np.searchsorted(np.sort(p), v - at_least, side="right") for v, p in zip(value, population, strict=True)]
    ).reshape(value.shape)
    return np.asarray(counts - own * float(at_least <= 0), dtype=np.float64)


def refinement(value: Floats) -> Floats:
    """An increasing map into (0, 1): added to a count it breaks the count's ties and changes no other order.

    >>> refinement(np.array([-1e300, 0.0, 3.0])).round(3)
    array([0.   , 0.5  , 0.898])
    """
    return np.asarray(0.5 + np.arctan(value) / np.pi)
