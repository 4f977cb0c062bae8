"""What all plots share: panels, the epsilon axis, intervals, colours, legends, files. It keeps no global state."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from audit import curves
from audit.curves import EpsilonAxis
from audit.results import Interval
from audit.themes import Theme

MARKERS = "osD^vP"
ALLOWED = "most that the claim allows one guess"
UNLEARNT = "held-out loss no better than the unigram model's"


def svg(figure: Figure) -> bytes:
    """The figure as SVG, without dates."""
    return _write(figure, "svg", {"Date": None, "Creator": "Firedamp"})


def png(figure: Figure) -> bytes:
    """The figure as PNG, 160 dots per inch."""
    return _write(figure, "png", {"Software": "Firedamp"})


def make_panels(count: int, width: float, height: float, columns: int = 3) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, each of this width and height in inches, in rows of at most `columns`."""
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(max(width * columns, 5.0), height * rows + 0.7), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in grid[count:]:
        ax.set_visible(False)
    return figure, list(grid[:count])


def legend(figure: Figure, axes: Sequence[Axes], columns: int, last: Sequence[str] = ()) -> None:
    """One legend below the panels, each entry once; what frames the data comes last."""
    entries: dict[str, Any] = {}
    for ax in axes:
        for handle in (*ax.lines, *ax.collections, *ax.patches):
            label = str(handle.get_label())
            if not label.startswith("_"):
                entries.setdefault(label, handle)
    labels = [label for label in entries if label not in last] + [label for label in last if label in entries]
    while columns > 1 and curves.legend_width(labels, columns) > figure.get_figwidth():
        columns -= 1
    figure.legend([entries[x] for x in labels], labels, loc="outside lower center", ncols=columns, handlelength=3)


def epsilon_axis(ax: Axes, axis: EpsilonAxis, theme: Theme) -> None:
    """Scale, limits and ticks, and the break before infinity."""
    ax.set_xscale("function", functions=(np.log1p, np.expm1))
    ax.set_xlim(math.expm1(axis.left), math.expm1(axis.right))
    ticks = axis.ticks()
    ax.xaxis.set_major_locator(FixedLocator(list(ticks)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: ticks[min(ticks, key=lambda tick: abs(tick - x))]))
    ax.set_xlabel("claimed ε (nats)")
    if axis.has_inf and axis.finite:
        place = axis.end + 0.05 * axis.step
        edge = (place - axis.left) / (axis.right - axis.left)
        ax.axvline(math.expm1(place), color=theme.muted, lw=0.8, ls=(0, (1, 3)), zorder=0, label="_break")
        ax.text(
            edge,
            0,
            "//",
            transform=ax.transAxes,
            ha="center",
            va="center",
            color=theme.muted,
            backgroundcolor=theme.surface,
        )


def intervals(
    ax: Axes,
    axis: EpsilonAxis,
    points: Sequence[tuple[float, Interval]],
    shift: float = 0.0,
    width: float = 1.2,
    **look: Any,
) -> None:
    """A line with a bar from low to high at each point, so many points (1/72 inch) wide."""
    xs, ys = axis.line([(epsilon, i.value) for epsilon, i in points], shift)
    ax.plot(xs, ys, zorder=3, **look)
    places = [axis.at(epsilon, shift) for epsilon, _ in points]
    ax.vlines(
        places, [i.low for _, i in points], [i.high for _, i in points], color=look["color"], lw=width, alpha=0.75
    )


def ordered_colours(levels: Sequence[float], theme: Theme) -> dict[float, str]:
    """Colours that grow with the level; infinity, which is a control and no level, takes the ink."""
    finite = [level for level in levels if math.isfinite(level)]
    shades = mpl.colormaps["viridis"](np.linspace(*theme.ordered, max(2, len(finite))))
    named = {level: mpl.colors.to_hex(shade) for level, shade in zip(finite, shades, strict=False)}
    return {level: named.get(level, theme.ink) for level in levels}


def unlearnt(ax: Axes, axis: EpsilonAxis, epsilons: Iterable[float], theme: Theme) -> None:
    """A band where models are no better than the unigram model: what is not extracted there was not protected."""
    for epsilon in epsilons:
        ends = axis.at(epsilon, -0.14), axis.at(epsilon, 0.14)
        ax.axvspan(*ends, color=theme.grid, lw=0, zorder=0.5, label=UNLEARNT)


def records(count: int) -> str:
    """How many records hold a secret, in words."""
    return f"{count} record" + ("s" if count > 1 else "")


def finite(values: Iterable[float]) -> list[float]:
    """Those of the values that have a place on an axis."""
    return [value for value in values if math.isfinite(value)]


def _write(figure: Figure, kind: str, metadata: dict[str, str | None]) -> bytes:
    buffer = io.BytesIO()
    rc: dict[Any, Any] = {"svg.hashsalt": "firedamp", "svg.fonttype": "path", "text.parse_math": False}
    with mpl.rc_context(rc), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format=kind, dpi=160, metadata=metadata)
    return buffer.getvalue()
