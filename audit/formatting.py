"""Numbers as text, one way everywhere: three significant digits, ∞, and bounds never rounded upwards."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

MISSING = "–"


def number(value: float | None) -> str:
    """A measured value with three significant digits.

    >>> number(0.5), number(3.2767), number(12345.6), number(0.0000123), number(math.inf), number(None)
    ('0.500', '3.28', '12,300', '1.23e-5', '∞', '–')
    """
    return _significant(value, ROUND_HALF_EVEN)


def lower(value: float | None) -> str:
    """A lower bound with three significant digits, rounded down: what is printed stays proven.

    >>> lower(3.279), lower(0.0)
    ('3.27', '0')
    """
    return _significant(value, ROUND_FLOOR)


def upper(value: float | None) -> str:
    """A ceiling with three significant digits, rounded up: what is printed stays a ceiling.

    >>> upper(3.271)
    '3.28'
    """
    return _significant(value, ROUND_CEILING)


def setting(value: float | None) -> str:
    """A value that somebody chose, as they would write it.

    >>> setting(8.0), setting(1e-05), setting(0.25), setting(math.inf)
    ('8', '1e-5', '0.25', '∞')
    """
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    mantissa, _, exponent = f"{value:g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def p_value(value: float | None) -> str:
    """A p-value: three decimals, one digit below a thousandth, "<1e-6" below a millionth.

    >>> p_value(0.0031), p_value(0.00002), p_value(0.0), p_value(None)
    ('0.003', '2e-5', '<1e-6', '–')
    """
    if value is None or math.isnan(value):
        return MISSING
    if value < 1e-6:
        return "<1e-6"
    return f"{value:.3f}" if value >= 9.5e-4 else setting(float(f"{value:.0e}"))


def percent(value: float | None) -> str:
    """A share as a percentage with three significant digits.

    >>> percent(0.957), percent(0.0), percent(1.0)
    ('95.7%', '0%', '100%')
    """
    return MISSING if value is None or math.isnan(value) else number(100 * value) + "%"


def confidence(value: float) -> str:
    """A confidence level, never rounded up to certainty.

    >>> confidence(0.95), confidence(0.99917), confidence(0.9999999)
    ('95%', '99.91%', '1 − 1e-7')
    """
    if value >= 0.9999:
        return f"1 − {setting(float(f'{1 - value:.2g}'))}"
    return f"{math.floor(round(1e4 * value, 6)) / 100:g}%"


def between(value: float, low: float, high: float) -> str:
    """A measured value with its limits.

    >>> between(0.61, 0.55, 0.67), between(math.nan, math.nan, math.nan)
    ('0.610 (0.550–0.670)', '–')
    """
    if math.isnan(value):
        return MISSING
    if math.isnan(low) or math.isnan(high):
        return number(value)
    return f"{number(value)} ({number(low)}–{number(high)})"


def percent_between(value: float, low: float, high: float) -> str:
    """A share with its limits, as percentages.

    >>> percent_between(0.96, 0.9, 0.98)
    '96.0% (90.0–98.0%)'
    """
    if math.isnan(value):
        return MISSING
    if math.isnan(low) or math.isnan(high):
        return percent(value)
    return f"{percent(value)} ({number(100 * low)}–{percent(high)})"


def one_line(text: str, most: int = 48) -> str:
    r"""Anybody's text as a label: one line, printable, no longer than `most`.

    >>> one_line("a\n b"), one_line("abcdef", 4)
    ('a b', 'abc…')
    """
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= most else text[: most - 1] + "…"


def _significant(value: float | None, rounding: str) -> str:
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    exact = Decimal(repr(float(value)))
    rounded = exact.quantize(Decimal(1).scaleb(exact.adjusted() - 2), rounding)
    if rounded.adjusted() > exact.adjusted():
        rounded = rounded.quantize(Decimal(1).scaleb(rounded.adjusted() - 2))
    if -3 <= rounded.adjusted() < 6:
        text = f"{rounded:,f}"
    else:
        text = f"{rounded.scaleb(-rounded.adjusted()):f}e{rounded.adjusted()}"
    return text.replace("-", "−", 1) if rounded < 0 else text
