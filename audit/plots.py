"""The plots of a run. The only module that imports matplotlib; it keeps no global state."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from attacks.scores import Scores
from audit import curves
from audit.claim import Claim
from audit.curves import EpsilonAxis
from audit.formatting import one_line, setting, upper
from audit.results import CellResult, Extraction, Interval, RunResult
from audit.secret_bits import MOST_BITS, ORDERS, allowed_by, divergence_of, renyi_success
from audit.themes import LIGHT, Theme, style
from audit.utility import TEXT_LOSS, UNIGRAM

MARKERS = "osD^vP"
CEILING = "largest bound this sample size could have shown"
CLAIM = "the claim"
REFUTED = "above the claim: refuted"
ALLOWED = "most that the claim allows one guess"
CONTROL = "without noise, same learning rate"
HELD = "bits of the secrets here"
RENYI = "the same by the Renyi bound"
ESTIMATED = "hollow: ranks partly estimated"
UNLEARNT = "held-out loss no better than the unigram model's"
ENDLESS = f"at the edge: more than {MOST_BITS:g} bits"
FEW_ORDERS = ORDERS[4:80:4]
"""Renyi orders of a drawn bound: fewer make it higher, never wrong."""

FRAMES = ("best possible", "chance", ALLOWED, RENYI, CONTROL, HELD, ESTIMATED, ENDLESS, UNLEARNT)


def figures(result: RunResult, theme: Theme = LIGHT) -> dict[str, Figure]:
    """Every plot that has something to show, by name: bounds, extraction, secrets, bits, roc, utility."""
    makers = {
        "bounds": bounds,
        "extraction": extraction,
        "secrets": secrets,
        "bits": bits,
        "roc": roc,
        "utility": utility,
    }
    drawn = {name: make(result, theme) for name, make in makers.items()}
    return {name: figure for name, figure in drawn.items() if figure is not None}


def save_plots(result: RunResult, folder: str | Path) -> list[Path]:
    """Write every plot as PNG and SVG into `folder`; equal results give equal bytes."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in figures(result).items():
        paths += [folder / f"{name}.png", folder / f"{name}.svg"]
        paths[-2].write_bytes(png(figure))
        paths[-1].write_bytes(svg(figure))
    return paths


def svg(figure: Figure) -> bytes:
    """The figure as SVG, without dates."""
    return _write(figure, "svg", {"Date": None, "Creator": "Firedamp"})


def png(figure: Figure) -> bytes:
    """The figure as PNG, 160 dots per inch."""
    return _write(figure, "png", {"Software": "Firedamp"})


def bounds(result: RunResult, theme: Theme = LIGHT) -> Figure | None:
    """Empirical lower bound against claimed epsilon; a panel for each pipeline. None without bounds."""
    panels = {name: cells for name, cells in curves.pipelines(result).items() if curves.bound_series(cells)}
    if not panels:
        return None
    series = {name: curves.bound_series(cells) for name, cells in panels.items()}
    looks = _looks([s for found in series.values() for s in found], theme)
    with mpl.rc_context(style(theme)):
        figure, axes = _panels(len(panels), width=5.4, height=4.1)
        for ax, (name, cells) in zip(axes, panels.items(), strict=True):
            _bounds_panel(ax, EpsilonAxis(curves.epsilons(cells)), series[name], looks, theme)
            ax.set_title(one_line(name))
        _legend(figure, axes, columns=2, last=(CLAIM, CEILING, REFUTED))
    return figure


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
        figure, axes = _panels(3 * len(rows), width=3.7, height=3.6, columns=3)
        for i, (name, cells, series) in enumerate(rows):
            row, axis = axes[3 * i : 3 * i + 3], EpsilonAxis(curves.epsilons(cells))
            _extraction_row(row, axis, series, theme)
            for ax in row:
                _unlearnt(ax, axis, curves.unlearnt(cells), theme)
            row[0].set_title(one_line(name), loc="left")
        figure.get_layout_engine().set(w_pad=0.12)  # type: ignore[union-attr, call-arg]
        _legend(figure, axes, columns=6, last=FRAMES)
    return figure


