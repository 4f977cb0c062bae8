"""Group privacy, and the one bisection by which estimators turn a test of a claim into a bound for one copy."""

from __future__ import annotations

import math
from collections.abc import Callable

LARGEST = 2.0**14


def group_privacy(epsilon: float, delta: float, copies: int) -> tuple[float, float]:
    """What (epsilon, delta)-DP for one record guarantees for a group of `copies` records.

    Vadhan (2017), The Complexity of Differential Privacy, Lemma 2.2, with its sum kept exact:
    (r eps, delta (e^(r eps) - 1) / (e^eps - 1)); delta is cut at 1, where nothing is guaranteed.

    >>> group_privacy(0.0, 0.01, 3)
    (0.0, 0.03)
    """
    if copies == 1 or delta == 0:
        return copies * epsilon, delta
    if epsilon == 0:
        return 0.0, min(1.0, copies * delta)
    # e^((r-1) eps) (1 - e^(-r eps)) / (1 - e^-eps): the same ratio, in terms that do not overflow.
    ratio = math.log(-math.expm1(-copies * epsilon)) - math.log(-math.expm1(-epsilon))
    return copies * epsilon, math.exp(min(0.0, math.log(delta) + (copies - 1) * epsilon + ratio))


def largest_refuted(refuted: Callable[[float], bool], tolerance: float = 1e-12) -> float:
    """The largest epsilon in [0, 2^14] that a test refutes, and 0 if it refutes none.

    `refuted` must be true up to some epsilon and false beyond. The answer errs downwards, by a relative `tolerance`.
    """
    if not refuted(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while refuted(high):
        if high >= LARGEST:
            return high
        low, high = high, 2 * high
    while high - low > tolerance * max(1.0, high):
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low


def per_copy(refuted: Callable[[float, float], bool], delta: float, copies: int, tolerance: float = 1e-12) -> float:
    """The largest epsilon whose claim for one copy is refuted by a test of what happens to all copies.

    `refuted(epsilon, delta)` tests whether the presence of the whole canary, all its copies, is (epsilon, delta)-DP;
    it must refute less as either grows. A claim (eps, delta) for one copy implies `group_privacy(eps, delta, copies)`
    for the canary, so it falls when that falls. Where canaries differ in copies, the most copies are conservative:
    what is implied for them is implied for fewer.
    """
    return largest_refuted(lambda epsilon: refuted(*group_privacy(epsilon, delta, copies)), tolerance)
