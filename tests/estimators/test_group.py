import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.estimators.group import group_privacy, largest_refuted, per_copy


@given(st.floats(0, 3), st.floats(0, 1e-6), st.integers(1, 8))
def test_group_privacy_is_the_chain_of_single_steps(epsilon: float, delta: float, copies: int) -> None:
    # P_0 <= e^eps P_1 + delta <= e^eps (e^eps P_2 + delta) + delta <= ...: the sum delta (1 + e^eps + ...).
    total = sum(delta * math.exp(i * epsilon) for i in range(copies))
    group = group_privacy(epsilon, delta, copies)
    assert group[0] == copies * epsilon
    assert group[1] == pytest.approx(min(1.0, total), rel=1e-9, abs=1e-300)


def test_group_privacy_of_large_groups_does_not_overflow() -> None:
    assert group_privacy(100.0, 1e-5, 1000) == (100_000.0, 1.0)
    assert group_privacy(100.0, 0.0, 1000) == (100_000.0, 0.0)
    assert group_privacy(1e-300, 1e-5, 3)[1] == pytest.approx(3e-5)
    assert group_privacy(2.0, 0.3, 1) == (2.0, 0.3)


@given(st.floats(0, 1e4))
def test_bisection_finds_the_edge_from_below(edge: float) -> None:
    found = largest_refuted(lambda epsilon: epsilon < edge)
    assert found <= edge
    assert found == pytest.approx(edge, rel=1e-9, abs=1e-9)


def test_bisection_ends_where_everything_is_refuted() -> None:
    assert largest_refuted(lambda epsilon: True) == 2.0**14
    assert largest_refuted(lambda epsilon: False) == 0.0


@given(st.floats(0.1, 20), st.integers(1, 64))
def test_pure_privacy_divides_by_the_copies(edge: float, copies: int) -> None:
    assert per_copy(lambda eps, delta: eps < edge, 0.0, copies) == pytest.approx(edge / copies, rel=1e-9)


def test_the_bound_for_a_copy_solves_the_group_equation() -> None:
    def shown(delta: float) -> float:  # what Clopper-Pearson shows of the group at a delta, say
        return math.log((1 - delta - 0.01) / 0.01) if delta < 0.99 else 0.0

    epsilon = per_copy(lambda eps, delta: eps < shown(delta), 1e-3, 4)
    group, delta = group_privacy(epsilon, 1e-3, 4)
    assert group == pytest.approx(shown(delta), rel=1e-8)
    assert epsilon < shown(1e-3) / 4
