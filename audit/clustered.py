"""The variance of an estimate whose terms depend on each other: within a model, and within a secret."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def clustered_variance(
    moved: NDArray[np.float64],
    alone: float,
    freedom: float,
    models: NDArray[np.integer],
    count: int,
    secrets: NDArray[np.integer],
) -> tuple[float, float]:
    """The variance and its degrees of freedom, those of Student's t.

    It is `alone`, or what models show as clusters, if that is more, for models that look alike by chance prove nothing;
    and on top what secrets that several models share show above `alone`, with the degrees of freedom of such a sum
    (Satterthwaite 1946). With one model it is `alone`, and tells nothing of other models.

    Args:
        moved: float64[pairs], by how much each pair moves the estimate; their sum is 0.
        alone: the variance if pairs were independent.
        freedom: its degrees of freedom.
        models: int[pairs], the model of each.
        count: how many models the estimate rests on.
        secrets: int[pairs], equal where the secret is the same.
    """
    variance = alone
    if count > 1:
        variance, freedom = max(alone, _between(moved, models, count)), count - 1
        shared = len(np.unique(secrets))
        among = _between(moved, secrets, shared) if 1 < shared < len(secrets) else 0.0
        if among > alone:
            total = variance + among - alone
            freedom = total**2 / (variance**2 / freedom + among**2 / (shared - 1))
            variance = total
    return variance, freedom


def _between(moved: NDArray[np.float64], cluster: NDArray[np.integer], count: int) -> float:
    _, label = np.unique(cluster, return_inverse=True)
    return float(count / (count - 1) * (np.bincount(label, moved) ** 2).sum())