def secrets(result: RunResult, theme: Theme = LIGHT) -> Figure | None:
    """Top-1 and top-k extraction and membership AUC on one epsilon axis; a panel for each attack and repetition count.

    None where no attack looks at the k likeliest values.
    """
    panels = [
        (f"{name} · {attack}: " + _records(count), cells, points)
        for name, cells in curves.pipelines(result).items()
        for attack, series in curves.extraction_series(cells).items()
        for count, points in series.items()
        if count and any(row.top for _, row in points)
    ]
    if not panels:
        return None
    with mpl.rc_context(style(theme)):
        figure, axes = _panels(len(panels), width=3.9, height=3.3, columns=4)
        for ax, (name, cells, points) in zip(axes, panels, strict=True):
            axis = EpsilonAxis(curves.epsilons(cells))
            _secrets_panel(ax, axis, points, theme)
            _unlearnt(ax, axis, curves.unlearnt(cells), theme)
            ax.set_title(one_line(name), size=9)
        _legend(figure, axes, columns=5, last=FRAMES)
    return figure


def _unlearnt(ax: Axes, axis: EpsilonAxis, epsilons: Iterable[float], theme: Theme) -> None:
    """A band where models are no better than the unigram model: what is not extracted there was not protected."""
    for epsilon in epsilons:
        ends = axis.at(epsilon, -0.14), axis.at(epsilon, 0.14)
        ax.axvspan(*ends, color=theme.grid, lw=0, zorder=0.5, label=UNLEARNT)


def _records(count: int) -> str:
    return f"{count} record" + ("s" if count > 1 else "")


def _secrets_panel(ax: Axes, axis: EpsilonAxis, points: Sequence[tuple[float, Extraction]], theme: Theme) -> None:
    lines = {f"top-{k} extraction": [(e, dict(row.top)[k]) for e, row in points] for k, _ in points[0][1].top}
    lines["membership AUC"] = [(e, row.auc_interval) for e, row in points if row.auc_interval]
    for i, (label, found) in enumerate(lines.items()):
        look: dict[str, Any] = {"color": theme.series[i % len(theme.series)], "marker": MARKERS[i], "label": label}
        if found:
            _intervals(ax, axis, found, shift=0.12 * (i - 1), **look)
            if math.isinf(found[-1][0]):
                ax.axhline(found[-1][1].value, color=look["color"], lw=0.9, ls=(0, (5, 3)), zorder=1, label="_control")
    ax.plot([], [], color=theme.muted, lw=0.9, ls=(0, (5, 3)), label=CONTROL)
    allowed = [(e, row.allowed) for e, row in points if row.allowed is not None]
    if allowed:
        ax.plot(*axis.line(allowed), color=theme.ink, lw=1.2, ls=(0, (1, 1.4)), label=ALLOWED, zorder=2)
    ax.set_ylim(-0.02, 1.03)
    _epsilon_axis(ax, axis, theme)
    ax.set_ylabel("share of secrets; AUC")


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
        figure, axes = _panels(len(needed) + len(measured), width=4.2, height=3.4)
        for ax, (name, (cells, counts)) in zip(axes, needed.items(), strict=False):
            _needed_panel(ax, EpsilonAxis(e for e in curves.epsilons(cells) if math.isfinite(e)), counts, cells, theme)
            ax.set_title(one_line(name))
        for ax, ((name, attack, count), (cells, rows)) in zip(axes[len(needed) :], measured.items(), strict=True):
            _length_panel(ax, {c.claim.epsilon: c.claim for c in cells}, count, rows, theme)
            ax.set_title(one_line(f"{name} · {attack}: {_records(count)}"))
        _legend(figure, axes, columns=4, last=FRAMES)
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
        ax.plot(*axis.line(finite), color=colour, marker=marker, label=_records(count))
        shift = 0.16 * (i - (len(counts) - 1) / 2)
        places = [axis.at(epsilon, shift) for epsilon, bits in points if math.isinf(bits)]
        look: dict[str, Any] = {"color": colour, "marker": marker, "mfc": theme.surface, "ls": "", "clip_on": False}
        if places:
            ax.plot(places, [MOST_BITS] * len(places), zorder=4, label=f"_endless {count}", **look)
    if any(math.isinf(bits) for points in counts.values() for _, bits in points):
        ax.plot([], [], ls="", marker="o", color=theme.ink, mfc=theme.surface, label=ENDLESS)
    for held in sorted({row.exposure_max for c in cells for a in c.attacks for row in a.extraction}):
        ax.axhline(held, color=theme.ink, lw=1, ls=(0, (1, 1.4)), label=HELD, zorder=1)
    ax.set_yscale("log", base=2)
    ax.set_ylim(4, MOST_BITS)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: setting(y)))
    _epsilon_axis(ax, axis, theme)
    ax.set_ylabel("bits so that one guess is ≤ 1%")


