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
from scipy.stats import binom

from attacks.scores import Scores
from audit.auc import auc_interval
from audit.estimators.base import Estimator
from audit.estimators.calibrated_epsilon_delta import CalibratedEpsilonDelta
from audit.estimators.calibrated_gaussian import CalibratedGaussian
from audit.estimators.calibrated_loss_curve import CalibratedLossCurve
from audit.gaussian import mu_of
from audit.themes import LIGHT
from canaries.errors import InputError

SIZES = (100, 500)
"""Models in each arm; a smaller number takes the first of a setting's models."""
SETTING = ["data", "case", "model", "steps", "learning_rate", "max_grad_norm", "epsilon", "models"]
LEVEL = 0.05
"""How often a bound may be false."""
BOUNDS = {"gaussian": "Gaussian curve", "loss_curve": "the claim's curve", "epsilon_delta": "no curve"}


START = {"worst": "pretrained", "scratch": "from random parameters"}


def write_report(done: Sequence[tuple[Any, Scores, dict[str, float]]], delta: float, out: Path) -> None:
    """Write black-box.csv, black-box.md and black-box.png/svg into `out`; `done` holds settings, scores and facts.

    Raises:
        InputError: where nothing is done, or `out` has results of settings that are not among those that are done.
    """
    if not done:
        raise InputError("Expected at least one setting to be done, got none: allow more --minutes, or other data.")
    table = rows(done, delta)
    keep_published(table, out)
    out.mkdir(parents=True, exist_ok=True)
    table.to_csv(out / "black-box.csv", index=False, float_format="%.5g")
    (out / "black-box.md").write_text(
        _markdown(table, delta, sum(facts["seconds"] for _, _, facts in done)), encoding="utf-8"
    )
    figure = _figure(table)
    for ending in ("png", "svg"):
        figure.savefig(out / f"black-box.{ending}", dpi=150, metadata={"Date": None} if ending == "svg" else None)


def keep_published(table: pd.DataFrame, out: Path) -> None:
    """Refuse to replace results by fewer.

    Raises:
        InputError: where black-box.csv of `out` has settings and repeats that `table` has not.
    """
    path = out / "black-box.csv"
    if not path.is_file():
        return
    published, now = (
        set(t[[*SETTING, "repeat"]].itertuples(index=False, name=None)) for t in (pd.read_csv(path), table)
    )
    if lost := sorted(published - now):
        first = ", ".join(f"{name} {value}" for name, value in zip([*SETTING, "repeat"], lost[0], strict=True))
        raise InputError(
            f"Expected all {len(published)} rows of {path} to be done before it is written again, but {len(lost)} are "
            f"not, the first of them {first}."
        )


def rows(done: Sequence[tuple[Any, Scores, dict[str, float]]], delta: float) -> pd.DataFrame:
    """One row for each setting, repeat and number of models, with every bound at 95%.

    `trained` is how many models there are in each arm, of which `models` were taken.
    """
    found = []
    for setting, scores, facts in done:
        estimators: dict[str, Estimator] = {
            "gaussian": CalibratedGaussian(),
            "loss_curve": CalibratedLossCurve(1.0, setting.steps),
            "epsilon_delta": CalibratedEpsilonDelta(),
        }
        for size in sorted({min(size, setting.models) for size in SIZES}):
            part = scores.take_models(slice(2 * size))  # Coins are balanced in pairs.
            auc = auc_interval(part).value
            bounds = {name: estimator.bound(part, delta).epsilon for name, estimator in estimators.items()}
            found.append(
                asdict(setting)
                | {"models": size, "trained": setting.models, "added_later": setting.added_later}
                | bounds
                | {"auc": auc, "mu_ratio": np.sqrt(2) * ndtri(auc) / mu_of(setting.epsilon, delta)}
                | facts
            )
    return pd.DataFrame(found)


def _medians(table: pd.DataFrame) -> pd.DataFrame:
    grouped = table.groupby([*SETTING, "trained"], sort=False)
    medians = grouped[["gaussian", "loss_curve", "epsilon_delta", "mu_ratio", "accuracy", "initial_accuracy"]].median()
    return medians.assign(repeats=grouped.size(), least=grouped["gaussian"].min(), most=grouped["gaussian"].max())


