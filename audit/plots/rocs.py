"""Membership: true against false positive rates."""

from __future__ import annotations

import math
from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from attacks.scores import Scores
from audit import curves
from audit.formatting import one_line, setting
from audit.plots.frames import legend, make_panels, ordered_colours
from audit.results import RunResult
from audit.themes import LIGHT, Theme, style


def roc(result: RunResult, theme: Theme = LIGHT) -> Figure | None:
    """ROC on log axes; a panel for each attack, a curve for each epsilon. None where no attack has both sides."""
    panels = {
        f"{name} · {attack}": points
        for name, cells in curves.pipelines(result).items()
        for attack, points in curves.by_attack(cells, lambda a: a.scores if curves.roc(a.scores) else None).items()
    }
    if not panels:
        return None
    ordered = ordered_colours(sorted({epsilon for points in panels.values() for epsilon, _ in points}), theme)
    with mpl.rc_context(style(theme)):
        figure, axes = make_panels(len(panels), width=3.7, height=3.4)
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
        legend(figure, axes, columns=6, last=("random guess",))
    return figure


def compare_rocs(panels: Mapping[str, Mapping[str, Scores]], centre: bool = True, theme: Theme = LIGHT) -> Figure:
    """TPR against FPR on log axes; a panel for each name, in it a curve for each attack's scores."""
    floor = min(curves.smallest_rate(scores) for shown in panels.values() for scores in shown.values()) / 1.5
    with mpl.rc_context(style(theme)):
        figure, axes = make_panels(len(panels), width=4.6, height=4.6)
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
        legend(figure, axes, columns=4, last=("random guess",))
    return figure


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
