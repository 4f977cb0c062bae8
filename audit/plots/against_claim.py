"""Lower bounds against the epsilon that is claimed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from audit import curves
from audit.curves import EpsilonAxis
from audit.formatting import one_line, setting, upper
from audit.plots.frames import MARKERS, epsilon_axis, finite, legend, make_panels
from audit.results import RunResult
from audit.themes import LIGHT, Theme, style

CEILING = "largest bound this sample size could have shown"
CLAIM = "the claim"
REFUTED = "above the claim: refuted"


def bounds(result: RunResult, theme: Theme = LIGHT) -> Figure | None:
    """Empirical lower bound against claimed epsilon; a panel for each pipeline. None without bounds."""
    panels = {name: cells for name, cells in curves.pipelines(result).items() if curves.bound_series(cells)}
    if not panels:
        return None
    series = {name: curves.bound_series(cells) for name, cells in panels.items()}
    looks = _looks([s for found in series.values() for s in found], theme)
    with mpl.rc_context(style(theme)):
        figure, axes = make_panels(len(panels), width=5.4, height=4.1)
        for ax, (name, cells) in zip(axes, panels.items(), strict=True):
            _bounds_panel(ax, EpsilonAxis(curves.epsilons(cells)), series[name], looks, theme)
            ax.set_title(one_line(name))
        legend(figure, axes, columns=2, last=(CLAIM, CEILING, REFUTED))
    return figure


def _looks(series: Sequence[curves.BoundSeries], theme: Theme) -> dict[tuple[str, str], dict[str, Any]]:
    """A colour for each attack, a marker for each estimator; parametric ones hollow and dashed."""
    attacks = list(dict.fromkeys(s.attack for s in series))
    estimators = list(dict.fromkeys(s.estimator for s in series))
    looks = {}
    for s in series:
        colour = theme.series[attacks.index(s.attack) % len(theme.series)]
        looks[s.attack, s.estimator] = {
            "color": colour,
            "ls": (0, (4, 2)) if s.parametric else "-",
            "marker": MARKERS[estimators.index(s.estimator) % len(MARKERS)],
            "mfc": theme.surface if s.parametric else colour,
            "mec": colour if s.parametric else theme.surface,
            "mew": 1.6 if s.parametric else 0.7,
            "label": one_line(f"{s.attack} · {s.estimator}")
            + (" (parametric: assumes a curve)" if s.parametric else ""),
        }
    return looks


def _bounds_panel(
    ax: Axes,
    axis: EpsilonAxis,
    series: Sequence[curves.BoundSeries],
    looks: dict[tuple[str, str], dict[str, Any]],
    theme: Theme,
) -> None:
    top = finite([*(v for s in series for _, b in s.points for v in (b.epsilon, b.ceiling)), *axis.finite])
    limit = math.expm1(1.06 * math.log1p(max(top, default=1.0) or 1.0))
    _diagonal(ax, axis, limit, theme)
    for i, s in enumerate(series):  # later markers are smaller: equal points stay visible as rings
        xs, ys = axis.line([(epsilon, bound.epsilon) for epsilon, bound in s.points])
        ax.plot(xs, ys, ms=max(5.0, 9.0 - i), zorder=3 + 0.01 * i, clip_on=False, **looks[s.attack, s.estimator])
    _ceilings(ax, axis, series, limit, theme)
    ax.set_yscale("function", functions=(np.log1p, np.expm1))
    ax.set_ylim(0, limit)
    ax.yaxis.set_major_locator(FixedLocator(curves.log1p_ticks(limit)))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: setting(y)))
    epsilon_axis(ax, axis, theme)
    ax.set_ylabel("empirical lower bound on ε (nats)")


def _diagonal(ax: Axes, axis: EpsilonAxis, limit: float, theme: Theme) -> None:
    if axis.finite:
        ends = [math.expm1(axis.left), math.expm1(axis.end)]
        ax.fill_between(ends, ends, [max(limit, ends[1])] * 2, color=theme.refuted, lw=0, zorder=0, label=REFUTED)
        ax.plot(ends, ends, color=theme.ink, lw=1.3, label=CLAIM, zorder=2)


def _ceilings(ax: Axes, axis: EpsilonAxis, series: Sequence[curves.BoundSeries], limit: float, theme: Theme) -> None:
    """One stepped line for each ceiling that differs, its estimators named at the right edge."""
    lines: dict[tuple[tuple[float, float], ...], list[str]] = {}
    for s in series:
        names = lines.setdefault(tuple((epsilon, bound.ceiling) for epsilon, bound in s.points), [])
        names += [s.estimator] if s.estimator not in names else []
    places = curves.spread([math.log1p(min(points[-1][1], limit)) for points in lines], 0.055 * math.log1p(limit))
    for (points, names), place in zip(lines.items(), places, strict=True):
        ax.plot(*axis.steps(points), color=theme.muted, lw=1.5, ls=(0, (1, 1.4)), label=CEILING, zorder=2.5)
        text = one_line(f"≤ {upper(points[-1][1])} " + ", ".join(names))
        ax.annotate(
            text, (1, math.expm1(place)), (5, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
            va="center", size=7.5, color=theme.muted, annotation_clip=False,
        )  # fmt: skip
