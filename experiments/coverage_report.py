"""The coverage study as CSV, as Markdown and as a figure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from audit.metrics import wilson


def write_report(
    table: pd.DataFrame,
    alarms: pd.DataFrame,
    out: Path,
    confidence: float,
    assumptions_hold: Callable[[str, str], bool],
    ceiling: str,
) -> None:
    """Write coverage.csv, coverage.md, coverage.png and coverage.svg into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    table.to_csv(out / "coverage.csv", index=False, float_format="%.6g")
    (out / "coverage.md").write_text(_markdown(table, alarms, confidence, assumptions_hold, ceiling), encoding="utf-8")
    figure = _figure(table, ceiling)
    figure.savefig(out / "coverage.png", dpi=150)
    figure.savefig(out / "coverage.svg")


def _markdown(
    table: pd.DataFrame,
    alarms: pd.DataFrame,
    confidence: float,
    assumptions_hold: Callable[[str, str], bool],
    ceiling: str,
) -> str:
    lines = [
        "# Coverage of bounds",
        "",
        f"Share of audits whose {confidence:.0%} bound lies above the truth, with its 95% interval (Wilson); mean and "
        "10th percentile of the bound. Rows marked * break the curve that the estimator assumes: there it proves "
        "nothing, and the share says how wrong it would be. "
        f"Significantly above the nominal {1 - confidence:.0%} where assumptions hold: {len(alarms)} rows.",
        "",
        "| estimator | law | epsilon | n in | n out | audits | over | 95% interval | mean | p10 |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in table.sort_values(["estimator", "law", "epsilon", "n_in", "n_out"]).itertuples():
        interval = wilson(round(row.over * row.audits), row.audits)
        mark = "" if row.estimator == ceiling or assumptions_hold(row.estimator, row.law) else " *"
        lines.append(
            f"| {row.estimator}{mark} | {row.law} | {row.epsilon:g} | {row.n_in} | {row.n_out} | {row.audits} "
            f"| {row.over:.2%} | {interval.low:.2%} to {interval.high:.2%} | {row.mean:.3f} | {row.p10:.3f} |"
        )
    return "\n".join(lines) + "\n"


def _figure(table: pd.DataFrame, ceiling: str) -> Figure:
    """Mean bound against models in each arm, Gaussian mechanism; one panel for each epsilon."""
    rows = table[(table["law"] == "Gaussian") & (table["n_in"] == table["n_out"])]
    epsilons = sorted(rows["epsilon"].unique())
    figure = Figure(figsize=(4.2 * len(epsilons), 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(epsilons), squeeze=False)[0]
    names = sorted(rows["estimator"].unique(), key=lambda name: (name != ceiling, name))
    for ax, epsilon in zip(axes, epsilons, strict=True):
        for i, name in enumerate(names):
            mine = rows[(rows["epsilon"] == epsilon) & (rows["estimator"] == name)].sort_values("n_in")
            style = (
                {"color": "black", "linestyle": "--"}
                if name == ceiling
                else {"color": f"C{i % 10}", "marker": "osD^vPX*"[i % 8]}
            )
            ax.plot(mine["n_in"], mine["mean"], label=name, linewidth=1.3, markersize=4, **style)
        ax.axhline(epsilon, color="0.6", linewidth=0.8)
        ax.set(
            xscale="log", xlabel="models (or canaries) in each arm", title=f"Gaussian, ε = {epsilon:g}", ylim=(0, None)
        )
    axes[0].set_ylabel("mean lower bound on ε, 95%")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure
