"""The black-box experiment as CSV, as Markdown and as a figure."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.special import ndtri

from attacks.scores import Scores
from audit.estimators.base import Estimator
from audit.estimators.calibrated_epsilon_delta import CalibratedEpsilonDelta
from audit.estimators.calibrated_gaussian import CalibratedGaussian
from audit.estimators.calibrated_loss_curve import CalibratedLossCurve
from audit.gaussian import mu_of
from audit.metrics import auc_interval
from audit.themes import LIGHT

SIZES = (100, 500)
"""Models in each arm; a smaller number takes the first of a setting's models."""


START = {"worst": "pretrained", "scratch": "from random parameters"}


def write_report(done: Sequence[tuple[Any, Scores, dict[str, float]]], delta: float, out: Path) -> None:
    """Write black-box.csv, black-box.md and black-box.png/svg into `out`; `done` holds settings, scores and facts."""
    out.mkdir(parents=True, exist_ok=True)
    table = rows(done, delta)
    table.to_csv(out / "black-box.csv", index=False, float_format="%.5g")
    medians = _medians(table)
    (out / "black-box.md").write_text(
        _markdown(medians, delta, sum(facts["seconds"] for _, _, facts in done)), encoding="utf-8"
    )
    figure = _figure(table)
    for ending in ("png", "svg"):
        figure.savefig(out / f"black-box.{ending}", dpi=150, metadata={"Date": None} if ending == "svg" else None)


def rows(done: Sequence[tuple[Any, Scores, dict[str, float]]], delta: float) -> pd.DataFrame:
    """One row for each setting, repeat and number of models, with every bound at 95%."""
    found = []
    for setting, scores, facts in done:
        estimators: dict[str, Estimator] = {
            "gaussian": CalibratedGaussian(),
            "loss_curve": CalibratedLossCurve(1.0, setting.steps),
            "epsilon_delta": CalibratedEpsilonDelta(),
        }
        for size in sorted({min(size, setting.models) for size in SIZES}):
            part = scores.take_models(slice(2 * size))  # Coins are balanced in pairs.
            auc = auc_interval(part, 0).value
            bounds = {name: estimator.bound(part, delta).epsilon for name, estimator in estimators.items()}
            found.append(
                asdict(setting)
                | {"models": size}
                | bounds
                | {"auc": auc, "mu_ratio": np.sqrt(2) * ndtri(auc) / mu_of(setting.epsilon, delta)}
                | facts
            )
    return pd.DataFrame(found)


def _medians(table: pd.DataFrame) -> pd.DataFrame:
    keys = ["data", "case", "model", "steps", "learning_rate", "max_grad_norm", "epsilon", "models"]
    grouped = table.groupby(keys, sort=False)
    medians = grouped[["gaussian", "loss_curve", "epsilon_delta", "mu_ratio", "accuracy", "initial_accuracy"]].median()
    return medians.assign(repeats=grouped.size(), least=grouped["gaussian"].min(), most=grouped["gaussian"].max())


INTRODUCTION = """# Black-box audits of full-batch DP-SGD

1,000 records (999 and the canary), delta {delta:g}, losses of final models alone, 95% bounds. Full-batch DP-SGD is a
Gaussian mechanism, so the assumption of the first column, a Gaussian trade-off curve (`calibrated-gaussian`), holds by
the mechanism; the second (`calibrated-loss-curve`) holds scores against the claim's own curve, with its noise unknown;
the third (`calibrated-epsilon-delta`) assumes no curve: at this delta a Gaussian mechanism spends its epsilon in tails
that so few models hardly show. Nothing was chosen on the scored models. A 95% bound of an attack that loses nothing
lies above the claim in one of twenty. Rows of 100 + 100 may hold the first models of rows of 500 + 500.

Worst: one hot pixel of value 10 under the initial model's least likely label, initial parameters pretrained on disjoint
records (300 steps of Adam). Scratch: the same from random parameters that all models share. Natural and mislabelled:
the average case, each model from random parameters of its own. The share of mu is an estimate: sqrt(2) times the normal
quantile of the AUC, over the claim's mu.

Made by `python -m experiments.black_box` with one thread on {machine}: {seconds} of training and attacking in all,
wall time, while other work was using the machine too. The accuracy of pretrained models is mostly that of the initial
model: training adds little to it, and a higher learning rate only destroys it. From random parameters training does all
the work.

"""


