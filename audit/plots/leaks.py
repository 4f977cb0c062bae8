"""What secrets lost against epsilon: extraction, exposure, membership."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from audit import curves
from audit.curves import EpsilonAxis
from audit.formatting import one_line
from audit.plots.frames import (
    ALLOWED,
    MARKERS,
    UNLEARNT,
    epsilon_axis,
    finite,
    intervals,
    legend,
    make_panels,
    ordered_colours,
    records,
    unlearnt,
)
from audit.results import Extraction, Interval, RunResult
from audit.themes import LIGHT, Theme, style

CONTROL = "without noise, same learning rate"
ESTIMATED = "hollow: ranks partly estimated"
PROVEN = "thin: from the proven floor to the proven cap of estimates"
BARS = "bar: 95% interval"
SPREAD = 0.28
"""How far apart the first and last curve stand at one epsilon, as a share of the mean distance of epsilons."""

WIDTH = 2.4
"""Of the bars, in points: wide enough to tell them from the thin whiskers between proven limits."""

FRAMES = ("best possible", "chance", ALLOWED, CONTROL, BARS, ESTIMATED, PROVEN, UNLEARNT)


def extraction(result: RunResult, theme: Theme = LIGHT) -> Figure | None:
    """Extraction rate, exposure and membership AUC of secrets; a row for each attack that extracts. None without."""
    rows = [
        (f"{name} · {attack}", cells, series)
        for name, cells in curves.pipelines(result).items()
        for attack, series in curves.extraction_series(cells).items()
    ]
    if not rows:
        return None
    with mpl.rc_context(style(theme)):
        figure, axes = make_panels(3 * len(rows), width=3.7, height=3.6, columns=3)
        for i, (name, cells, series) in enumerate(rows):
            row, axis = axes[3 * i : 3 * i + 3], EpsilonAxis(curves.epsilons(cells))
            _extraction_row(row, axis, series, theme)
            for ax in row:
                unlearnt(ax, axis, curves.unlearnt(cells), theme)
            row[0].set_title(one_line(name), loc="left")
        figure.get_layout_engine().set(w_pad=0.12)  # type: ignore[union-attr, call-arg]
        legend(figure, axes, columns=6, last=FRAMES)
    return figure


def secrets(result: RunResult, theme: Theme = LIGHT) -> Figure | None:
    """Top-1 and top-k extraction and membership AUC on one epsilon axis; a panel for each attack and repetition count.

    None where no attack looks at the k likeliest values.
    """
    panels = [
        (f"{name} · {attack}: " + records(count), cells, points)
        for name, cells in curves.pipelines(result).items()
        for attack, series in curves.extraction_series(cells).items()
        for count, points in series.items()
        if count and any(row.top for _, row in points)
    ]
    if not panels:
        return None
    with mpl.rc_context(style(theme)):
        figure, axes = make_panels(len(panels), width=3.9, height=3.3, columns=4)
        for ax, (name, cells, points) in zip(axes, panels, strict=True):
            axis = EpsilonAxis(curves.epsilons(cells))
            _secrets_panel(ax, axis, points, theme)
            unlearnt(ax, axis, curves.unlearnt(cells), theme)
            ax.set_title(one_line(name), size=9)
        legend(figure, axes, columns=5, last=FRAMES)
    return figure


def _secrets_panel(ax: Axes, axis: EpsilonAxis, points: Sequence[tuple[float, Extraction]], theme: Theme) -> None:
    lines = {f"top-{k} extraction": [(e, dict(row.top)[k]) for e, row in points] for k, _ in points[0][1].top}
    lines["membership AUC"] = [(e, row.auc_interval) for e, row in points if row.auc_interval]
    for i, (label, found) in enumerate(lines.items()):
        look: dict[str, Any] = {"color": theme.series[i % len(theme.series)], "label": label}
        look["marker"] = MARKERS[i % len(MARKERS)]
        if found:
            intervals(ax, axis, found, shift=0.12 * (i - 1), **look)
            _control(ax, found, look["color"], theme)
    allowed = [(e, row.allowed) for e, row in points if row.allowed is not None]
    if allowed:
        # No line: between two epsilons the claim may allow more than a straight one would say.
        places = [axis.at(e, 0.0) for e, _ in allowed]
        ax.plot(
            places, [most for _, most in allowed], ls="", marker="_", ms=16, color=theme.ink, label=ALLOWED, zorder=2
        )
    ax.set_ylim(-0.02, 1.03)
    epsilon_axis(ax, axis, theme)
    ax.set_ylabel("share of secrets; AUC")


def _extraction_row(
    axes: Sequence[Axes], axis: EpsilonAxis, series: dict[int, list[tuple[float, Extraction]]], theme: Theme
) -> None:
    rate, exposure, auc = axes
    inserted = [count for count in series if count]
    ordered = ordered_colours(inserted, theme)
    for i, (count, points) in enumerate(series.items()):
        look: dict[str, Any] = {
            "color": ordered.get(count, theme.muted),
            "marker": MARKERS[inserted.index(count) % len(MARKERS)] if count else "x",
            "ls": "-" if count else (0, (4, 2)),
            "label": f"{count} {'copy' if count == 1 else 'copies'}" if count else "never inserted",
        }
        shift = SPREAD * (i - (len(series) - 1) / 2) / max(1, len(series) - 1)
        shown = (
            (rate, [(e, _times(row.rate, 100)) for e, row in points]),
            (exposure, [(e, row.exposure_interval or _certain(row.exposure)) for e, row in points]),
            (auc, [(e, row.auc_interval or _certain(row.auc)) for e, row in points if row.auc is not None]),
        )
        for ax, all_found in shown:
            found = [(e, interval) for e, interval in all_found if math.isfinite(interval.value)]
            if found:
                intervals(ax, axis, found, shift=shift, width=WIDTH, **look)
                if count:
                    _control(ax, found, look["color"], theme)
        if count:
            _estimates(exposure, axis, points, shift, look, theme)
    rate.plot([], [], color=theme.ink, lw=WIDTH, alpha=0.75, label=BARS)
    highest = max(finite(row.exposure_max for points in series.values() for _, row in points), default=0.0)
    _levels(rate, 100, 100 * 2.0**-highest, theme)
    _levels(exposure, highest, curves.chance_exposure(highest), theme)
    _levels(auc, 1, 0.5, theme)
    for ax, label in zip(axes, ("secrets decoded exactly (%)", "mean exposure (bits)", "membership AUC"), strict=True):
        epsilon_axis(ax, axis, theme)
        ax.set_ylabel(label)
    if not auc.lines[2:]:
        auc.set_visible(False)
    if all(math.isnan(row.exposure) for points in series.values() for _, row in points):  # an attack that ranks nothing
        exposure.set_visible(False)


def _control(ax: Axes, found: Sequence[tuple[float, Interval]], colour: str, theme: Theme) -> None:
    """A line at what the same training showed without noise, where it was measured."""
    if math.isinf(found[-1][0]):
        dashed: dict[str, Any] = {"lw": 0.9, "ls": (0, (5, 3))}
        ax.axhline(found[-1][1].value, color=colour, zorder=1, label="_control", **dashed)
        ax.plot([], [], color=theme.muted, label=CONTROL, **dashed)


def _proven(row: Extraction) -> bool:
    """Whether an exposure is estimated, and lies between limits that are proven."""
    return row.exact < 1 and all(map(math.isfinite, (row.exposure, row.exposure_floor, row.exposure_cap)))


def _estimates(
    ax: Axes,
    axis: EpsilonAxis,
    points: Sequence[tuple[float, Extraction]],
    shift: float,
    look: Mapping[str, Any],
    theme: Theme,
) -> None:
    """Hollow markers where ranks are estimated, each with a whisker between what is proven of them."""
    guessed = [(e, row) for e, row in points if row.exact < 1 and math.isfinite(row.exposure)]
    plain = {"color": look["color"], "marker": look["marker"], "mfc": theme.surface, "ls": ""}
    if guessed:
        xs, ys = axis.line([(e, row.exposure) for e, row in guessed], shift)
        ax.plot(xs, ys, zorder=3, label="_estimated", **plain)
        ax.plot([], [], ls="", marker="o", color=theme.ink, mfc=theme.surface, label=ESTIMATED)
    proven = [(e, row) for e, row in guessed if _proven(row)]
    if proven:
        places = [axis.at(e, shift) for e, _ in proven]
        ends = [row.exposure_floor for _, row in proven], [row.exposure_cap for _, row in proven]
        pale: dict[str, Any] = {"color": look["color"], "alpha": 0.45, "zorder": 1.5}
        ax.vlines(places, *ends, lw=0.9, label="_proven", **pale)
        ax.plot(places * 2, [*ends[0], *ends[1]], ls="", marker="_", ms=4, mew=0.9, label="_ends", **pale)
        ax.plot([], [], color=theme.ink, lw=0.9, alpha=0.45, label=PROVEN)


def _levels(ax: Axes, best: float, chance: float, theme: Theme) -> None:
    ax.axhline(best, color=theme.ink, lw=1, ls=(0, (1, 1.4)), label="best possible", zorder=1)
    ax.axhline(chance, color=theme.muted, lw=1, ls=(0, (6, 2, 1, 2)), label="chance", zorder=1)


def _certain(value: float) -> Interval:
    return Interval(value, value, value)


def _times(interval: Interval, factor: float) -> Interval:
    return Interval(factor * interval.value, factor * interval.low, factor * interval.high)
