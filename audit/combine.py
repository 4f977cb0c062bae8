"""Several tests or bounds at once, such that all of them, and the largest bound, hold together.

Attacks that score the same models depend on each other in ways that no claim speaks about: (epsilon, delta)-DP fixes
the worst law of one attack's ranks, not the joint law of several. Only corrections that are valid under every
dependence are used, and for small levels Bonferroni's is then nearly the best there is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from canaries.errors import InputError


def simultaneous_confidence(confidence: float, family: int) -> float:
    """The confidence for each of `family` bounds so that all hold together, whatever their dependence (Bonferroni).

    >>> round(simultaneous_confidence(0.95, 5), 12)
    0.99
    """
    if not 0 < confidence < 1:
        raise InputError(f"Expected confidence in (0, 1), got {confidence}.")
    return 1 - (1 - confidence) / max(1, family)


def holm(p_values: Sequence[float], family: int | None = None) -> NDArray[np.float64]:
    """Holm's (1979) adjusted p-values, in the given order; valid under every dependence.

    Rejecting where one is at most alpha rejects any true hypothesis with probability at most alpha. `family` counts
    further tests or bounds that share the same alpha, each kept at alpha / family: these take part in the correction.

    >>> [round(float(p), 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or ((p < 0) | (p > 1) | np.isnan(p)).any():
        raise InputError(f"Expected a list of p-values in [0, 1], got {list(p_values)}.")
    total = len(p) if family is None else family
    if total < len(p):
        raise InputError(f"Expected a family of at least {len(p)}, got {total}.")
    order = np.argsort(p)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * (total - np.arange(len(p)))))
    return adjusted