def _length_panel(
    ax: Axes, claims: dict[float, Claim], count: int, rows: dict[float, list[Extraction]], theme: Theme
) -> None:
    colours = _ordered(list(rows), theme)
    for i, (epsilon, found) in enumerate(rows.items()):
        label = f"ε = {setting(epsilon)}" + (" (no noise)" if math.isinf(epsilon) else "")
        places, shares = [row.exposure_max for row in found], [dict(row.top)[1] for row in found]
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
            grid = np.linspace(min(places), max(places), 40)
            ax.plot(grid, [allowed(2.0**-x) for x in grid], color=colours[epsilon], ls=(0, (1, 1.4)), label="_allowed")
            if (mechanism := claims[epsilon].mechanism) and claims[epsilon].has_curve:
                divergence = divergence_of(mechanism, count, FEW_ORDERS)
                most = [renyi_success(2.0**-x, divergence, FEW_ORDERS) for x in grid]
                ax.plot(grid, most, color=colours[epsilon], lw=0.8, label="_renyi")
                ax.plot([], [], color=theme.ink, lw=0.8, label=RENYI)
    ax.plot([], [], color=theme.ink, ls=(0, (1, 1.4)), label=ALLOWED)
    ax.set_ylim(-0.02, 1.03)
    ax.set_xlabel("bits of the secret")
    ax.set_ylabel("top-1 extraction")


def roc(result: RunResult, theme: Theme = LIGHT) -> Figure | None:
    """ROC on log axes; a panel for each attack, a curve for each epsilon. None where no attack has both sides."""
    panels = {
        f"{name} · {attack}": points
        for name, cells in curves.pipelines(result).items()
        for attack, points in curves.by_attack(cells, lambda a: a.scores if curves.roc(a.scores) else None).items()
    }
    if not panels:
        return None
    ordered = _ordered(sorted({epsilon for points in panels.values() for epsilon, _ in points}), theme)
    with mpl.rc_context(style(theme)):
        figure, axes = _panels(len(panels), width=3.7, height=3.4)
        for ax, (name, points) in zip(axes, panels.items(), strict=True):
            floor = min(curves.smallest_rate(scores) for _, scores in points) / 1.5
            ax.plot([floor, 1], [floor, 1], color=theme.muted, lw=1, ls=(0, (4, 3)), label="random guess")
            for epsilon, scores in points:
                fpr, tpr = curves.roc(scores) or (np.empty(0), np.empty(0))
                label = f"ε = {setting(epsilon)}" + (" (no noise)" if math.isinf(epsilon) else "")
                ax.plot(
                    np.maximum(fpr, floor),
                    np.maximum(tpr, floor),
                    color=ordered[epsilon],
                    lw=1.8,
                    label=label,
                    clip_on=False,
                )
            _log_square(ax, floor)
            ax.set_title(one_line(name))
        _legend(figure, axes, columns=6, last=("random guess",))
    return figure


