"""How the plots look, in light and dark surroundings: colours and matplotlib settings, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Theme:
    """Colours. The series are Okabe and Ito's (2008), told apart by colour-blind readers and by their markers."""

    surface: str
    ink: str
    muted: str
    grid: str
    refuted: str
    series: tuple[str, ...]
    ordered: tuple[float, float]


LIGHT = Theme(
    surface="#ffffff",
    ink="#1c1c1a",
    muted="#62615c",
    grid="#e6e5e0",
    refuted="#fbeae3",
    series=("#0072b2", "#d55e00", "#009e73", "#b0529a", "#b98300", "#56b4e9"),
    ordered=(0.78, 0.08),
)
DARK = Theme(
    surface="#1b1c1e",
    ink="#ecebe6",
    muted="#a3a29c",
    grid="#34363a",
    refuted="#3a2620",
    series=("#56a9e4", "#f0894b", "#35bf95", "#dc95c8", "#e8bd4a", "#a4d8f5"),
    ordered=(0.32, 0.95),
)


def style(theme: Theme) -> dict[Any, Any]:
    """Matplotlib settings for a theme; text is never read as mathematics."""
    return {
        "text.parse_math": False,
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.edgecolor": theme.muted,
        "axes.linewidth": 0.8,
        "axes.labelcolor": theme.ink,
        "axes.facecolor": theme.surface,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "figure.facecolor": theme.surface,
        "grid.color": theme.grid,
        "grid.linewidth": 0.8,
        "legend.frameon": False,
        "legend.fontsize": 8.5,
        "lines.linewidth": 1.8,
        "lines.markersize": 6,
        "text.color": theme.ink,
        "xtick.color": theme.muted,
        "ytick.color": theme.muted,
        "xtick.labelcolor": theme.ink,
        "ytick.labelcolor": theme.ink,
    }
