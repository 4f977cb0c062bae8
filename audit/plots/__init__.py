"""The plots of a run, a module for each subject. Nothing else imports matplotlib."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from audit.plots.against_claim import CEILING, CLAIM, REFUTED, bounds
from audit.plots.frames import ALLOWED, UNLEARNT, png, svg
from audit.plots.leaks import CONTROL, ESTIMATED, PROVEN, extraction, secrets
from audit.plots.lengths import bits
from audit.plots.rocs import compare_rocs, roc
from audit.plots.usefulness import utility
from audit.results import RunResult
from audit.themes import LIGHT, Theme

__all__ = [
    "ALLOWED", "CEILING", "CLAIM", "CONTROL", "ESTIMATED", "PROVEN", "REFUTED", "UNLEARNT", "bits", "bounds",
    "compare_rocs", "extraction", "figures", "png", "roc", "save_plots", "secrets", "svg", "utility",
]  # fmt: skip


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
