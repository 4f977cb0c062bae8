"""What privacy costs: utility against epsilon."""

from __future__ import annotations

import matplotlib as mpl
from matplotlib.figure import Figure

from audit import curves
from audit.curves import EpsilonAxis
from audit.formatting import one_line
from audit.plots.frames import epsilon_axis, intervals, legend, make_panels, unlearnt
from audit.results import RunResult
from audit.themes import LIGHT, Theme, style
from audit.utility import TEXT_LOSS, UNIGRAM


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
        figure, axes = make_panels(len(panels), width=3.7, height=3.1)
        for ax, (name, cells, key) in zip(axes, panels, strict=True):
            points = [(c.claim.epsilon, c.utility[key]) for c in cells if key in c.utility]
            axis = EpsilonAxis(curves.epsilons(cells))
            intervals(ax, axis, points, color=theme.series[0], marker="o", label="mean, with range over models")
            if key == TEXT_LOSS and UNIGRAM in cells[0].utility:
                ax.axhline(
                    cells[0].utility[UNIGRAM].value, color=theme.muted, ls=(0, (6, 2, 1, 2)), lw=1, label=UNIGRAM
                )
                unlearnt(ax, axis, curves.unlearnt(cells), theme)
            epsilon_axis(ax, axis, theme)
            ax.set_ylabel(one_line(key))
            ax.set_title(one_line(name))
        legend(figure, axes, columns=2)
    return figure