def above_the_claim(table: pd.DataFrame) -> str:
    """How many bounds are above the claim, among independent sets of models alone.

    A probability stands beside each: that of as many or more, were each false with the probability LEVEL, which is
    the most that a valid bound may have.
    """
    whole = table[table["models"] == table["trained"]]
    counts = []
    for column, name in BOUNDS.items():
        over = whole[whole[column] > whole["epsilon"]]
        chance = binom.sf(len(over) - 1, len(whole), LEVEL)
        worst = f", the farthest by {(over[column] - over['epsilon']).max():.2f}" if len(over) else ""
        counts.append(f"{name}: {len(over)} (probability of so many or more {chance:.2g}{worst})")
    later = int(whole["added_later"].sum())
    return (
        f"**Bounds above the claim**, which are false: there are {len(whole)} independent sets of models ({later} of "
        f"them added later), and each estimator gives one bound for each, so {LEVEL * len(whole):.1f} at most are to "
        f"be expected above. {'; '.join(counts)}. Rows of the first 100 + 100 of 500 + 500 are not counted again."
    )


INTRODUCTION = """# Black-box audits of full-batch DP-SGD

1,000 records (999 and the canary), delta {delta:g}, losses of final models alone, 95% bounds. Full-batch DP-SGD is a
Gaussian mechanism, so the assumption of the first column, a Gaussian trade-off curve (`calibrated-gaussian`), holds by
the mechanism; the second (`calibrated-loss-curve`) holds scores against the claim's own curve, with its noise unknown;
the third (`calibrated-epsilon-delta`) assumes no curve: at this delta a Gaussian mechanism spends its epsilon in tails
that so few models hardly show. No canary, rate or threshold was chosen on the scored models.

{above}

**What was planned, and what was added.** The first table has what was listed before the first results were recorded,
and its first five repeats. The second has what was added after they had been seen: softmax regression on MNIST and
Fashion-MNIST, the case `pixel`, 500 + 500 models at T = 100, and repeats 5 to 9 on digits, which are not pooled with
the first five. Whoever picks the best row of it picks after the fact.

Worst: one hot pixel of value 10 under the initial model's least likely label, initial parameters pretrained on disjoint
records (300 steps of Adam). Pixel: the same with that pixel hot where the least likely label is least likely. Scratch:
the worst from random parameters that all models share. Natural and mislabelled: the average case, each model from
random parameters of its own. The share of mu is an estimate: sqrt(2) times the normal quantile of the AUC, over the
claim's mu.

Made by `python -m experiments.black_box` with one thread on {machine}: {seconds} of training and attacking in all,
wall time, while other work was using the machine too. The accuracy of pretrained models is mostly that of the initial
model: training adds little to it, and a higher learning rate only destroys it. From random parameters training does all
the work.

"""


HEAD = (
    "| data | case | model | T, rate, C | claimed ε | models | repeats | bound: median (range) "
    "| by the claim's curve | no curve assumed | share of μ | accuracy | of the initial model |"
)


def _markdown(table: pd.DataFrame, delta: float, seconds: float) -> str:
    machine = f"{os.cpu_count()} cores, {platform.machine()}"
    text = INTRODUCTION.format(
        delta=delta, machine=machine, seconds=f"{seconds / 60:.0f} minutes", above=above_the_claim(table)
    )
    later = table["added_later"]
    parts = {"As planned": table[~later], "Added after the first results had been seen": table[later]}
    return text + "\n".join(
        line for title, part in parts.items() if len(part) for line in (f"## {title}", "", *_lines(part), "")
    )


def _lines(table: pd.DataFrame) -> list[str]:
    lines = [HEAD, "|" + "---|" * 13]
    for key, row in _medians(table).iterrows():
        data, case, model, steps, rate, clip, epsilon, models, trained = key  # type: ignore[misc]  # a MultiIndex
        initial = "fresh" if np.isnan(row.initial_accuracy) else f"{row.initial_accuracy:.3f}"
        taken = f"{models} + {models}" + (f", first of {trained} + {trained}" if trained > models else "")
        lines.append(
            f"| {data} | {case} | {model} | {steps}, {rate:g}, {clip:g} | {epsilon:g} | {taken} | "
            f"{row.repeats:.0f} | **{row.gaussian:.2f}** ({row.least:.2f} to {row.most:.2f}) | {row.loss_curve:.2f} | "
            f"{row.epsilon_delta:.2f} | {row.mu_ratio:.2f} | {row.accuracy:.3f} | {initial} |"
        )
    return lines


def _figure(table: pd.DataFrame) -> Figure:
    """Bounds against claims, and bounds against what training is good for; of what was planned."""
    table = table[~table["added_later"]]
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
    if left.get_legend_handles_labels()[0]:
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
