"""The study of white-box audits as CSV, as Markdown and as a figure."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from audit.themes import LIGHT

FILES = {"one-run": "white_box_one_run", "subsampled": "white_box_subsampled", "levels": "white_box_levels"}


def write_report(part: str, table: pd.DataFrame, out: Path, took: str) -> None:
    """Write the part's CSV and what it `took`, then white_box.md and white_box.png of all parts that are in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    table.to_csv(out / f"{FILES[part]}.csv", index=False, float_format="%.5g")
    (out / f"{FILES[part]}.txt").write_text(took + "\n", encoding="utf-8")
    there = {name: pd.read_csv(out / f"{file}.csv") for name, file in FILES.items() if (out / f"{file}.csv").is_file()}
    lines = ["# White-box audits", "", INTRODUCTION, ""]
    for name, found in there.items():
        took = (out / f"{FILES[name]}.txt").read_text(encoding="utf-8").strip()
        took += f" Repeats: {found['repeat'].nunique()}." if "repeat" in found else ""
        lines += [f"## {TITLES[name]}", "", f"{took} Every row: [{FILES[name]}.csv]({FILES[name]}.csv).", ""]
        lines += [READINGS[name](found), ""] if name in READINGS else []
        lines += [*_markdown(SUMMARIES[name](found)), ""]
    lines += ["![Bounds by part](white_box.png)", ""]
    (out / "white_box.md").write_text("\n".join(lines), encoding="utf-8")
    _figure(there).savefig(out / "white_box.png", dpi=150)


INTRODUCTION = (
    "Made by `python -m experiments.white_box`, which says how. Bounds are 95% lower bounds on epsilon at delta 1e-5, "
    "each by itself (those of the last table hold together); medians over repeats. `bound` believes the claimed "
    "sampling, so for the two pipelines that sample otherwise it is no bound, and the claim's p-value is what counts. "
    "The attack `weights` sees the final parameters; the initial ones it knows in the last table alone, where they are "
    "pretrained and shared: in the first two each model draws its own and keeps them secret. "
    "They are uniform within bounds: most canaries hide among them, but what ends beyond the bounds still tells, so in "
    "one run a few guesses at the extremes do better than scores of all canaries."
)
TITLES = {
    "one-run": "One run, epsilon 8 claimed, 20 full-batch steps",
    "subsampled": "Many runs, 100 Poisson steps",
    "levels": "What releasing less buys",
}


def cost(clock: float, processor: float) -> str:
    """What it took since the clock and the processor's said so, on what."""
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    return (
        f"It took {time.process_time() - processor:.0f} s of processor time ({time.perf_counter() - clock:.0f} s on "
        f"the clock, with other work beside it) on a {os.cpu_count()}-core {platform.machine()} machine, one process, "
        f"OMP_NUM_THREADS {threads}."
    )


def summarise_one_run(table: pd.DataFrame) -> pd.DataFrame:
    """One row for each number of canaries and access, a column for each estimator."""
    keys = ["canaries", "design", "attack", "access"]
    wide = table.pivot_table("bound", [*keys, "repeat", "accuracy"], "estimator", sort=False).reset_index()
    columns = ["one-run-fdp", "one-run-calibrated", "one-run", "accuracy"]
    return wide.groupby(keys, sort=False)[columns].median().reset_index()


def summarise_subsampled(table: pd.DataFrame) -> pd.DataFrame:
    """One row for each data set, pipeline and attack."""
    keys = ["data", "pipeline", "epsilon", "rate", "attack", "access"]
    columns = ["bound", "ideal", "gaussian", "ideal_gaussian", "limit", "no_curve", "claim_p", "accuracy"]
    return table.groupby(keys, sort=False)[columns].median().reset_index()


def _reading_subsampled(table: pd.DataFrame) -> str:
    """What the columns are, and how the bounds stand to the claim."""
    honest = table[table["pipeline"] == "as claimed"]
    over = honest[honest["bound"] > honest["epsilon"]]
    every = len(honest.groupby(["data", "epsilon", "rate", "repeat"]))
    runs = len(over.groupby(["data", "epsilon", "rate", "repeat"]))
    above = f"{len(over)} of {len(honest)} such bounds, in {runs} of {every} sets of models, are"
    return (
        f"`bound` is `calibrated-loss-curve`, `gaussian` is `calibrated-gaussian`, `no curve` "
        f"`calibrated-epsilon-delta`. Beside them stands the median of what the same estimators find in as many scores "
        f"of the ideal mechanism, drawn 25 times: a median over {table['repeat'].nunique()} repeats may well lie above "
        f"it, for these bounds have a standard deviation of {honest['ideal_sd'].min():.2f} to "
        f"{honest['ideal_sd'].max():.2f} each. "
        f"`limit` is the epsilon of a Gaussian curve whose mu is the ideal scores' distance of means in "
        f"standard deviations: what the Gaussian reading approaches with more and more models. It is no ceiling for "
        f"`bound`, which reads the scores against the curve of the claimed sampling: that curve is steeper than a "
        f"Gaussian one of equal mu, and the likelihood ratio's limit is there the claim itself. Bounds above the claim "
        f"are false, which one in twenty may be: {above}"
        + (f"; largest: {over['bound'].max():.2f}." if len(over) else ".")
        + ("" if "fashion-mnist" in set(table["data"]) else " Fashion-MNIST is left out: its files were not there.")
    )


