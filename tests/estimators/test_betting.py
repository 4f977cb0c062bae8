import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from attacks.scores import Scores
from audit.estimators import Betting
from audit.estimators.betting import LEVELS, STAKES


def bound(ins: np.ndarray, outs: np.ndarray, confidence: float = 0.95, delta: float = 0.0) -> float:
    return Betting().epsilon(Scores.from_arms(ins, outs), delta, confidence, 0)


def test_a_perfect_attack_by_hand() -> None:
    # From the second pair on every gambler gains stake * e^-eps; on the first, no threshold is known yet.
    n = 60
    epsilon = bound(np.full(n, 1.0), np.zeros(n))

    def wealth(eps: float) -> float:
        top = sum((1 + s * math.exp(-eps)) ** (n - 1) for s in STAKES)
        bottom = sum((1 + s * (math.exp(-eps) - 1)) * (1 + s * math.exp(-eps)) ** (n - 1) for s in STAKES)
        return (top + bottom) / (2 * len(STAKES))

    # Out scores are all equal, so no out score lies above a threshold; all levels agree.
    assert len(LEVELS) > 1
    assert wealth(epsilon) == pytest.approx(20, rel=1e-3)


def test_stopping_at_the_best_moment_is_paid_for() -> None:
    audits, n, above = 200, 120, 0
    for i in range(audits):
        ins, outs = np.random.default_rng([3, i]).normal(0, 1, (2, n))
        above += bound(ins, outs, 0.9) > 0  # the bound is a maximum over all moments
    assert above <= binom.ppf(1 - 1e-4, audits, 0.1)


def test_more_models_never_lower_it() -> None:
    rng = np.random.default_rng(0)
    ins, outs = rng.normal(3, 1, 150), rng.normal(0, 1, 150)
    found = [bound(ins[:n], outs[:n]) for n in (20, 50, 100, 150)]
    assert found == sorted(found)
    assert found[-1] > 1.5


@given(st.integers(0, 10_000), st.data())
@settings(max_examples=15, deadline=None)
def test_bound_never_falls_when_an_in_score_rises(seed: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    ins, outs = rng.normal(2, 1, 30), rng.normal(0, 1, 30)
    raised = ins.copy()
    raised[data.draw(st.integers(0, 29))] += data.draw(st.floats(0, 10))
    assert bound(raised, outs, 0.6) >= bound(ins, outs, 0.6) - 1e-9
