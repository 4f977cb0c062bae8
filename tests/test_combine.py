import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.combine import holm, simultaneous_confidence
from canaries.errors import InputError


@given(st.lists(st.floats(0, 1), max_size=8), st.integers(0, 5), st.floats(0.001, 0.5))
def test_holm_steps_down_as_the_textbook_does(p: list[float], more: int, alpha: float) -> None:
    family = len(p) + more
    rejected: set[int] = set()
    for step, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        if p[index] * (family - step) > alpha:
            break
        rejected.add(index)
    assert {i for i, value in enumerate(holm(p, family)) if value <= alpha} == rejected


def test_simultaneous_confidence_is_bonferroni() -> None:
    assert simultaneous_confidence(0.95, 1) == pytest.approx(0.95)
    assert simultaneous_confidence(0.9, 10) == pytest.approx(0.99)
    assert simultaneous_confidence(0.9, 0) == pytest.approx(0.9)


def test_bad_values_are_named() -> None:
    with pytest.raises(InputError, match="p-values"):
        holm([np.nan])
    with pytest.raises(InputError, match="family of at least 2, got 1"):
        holm([0.1, 0.2], 1)
    with pytest.raises(InputError, match=r"confidence in \(0, 1\), got 1"):
        simultaneous_confidence(1, 3)
