"""The variance of an estimate whose terms depend on each other: within a model, and within a secret."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FEW_SHARED = 5
"""Of fewer secrets than this, held by several models, others cannot be inferred."""


@dataclass(frozen=True)
class Spread:
    """What clustered terms show of the variance of their sum.

    Attributes:
        variance: of the sum.
        freedom: its degrees of freedom, those of Student's t.
        differ: for models, and for secrets that several models share, how many there are, and what share of the
            standard deviation that they show as clusters chance within them does not explain.
    """

    variance: float
    freedom: float
    differ: tuple[tuple[int, float], ...] = ()


def clustered_variance(
    moved: NDArray[np.float64],
    alone: float,
    freedom: float,
    models: NDArray[np.integer],
    count: int,
    secrets: NDArray[np.integer],
) -> Spread:
    """The variance of the sum of terms, and its degrees of freedom.

    It is `alone`, or what models show as clusters, if that is more, for models that look alike by chance prove nothing;
    and on top what secrets that several models share show above `alone`, with the degrees of freedom of such a sum
    (Satterthwaite 1946). With one model it is `alone`, and tells nothing of other models.

    Args:
        moved: float64[pairs], by how much each pair moves the estimate; their sum is 0.
        alone: the variance if pairs were independent.
        freedom: its degrees of freedom.
        models: int[pairs], the model of each.
        count: how many models the estimate rests on.
        secrets: int[pairs], equal where the secret is the same; what `few_shared` ones show is left out.
    """
    if count < 2:
        return Spread(alone, freedom)
    seen = _between(moved, models, count)
    variance, freedom = max(alone, seen), count - 1
    differ = [(count, _unexplained(alone, seen))]
    shared = len(np.unique(secrets))
    if shared < len(secrets) and not few_shared(secrets):
        among = _between(moved, secrets, shared)
        differ.append((shared, _unexplained(alone, among)))
        if among > alone:
            total = variance + among - alone
            freedom = total**2 / (variance**2 / freedom + among**2 / (shared - 1))
            variance = total
    return Spread(variance, freedom, tuple(differ))


def few_shared(secrets: NDArray[np.integer]) -> bool:
    """Whether several models share fewer than `FEW_SHARED` secrets; `secrets` int[pairs], equal where they are."""
    return len(np.unique(secrets)) < min(FEW_SHARED, secrets.size)


def unseen(clusters: int, confidence: float) -> float:
    """The largest share of all clusters that so many miss altogether with probability 1 - confidence.

    >>> round(unseen(20, 0.95), 4)
    0.1391
    """
    return float(1 - (1 - confidence) ** (1 / clusters))


def _unexplained(alone: float, seen: float) -> float:
    return math.sqrt(1 - alone / seen) if seen > alone else 0.0


def _between(moved: NDArray[np.float64], cluster: NDArray[np.integer], count: int) -> float:
    _, label = np.unique(cluster, return_inverse=True)
    return float(count / (count - 1) * (np.bincount(label, moved) ** 2).sum())