def compare_rocs(panels: Mapping[str, Mapping[str, Scores]], centre: bool = True, theme: Theme = LIGHT) -> Figure:
    """TPR against FPR on log axes; a panel for each name, in it a curve for each attack's scores."""
    floor = min(curves.smallest_rate(scores) for shown in panels.values() for scores in shown.values()) / 1.5
    with mpl.rc_context(style(theme)):
        figure, axes = _panels(len(panels), width=4.6, height=4.6)
        names = list(dict.fromkeys(name for shown in panels.values() for name in shown))
        for ax, (title, shown) in zip(axes, panels.items(), strict=True):
            ax.plot([floor, 1], [floor, 1], color=theme.muted, lw=1, ls=(0, (4, 3)), label="random guess")
            for name, scores in shown.items():
                fpr, tpr = curves.roc(scores, centre) or (np.empty(0), np.empty(0))
                place = names.index(name)
                ax.plot(
                    np.maximum(fpr, floor),
                    np.maximum(tpr, floor),
                    color=theme.series[place % len(theme.series)],
                    ls=("-", (0, (4, 2)), (0, (1, 1.4)))[place // len(theme.series) % 3],
                    lw=1.6,
                    label=one_line(name),
                )
            _log_square(ax, floor)
            ax.set_title(one_line(title))
        _legend(figure, axes, columns=4, last=("random guess",))
    return figure


def utility(result: RunResult, theme: Theme = LIGHT) -> Figure | None:
    """Utility against claimed epsilon, mean and range over models; a panel for each pipeline and utility."""
    panels = [
        (name, cells, key)
        for name, cells in curves.pipelines(result).items()
        for key in dict.fromkeys(key for cell in cells for key in cell.utility if key != UNIGRAM)
    ]
    if not panels:
        return None
    with mpl.rc_context(style(theme)):
        figure, axes = _panels(len(panels), width=3.7, height=3.1)
        for ax, (name, cells, key) in zip(axes, panels, strict=True):
            points = [(c.claim.epsilon, c.utility[key]) for c in cells if key in c.utility]
            axis = EpsilonAxis(curves.epsilons(cells))
            _intervals(ax, axis, points, color=theme.series[0], marker="o", label="mean, with range over models")
            if key == TEXT_LOSS and UNIGRAM in cells[0].utility:
                ax.axhline(
                    cells[0].utility[UNIGRAM].value, color=theme.muted, ls=(0, (6, 2, 1, 2)), lw=1, label=UNIGRAM
                )
                _unlearnt(ax, axis, curves.unlearnt(cells), theme)
            _epsilon_axis(ax, axis, theme)
            ax.set_ylabel(one_line(key))
            ax.set_title(one_line(name))
        _legend(figure, axes, columns=2)
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
    top = _finite([*(v for s in series for _, b in s.points for v in (b.epsilon, b.ceiling)), *axis.finite])
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
    _epsilon_axis(ax, axis, theme)
    ax.set_ylabel("empirical lower bound on ε (nats)")


def _epsilon_axis(ax: Axes, axis: EpsilonAxis, theme: Theme) -> None:
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


def _extraction_row(
    axes: Sequence[Axes], axis: EpsilonAxis, series: dict[int, list[tuple[float, Extraction]]], theme: Theme
) -> None:
    rate, exposure, auc = axes
    inserted = [count for count in series if count]
    ordered = _ordered(inserted, theme)
    for i, (count, points) in enumerate(series.items()):
        look: dict[str, Any] = {
            "color": ordered.get(count, theme.muted),
            "marker": MARKERS[inserted.index(count) % len(MARKERS)] if count else "x",
            "ls": "-" if count else (0, (4, 2)),
            "label": f"{count} {'copy' if count == 1 else 'copies'}" if count else "never inserted",
        }
        plain = {"color": look["color"], "marker": look["marker"]}
        shift = 0.16 * (i - (len(series) - 1) / 2) / max(1, len(series) - 1)
        _intervals(rate, axis, [(e, _times(row.rate, 100)) for e, row in points], shift=shift, **look)
        exposure.plot(*axis.line([(e, row.exposure) for e, row in points]), **look)
        guessed = [(e, row.exposure) for e, row in points if row.exact < 1 and math.isfinite(row.exposure)]
        if guessed and count:
            xs, ys = axis.line(guessed)
            exposure.plot(xs, ys, ls="", mfc=theme.surface, zorder=3, **(plain | {"label": f"_estimated {count}"}))
            exposure.plot([], [], ls="", marker="o", color=theme.ink, mfc=theme.surface, label=ESTIMATED)
        seen = [(e, row.auc) for e, row in points if row.auc is not None and math.isfinite(row.auc)]
        auc.plot(*axis.line(seen), **look) if seen else None
    highest = max(_finite(row.exposure_max for points in series.values() for _, row in points), default=0.0)
    _levels(rate, 100, 100 * 2.0**-highest, theme)
    _levels(exposure, highest, curves.chance_exposure(highest), theme)
    _levels(auc, 1, 0.5, theme)
    for ax, label in zip(axes, ("secrets decoded exactly (%)", "mean exposure (bits)", "membership AUC"), strict=True):
        _epsilon_axis(ax, axis, theme)
        ax.set_ylabel(label)
    if not auc.lines[2:]:
        auc.set_visible(False)
    if all(math.isnan(row.exposure) for points in series.values() for _, row in points):  # an attack that ranks nothing
        exposure.set_visible(False)


def _levels(ax: Axes, best: float, chance: float, theme: Theme) -> None:
    ax.axhline(best, color=theme.ink, lw=1, ls=(0, (1, 1.4)), label="best possible", zorder=1)
    ax.axhline(chance, color=theme.muted, lw=1, ls=(0, (6, 2, 1, 2)), label="chance", zorder=1)


def _times(interval: Interval, factor: float) -> Interval:
    return Interval(factor * interval.value, factor * interval.low, factor * interval.high)


def _intervals(
    ax: Axes, axis: EpsilonAxis, points: Sequence[tuple[float, Interval]], shift: float = 0.0, **look: Any
) -> None:
    """A line with a bar from low to high at each point."""
    xs, ys = axis.line([(epsilon, i.value) for epsilon, i in points], shift)
    ax.plot(xs, ys, zorder=3, **look)
    places = [axis.at(epsilon, shift) for epsilon, _ in points]
    ax.vlines(places, [i.low for _, i in points], [i.high for _, i in points], color=look["color"], lw=1.2, alpha=0.75)


def _ordered(levels: Sequence[float], theme: Theme) -> dict[float, str]:
    """Colours that grow with the level; infinity, which is a control and no level, takes the ink."""
    finite = [level for level in levels if math.isfinite(level)]
    shades = mpl.colormaps["viridis"](np.linspace(*theme.ordered, max(2, len(finite))))
    named = {level: mpl.colors.to_hex(shade) for level, shade in zip(finite, shades, strict=False)}
    return {level: named.get(level, theme.ink) for level in levels}


def _log_square(ax: Axes, floor: float) -> None:
    ticks = [
        m * 10.0**k for k in range(math.floor(math.log10(floor)), 1) for m in (1, 2, 5) if floor <= m * 10.0**k <= 1
    ]
    if floor < 0.01:
        ticks = [tick for tick in ticks if math.isclose(math.log10(tick), round(math.log10(tick)), abs_tol=1e-9)]
    for name, which, label in (("x", ax.xaxis, "false positive rate"), ("y", ax.yaxis, "true positive rate")):
        ax.set(**{f"{name}scale": "log", f"{name}lim": (floor, 1)})
        which.set_major_locator(FixedLocator(ticks))
        which.set_minor_locator(NullLocator())
        which.set_major_formatter(FuncFormatter(lambda rate, _: setting(rate)))
        which.set_label_text(label)
    ax.set_box_aspect(1)


def _finite(values: Iterable[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def _panels(count: int, width: float, height: float, columns: int = 3) -> tuple[Figure, list[Axes]]:
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(max(width * columns, 5.0), height * rows + 0.7), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in grid[count:]:
        ax.set_visible(False)
    return figure, list(grid[:count])


def _legend(figure: Figure, axes: Sequence[Axes], columns: int, last: Sequence[str] = ()) -> None:
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


def _write(figure: Figure, kind: str, metadata: dict[str, str | None]) -> bytes:
    buffer = io.BytesIO()
    rc: dict[Any, Any] = {"svg.hashsalt": "firedamp", "svg.fonttype": "path", "text.parse_math": False}
    with mpl.rc_context(rc), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format=kind, dpi=160, metadata=metadata)
    return buffer.getvalue()
