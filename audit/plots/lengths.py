"""How long secrets must be: bits that the claim alone asks for, and extraction against bits."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from audit import curves
from audit.claim import Claim
from audit.curves import EpsilonAxis
from audit.formatting import one_line, setting
from audit.plots.frames import ALLOWED, MARKERS, epsilon_axis, legend, make_panels, ordered_colours, records
from audit.results import CellResult, Extraction, RunResult
from audit.secret_bits import MOST_BITS, ORDERS, allowed_by, divergence_of, renyi_success
from audit.themes import LIGHT, Theme, style

HELD = "bits of the secrets here"
RENYI = "the same by the Renyi bound"
ENDLESS = f"at the edge: more than {MOST_BITS:g} bits"
FRAMES = (ALLOWED, RENYI, HELD, ENDLESS)
DOTTED = (0, (1, 1.4))
FEW_ORDERS = ORDERS[4:80:4]
"""Renyi orders of a drawn bound: fewer make it higher, never wrong."""


def bits(result: RunResult, theme: Theme = LIGHT) -> Figure | None:
    """Bits that a secret needs by the claim alone; and extraction against bits, where secrets differ in length."""
    needed = {
        name: (cells, found) for name, cells in curves.pipelines(result).items() if (found := curves.bits_needed(cells))
    }
    measured = {
        (name, *key): (cells, found)
        for name, cells in curves.pipelines(result).items()
        for key, found in curves.length_series(cells).items()
    }
    if not needed and not measured:
        return None
    with mpl.rc_context(style(theme)):
        figure, axes = make_panels(len(needed) + len(measured), width=4.2, height=3.4)
        for ax, (name, (cells, counts)) in zip(axes, needed.items(), strict=False):
            _needed_panel(ax, EpsilonAxis(e for e in curves.epsilons(cells) if math.isfinite(e)), counts, cells, theme)
            ax.set_title(one_line(name))
        for ax, ((name, attack, count), (cells, rows)) in zip(axes[len(needed) :], measured.items(), strict=True):
            _length_panel(ax, {c.claim.epsilon: c.claim for c in cells}, count, rows, theme)
            ax.set_title(one_line(f"{name} · {attack}: {records(count)}"))
        legend(figure, axes, columns=4, last=FRAMES)
    return figure


def _needed_panel(
    ax: Axes,
    axis: EpsilonAxis,
    counts: dict[int, list[tuple[float, float]]],
    cells: Iterable[CellResult],
    theme: Theme,
) -> None:
    # Colours of the series, where the other panels have ordered ones: those stand for epsilon in the one legend.
    for i, (count, points) in enumerate(counts.items()):
        colour, marker = theme.series[i % len(theme.series)], MARKERS[i % len(MARKERS)]
        finite = [(epsilon, bits) for epsilon, bits in points if math.isfinite(bits)]
        ax.plot(*axis.line(finite), color=colour, marker=marker, label=records(count))
        shift = 0.16 * (i - (len(counts) - 1) / 2)
        places = [axis.at(epsilon, shift) for epsilon, bits in points if math.isinf(bits)]
        look: dict[str, Any] = {"color": colour, "marker": marker, "mfc": theme.surface, "ls": "", "clip_on": False}
        if places:
            ax.plot(places, [MOST_BITS] * len(places), zorder=4, label=f"_endless {count}", **look)
    if any(math.isinf(bits) for points in counts.values() for _, bits in points):
        ax.plot([], [], ls="", marker="o", color=theme.ink, mfc=theme.surface, label=ENDLESS)
    for held in sorted({row.exposure_max for c in cells for a in c.attacks for row in a.extraction}):
        ax.axhline(held, color=theme.ink, lw=1, ls=DOTTED, label=HELD, zorder=1)
    ax.set_yscale("log", base=2)
    ax.set_ylim(4, MOST_BITS)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: setting(y)))
    epsilon_axis(ax, axis, theme)
    ax.set_ylabel("bits so that one guess is ≤ 1%")


def _length_panel(
    ax: Axes, claims: dict[float, Claim], count: int, rows: dict[float, list[Extraction]], theme: Theme
) -> None:
    colours = ordered_colours(list(rows), theme)
    lengths = [row.exposure_max for found in rows.values() for row in found]
    apart = 0.018 * (max(lengths) - min(lengths))
    for i, (epsilon, found) in enumerate(rows.items()):
        label = f"ε = {setting(epsilon)}" + (" (no noise)" if math.isinf(epsilon) else "")
        shift = apart * (i - (len(rows) - 1) / 2)  # so that intervals do not hide each other
        places, shares = [row.exposure_max + shift for row in found], [dict(row.top)[1] for row in found]
        ax.plot(
            places,
            [share.value for share in shares],
            color=colours[epsilon],
            marker=MARKERS[-1 - i % len(MARKERS)],
            label=label,
        )
        ax.vlines(places, [s.low for s in shares], [s.high for s in shares], color=colours[epsilon], lw=1.2)
        if math.isfinite(epsilon):
            allowed = allowed_by(claims[epsilon], count)
            grid = np.linspace(min(lengths), max(lengths), 40)
            ax.plot(grid, [allowed(2.0**-x) for x in grid], color=colours[epsilon], ls=DOTTED, label="_allowed")
            if (mechanism := claims[epsilon].mechanism) and claims[epsilon].has_curve:
                divergence = divergence_of(mechanism, count, FEW_ORDERS)
                most = [renyi_success(2.0**-x, divergence, FEW_ORDERS) for x in grid]
                ax.plot(grid, most, color=colours[epsilon], lw=0.8, label="_renyi")
                ax.plot([], [], color=theme.ink, lw=0.8, label=RENYI)
    ax.plot([], [], color=theme.ink, ls=DOTTED, label=ALLOWED)
    ax.set_ylim(-0.02, 1.03)
    ax.set_xlabel("bits of the secret")
    ax.set_ylabel("top-1 extraction")
