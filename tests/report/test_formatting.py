"""Numbers as text: right to three digits, and never rounded in the direction that would make a bound untrue."""

from __future__ import annotations

import doctest
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit import formatting
from audit.formatting import MISSING, confidence, lower, number, p_value, percent, setting, upper

finite = st.floats(min_value=1e-12, max_value=1e12)


def parse(text: str) -> float:
    return float(text.replace(",", "").replace("−", "-"))


def test_examples_in_docstrings():
    assert doctest.testmod(formatting).failed == 0


@given(finite)
def test_three_significant_digits(value: float):
    assert parse(number(value)) == pytest.approx(value, rel=5.01e-3)
    digits = re.sub(r"e.*|[,.]", "", number(value)).lstrip("0")
    assert len(digits.rstrip("0")) <= 3


@given(finite)
def test_a_bound_is_never_rounded_up_nor_a_ceiling_down(value: float):
    assert parse(lower(value)) <= value <= parse(upper(value))
    assert parse(upper(value)) - parse(lower(value)) <= 0.0101 * value


@given(finite)
def test_negative_numbers_mirror(value: float):
    assert number(-value) == "−" + number(value)


@given(st.floats(0, 1))
def test_p_values_are_short_and_true(value: float):
    text = p_value(value)
    assert len(text) <= 6
    if value < 1e-6:
        assert text == "<1e-6"
    else:
        assert float(text) == pytest.approx(value, rel=0.51, abs=0)
        assert abs(float(text) - value) <= 0.00051


@given(st.floats(0.5, 1 - 1e-12))
def test_confidence_is_never_rounded_up_to_certainty(value: float):
    text = confidence(value)
    assert text != "100%"
    shown = float(text[:-1]) / 100 if text.endswith("%") else 1 - float(text.removeprefix("1 − "))
    assert shown == pytest.approx(value, abs=1.01e-4)


@pytest.mark.parametrize("write", [number, lower, upper, setting, percent, p_value])
def test_what_is_missing_is_a_dash(write):
    assert write(math.nan) == write(None) == MISSING


@pytest.mark.parametrize("write", [number, lower, upper, setting])
def test_infinity_and_zero(write):
    assert (write(math.inf), write(-math.inf), write(0.0)) == ("∞", "−∞", "0")


def test_intervals_without_limits_show_the_value():
    assert formatting.between(0.5, math.nan, math.nan) == "0.500"
    assert formatting.percent_between(0.5, math.nan, math.nan) == "50.0%"
    assert formatting.percent_between(math.nan, 0, 1) == MISSING
