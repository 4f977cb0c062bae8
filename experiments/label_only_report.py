"""The study of label-only attacks as CSV, as Markdown and as a figure."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from audit.themes import LIGHT

NAMES = {"gaussian": "calibrated-gaussian", "epsilon_delta": "calibrated-epsilon-delta"}

READING = (
    "The calibrated canary is one whose loss is decided between two classes: only places on the boundary are taken "
    "where pilots give both classes together a probability of .98 at least. Elsewhere a third class moves the loss "
    "and no label, and labels fall up to a fifth short of the loss. On the calibrated canary the gap attack is an "
    "attack of one query that was crafted on other models, as in one-shot transfer attacks (Peng et al. 2024, "
    '"OSLO: One-Shot Label-Only Membership Inference Attacks"): pilots take the place of the source models, and the '
    "canary itself that of the perturbed record. Settings were chosen on models of other seeds."
)


def write_report(table: pd.DataFrame, pilots: pd.DataFrame, out: Path, cost: str) -> None:
    """Write label_only.csv, label_only_pilots.csv, .md and .png into `out`; `cost` says how long it took on what."""
    out.mkdir(parents=True, exist_ok=True)
    table.to_csv(out / "label_only.csv", index=False, float_format="%.5g")
    pilots.to_csv(out / "label_only_pilots.csv", index=False, float_format="%.5g")
    found = medians(table)
    (out / "label_only.md").write_text(_markdown(table, found, cost), encoding="utf-8")
    _figure(found, float(table["epsilon"].iloc[0])).savefig(out / "label_only.png", dpi=150)


def medians(table: pd.DataFrame) -> pd.DataFrame:
    """One row for each canary, attack and number of queries: medians over repeats, and the least share."""
    loss = table[table["attack"] == "loss"].set_index(["canary", "repeat"])["gaussian"]
    same_models = loss.loc[list(zip(table["canary"], table["repeat"], strict=True))].to_numpy()
    table = table.assign(share=table["gaussian"] / same_models)
    numbers = ["gaussian", "epsilon_delta", "auc", "separation", "accuracy", "share"]
    groups = table.groupby(["canary", "attack", "queries"], sort=False)
    return groups[numbers].median().assign(least_share=groups["share"].min()).reset_index()


def _markdown(table: pd.DataFrame, found: pd.DataFrame, cost: str) -> str:
    first = table.iloc[0]
    repeats = table["repeat"].nunique()
    lines = [
        "# Labels alone against losses",
        "",
        f"Full-batch DP-SGD that claims epsilon {first['epsilon']:g} at delta 1e-5; {first['models']:.0f} models for "
        f"each canary, half of them with it; medians over {repeats} repeats of everything, pilots included. Each bound "
        f"is a 95% lower bound by itself; `{NAMES['gaussian']}` assumes the Gaussian trade-off curve that full-batch "
        f"DP-SGD has, `{NAMES['epsilon_delta']}` assumes none. Separation is the difference of the means over the "
        "standard deviation, as a share of the largest possible, mu. The share of the loss's bound is on the same "
        "models: its median, and the least of all repeats. "
        "Mean test accuracy "
        f"{table['accuracy'].mean():.3f}. {cost}. Made by `python -m experiments.label_only --repeats {repeats}`, "
        "which says how the canaries are made; every row is in [label_only.csv](label_only.csv), "
        "every round of calibration in [label_only_pilots.csv](label_only_pilots.csv).",
        "",
        "| canary | attack | queries a canary | separation / mu | AUC | epsilon is at least (Gaussian) | share of the "
        "loss's | epsilon is at least (no curve) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.canary} | {row.attack} | {row.queries} | {row.separation:.2f} | {row.auc:.3f} | {row.gaussian:.2f} "
        f"| {row.share:.0%} ({row.least_share:.0%}) | {row.epsilon_delta:.2f} |"
        for row in found.itertuples()
    ]
    return "\n".join([*lines, "", READING, "", "![Bounds by attack](label_only.png)", ""])


def _figure(found: pd.DataFrame, epsilon: float) -> Figure:
    figure = Figure(figsize=(7.5, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    names = list(dict.fromkeys(f"{row.attack} ({row.queries})" for row in found.itertuples()))[::-1]
    for number, (canary, part) in enumerate(found.groupby("canary", sort=False)):
        places = [names.index(f"{row.attack} ({row.queries})") + 0.19 - 0.38 * number for row in part.itertuples()]
        bars = axes.barh(places, part["gaussian"], height=0.36, color=LIGHT.series[number], label=f"{canary} canary")
        axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=8, color=LIGHT.ink)
    axes.axvline(epsilon, color=LIGHT.muted, linestyle="--", linewidth=1, label="claimed")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("epsilon is at least (calibrated-gaussian, 95%, delta 1e-5)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, 1.14), ncols=3, frameon=False, fontsize=9)
    return figure