def _reading_levels(table: pd.DataFrame) -> str:
    """What the columns are, and which levels say nothing."""
    blind = list(dict.fromkeys(table[~table["seen"]]["access"]))
    return (
        "One canary, which a pilot on models of their own puts on the decision boundary, so that labels can tell. Of "
        "each level the attack with the largest Gaussian bound that needs exactly this access; `best` is the largest "
        "of all attacks that the level allows. "
        + (
            f"No attack on {' or '.join(blind)} saw the canary without noise, so nothing is said about what they show."
            if blind
            else "At every level the attacks saw the canary without noise (positive control)."
        )
    )


def summarise_levels(table: pd.DataFrame) -> pd.DataFrame:
    """As it is: one row for each level and epsilon."""
    return table.drop(columns=["models", "seen"], errors="ignore")


SUMMARIES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "one-run": summarise_one_run,
    "subsampled": summarise_subsampled,
    "levels": summarise_levels,
}

READINGS: dict[str, Callable[[pd.DataFrame], str]] = {"subsampled": _reading_subsampled, "levels": _reading_levels}


def _markdown(table: pd.DataFrame) -> list[str]:
    def text(value: object) -> str:
        if isinstance(value, float):
            return "–" if value != value else "0" if value == 0 else f"{value:.2g}" if value < 0.01 else f"{value:.2f}"
        return str(value)

    head = "| " + " | ".join(str(name).replace("_", " ") for name in table.columns) + " |"
    rows = ["| " + " | ".join(text(value) for value in row) + " |" for row in table.itertuples(index=False)]
    return [head, "|---" * len(table.columns) + "|", *rows]


def _figure(tables: dict[str, pd.DataFrame]) -> Figure:
    figure = Figure(figsize=(5.2 * len(tables), 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels: dict[str, Callable[[Axes, pd.DataFrame], None]] = {
        "one-run": _one_run,
        "subsampled": _subsampled,
        "levels": _levels,
    }
    for ax, (name, table) in zip(figure.subplots(1, len(tables), squeeze=False)[0], tables.items(), strict=True):
        panels[name](ax, SUMMARIES[name](table))
        ax.set(title=TITLES[name], xlabel="epsilon is at least (95%, delta 1e-5)")
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.4, -0.12), ncols=3)
    return figure


def _bars(ax: Axes, labels: list[str], series: dict[str, list[float]]) -> None:
    height = 0.8 / len(series)
    for i, (name, values) in enumerate(series.items()):
        places = [k + 0.4 - height * (i + 0.5) for k in range(len(labels))]
        bars = ax.barh(places, values, height=0.9 * height, label=name, color=LIGHT.series[i])
        ax.bar_label(bars, fmt="%.2f", padding=2, fontsize=7, color=LIGHT.ink)
    ax.set_yticks(range(len(labels)), labels, fontsize=8)


def _one_run(ax: Axes, table: pd.DataFrame) -> None:
    labels = [f"{r.attack}, {r.canaries}" for r in table.itertuples()]
    _bars(ax, labels, {name: list(table[name]) for name in ("one-run-fdp", "one-run-calibrated", "one-run")})
    ax.axvline(8, color=LIGHT.muted, linestyle="--", linewidth=1)


def _subsampled(ax: Axes, table: pd.DataFrame) -> None:
    table = table[(table["pipeline"] == "as claimed") & (table["epsilon"] == table["epsilon"].max())]
    labels = [f"{r.data}, {r.attack}, q {r.rate:g}, claims {r.epsilon:g}" for r in table.itertuples()]
    _bars(ax, labels, {"measured": list(table["bound"]), "ideal mechanism": list(table["ideal"])})


def _levels(ax: Axes, table: pd.DataFrame) -> None:
    table = table[table["epsilon"] < float("inf")]
    labels = [f"{r.access}, claims {r.epsilon:g}" for r in table.itertuples()]
    _bars(ax, labels, {"Gaussian curve": list(table["gaussian"]), "no curve": list(table["no_curve"])})
