"""How many independent trials dependent pairs are worth, where a limit on their rate is to prove something."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t


@dataclass(frozen=True)
class DesignEffect:
    """How pairs (model, canary) depend on each other.

    Attributes:
        value: variance of the share, whole clusters as units, over that of as many independent trials; at least 1.
        clusters: the clusters of the coarsest clustering; 0 where every pair stands for itself.
    """

    value: float = 1.0
    clusters: int = 0

    def trials(self, pairs: int, confidence: float) -> float:
        """Independent trials that so many pairs are worth (Korn, Graubard 1998, Survey Methodology 24).

        Beside the design effect it pays for that effect's being estimated from few clusters: by the squared ratio of
        the normal quantile to Student's with one degree of freedom less than there are clusters.
        """
        if not self.clusters:
            return float(pairs)
        tail = max(confidence, 0.75)
        return float(pairs / self.value * (norm.ppf(tail) / t.ppf(tail, self.clusters - 1)) ** 2)


INDEPENDENT = DesignEffect()


def design_effect(success: NDArray[np.bool_], *clusterings: NDArray[np.int64]) -> DesignEffect:
    """The design effect of a share, with the variance of crossed clusterings (Cameron, Gelbach, Miller 2011).

    What each clustering adds to the variance of independent trials counts, where it adds. A clustering with one
    cluster shows no variance and is left out: what is said of one model's canaries is said of that model. Where all
    pairs fared alike no variance can be seen, and only `clusters` tells how little that means.

    Args:
        success: bool[pairs].
        clusterings: int64[pairs] each, equal for pairs of one cluster.
    """
    n = len(success)
    labels = [np.unique(of, return_inverse=True)[1] for of in clusterings] if n else []
    labels = [label for label in labels if 1 < label.max() + 1 < n]
    if not labels:
        return INDEPENDENT
    fewest = min(int(label.max()) + 1 for label in labels)
    rate = success.mean()
    if rate in (0, 1):
        return DesignEffect(1.0, fewest)
    added = (_variance(success - rate, label) / (rate * (1 - rate) / n) - 1 for label in labels)
    return DesignEffect(1 + sum(max(0.0, more) for more in added), fewest)


def _variance(residual: NDArray[np.float64], label: NDArray[np.intp]) -> float:
    total = np.bincount(label, residual)
    return float(len(total) / (len(total) - 1) * (total**2).sum() / len(residual) ** 2)