def _markdown(medians: pd.DataFrame, delta: float, seconds: float) -> str:
    machine = f"{os.cpu_count()} cores, {platform.machine()}"
    lines = [
        INTRODUCTION.format(delta=delta, machine=machine, seconds=f"{seconds / 60:.0f} minutes")
        + "| data | case | model | T, rate, C | claimed ε | models | repeats | bound: median (range) "
        "| by the claim's curve | no curve assumed | share of μ | accuracy | of the initial model |",
        "|" + "---|" * 13,
    ]
    for key, row in medians.iterrows():
        data, case, model, steps, rate, clip, epsilon, models = key  # type: ignore[misc]  # a MultiIndex
        initial = "fresh" if np.isnan(row.initial_accuracy) else f"{row.initial_accuracy:.3f}"
        lines.append(
            f"| {data} | {case} | {model} | {steps}, {rate:g}, {clip:g} | {epsilon:g} | {models} + {models} | "
            f"{row.repeats:.0f} | **{row.gaussian:.2f}** ({row.least:.2f} to {row.most:.2f}) | {row.loss_curve:.2f} | "
            f"{row.epsilon_delta:.2f} | {row.mu_ratio:.2f} | {row.accuracy:.3f} | {initial} |"
        )
    return "\n".join(lines) + "\n"


def _figure(table: pd.DataFrame) -> Figure:
    """Bounds against claims, and bounds against what training is good for."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    plain = table[(table["model"] == "mlp") & (table["steps"] == 20)]
    usual = plain[plain["learning_rate"] == 2]
    worst = usual[usual["case"] == "worst"]
    left.plot([0, 11], [0, 11], color=LIGHT.muted, linewidth=1)
    left.annotate("the claim", (4.9, 5.1), rotation=38, color=LIGHT.muted)
    for i, (data, mine) in enumerate(worst.groupby("data", sort=False)):
        for size, marker in ((100, "^"), (500, "o")):
            part = mine[mine["models"] == size]
            if len(part):
                x = part["epsilon"] + 0.16 * (i - 1)
                label = f"{data}, {size} + {size} models"
                left.plot(x, part["gaussian"], marker, color=LIGHT.series[i], alpha=0.7, label=label)
    for i, (case, mine) in enumerate(usual[usual["case"].isin(("natural", "mislabelled"))].groupby("case")):
        part = mine[mine["models"] == 100]
        left.plot(part["epsilon"], part["gaussian"], "xP"[i % 2], color=LIGHT.muted, label=f"{case}, average case")
    left.set(xlabel="claimed epsilon", ylabel="lower bound, 95%", xlim=(3, 11), ylim=(0, 11.5))
    left.legend(fontsize=7, frameon=False)
    trained = plain[plain["case"].isin(("worst", "scratch")) & (plain["epsilon"] == 10) & (plain["models"] == 100)]
    for i, ((data, case), mine) in enumerate(trained.groupby(["data", "case"], sort=False)):
        part = mine.groupby("learning_rate")[["accuracy", "gaussian"]].median()
        right.plot(part["accuracy"], part["gaussian"], "o-", color=LIGHT.series[i], label=f"{data}, {START[str(case)]}")
        for rate, row in part.iterrows():
            right.annotate(f"rate {rate:g}", (row.accuracy, row.gaussian), xytext=(4, 4), textcoords="offset points",
                           fontsize=7)  # fmt: skip
    right.axhline(10, color=LIGHT.muted, linewidth=1)
    right.set(xlabel="mean test accuracy", ylabel="lower bound at claimed epsilon 10", ylim=(0, 11))
    if len(trained):
        right.legend(fontsize=7, frameon=False)
    return figure
