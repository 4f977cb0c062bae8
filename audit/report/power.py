"""The table of what an audit could show."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table

from audit.formatting import MISSING, upper
from audit.power import Power


def power_table(found: Sequence[Power], epsilon: float, counted: str, count: int, each: str = "") -> Table:
    """One row for each estimator: the ceiling with `count`, and how many are needed for shares of the claim.

    `each` says of the title's models what they hold.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left", caption_justify="left")
    table.title = f"Largest ε that a perfect attack could show with {count} {counted}{each}; {epsilon:g} is claimed"
    table.add_column("estimator", overflow="fold")
    table.add_column(f"{count} {counted}")
    shares = list(found[0].needed) if found else []
    for share in shares:
        table.add_column(f"{counted} for {share:.0%}")
    for power in found:
        cells = [_needed(power.needed[share], power.seconds[share]) for share in shares]
        table.add_row(power.estimator + ("†" if power.parametric else ""), upper(power.ceiling), *cells)
    if any(power.parametric for power in found):
        table.caption = "† assumes the shape of the trade-off curve; no verdict rests on it"
    return table


def _needed(count: int | None, seconds: float | None) -> str:
    if count is None:
        return MISSING
    return f"{count:,}" + ("" if seconds is None else f" ({duration(seconds)})")


def duration(seconds: float) -> str:
    """A time as people say it.

    >>> duration(12.34), duration(300), duration(7200), duration(200000)
    ('12.3 s', '5.0 min', '2.0 h', '2.3 days')
    """
    for limit, unit, name in ((60.0, 1.0, "s"), (3600.0, 60.0, "min"), (86400.0, 3600.0, "h")):
        if seconds < limit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds / 86400:.1f} days"
