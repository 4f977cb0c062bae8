"""The membership experiment's attacks, as CSV, as Markdown and as a figure."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from attacks.base import Attack
from attacks.confidence import Confidence, Entropy, Margin, ModifiedEntropy
from attacks.cross_model import CrossModel, leave_one_out
from attacks.lira import LiRA, LiRAOffline
from attacks.lira_bayes import BayesianLiRA
from attacks.loss import Loss
from attacks.population import Population
from attacks.reference_models import CalibratedLoss, ReferenceModels
from attacks.rmia import RMIA, RMIAOffline
from attacks.scores import Scores
from attacks.view import ArrayView
from audit.membership import membership_metrics
from audit.plots import compare_rocs, png
from audit.risk import record_risks
from canaries.base import CanarySet
from canaries.inclusion import Inclusion

ALONE = (Loss(), Confidence(), Margin(), Entropy(), ModifiedEntropy(), Population())
FEW = (LiRA(), LiRAOffline(), BayesianLiRA(), RMIA(), RMIAOffline())
MANY = (*FEW, LiRA(variance="per-example"), LiRAOffline(variance="per-example"), CalibratedLoss(), ReferenceModels())
COUNTS = (1, 2, 4, 8)
FPRS = (0.001, 0.01)
WORST = 50


def signals(attack: Attack, probabilities: NDArray[np.float64], records: CanarySet, coins: Inclusion) -> Scores:
    """What the attack sees in each model alone, from answers that were kept."""
    view = ArrayView(lambda x: probabilities, len(probabilities))
    return Scores.join(attack.observe(view, records, 0), records, coins)


def attacked(
    probabilities: NDArray[np.float64], records: CanarySet, coins: Inclusion, targets: int
) -> dict[tuple[str, str], Scores]:
    """Scores of the first `targets` models, by attack and by how many known models on either side it used."""
    found: dict[tuple[str, str], Scores] = {}
    for attack in (*ALONE, *MANY):
        seen = signals(attack, probabilities, records, coins)
        counts = (*(COUNTS if attack in FEW else ()), 0) if isinstance(attack, CrossModel) else (None,)
        for count in counts:
            chosen = attack if count is None else replace(attack, models=count)
            used = "none" if count is None else str(count) if count else "all"
            found[named(attack), used] = leave_one_out(chosen, seen, range(targets))
    return found


def named(attack: Attack) -> str:
    """The attack's name; with its variance where that is not the default."""
    return attack.name + (" (per-example)" if getattr(attack, "variance", "") == "per-example" else "")


def write_report(
    probabilities: NDArray[np.float64], records: CanarySet, coins: Inclusion, targets: int, out: Path, cost: str
) -> None:
    """Write membership.csv, membership-risk.csv, membership.md and membership.png into `out`."""
    began = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    found = attacked(probabilities, records, coins, targets)
    rows = []
    for (name, used), scores in found.items():
        metrics = membership_metrics(scores, fprs=FPRS, resamples=200, centre=False)
        rows.append({"attack": name, "known_models": used, "auc": metrics.auc.value, "auc_low": metrics.auc.low,
                     "auc_high": metrics.auc.high})  # fmt: skip
        for fpr, tpr in metrics.tpr_at.items():
            rows[-1] |= {f"tpr_at_{fpr}": tpr.value, f"tpr_at_{fpr}_low": tpr.low, f"tpr_at_{fpr}_high": tpr.high}
    table = pd.DataFrame(rows)
    table.to_csv(out / "membership.csv", index=False, float_format="%.5g")
    risks = record_risks(signals(Confidence(), probabilities, records, coins), most=len(records))
    visible = sum(risk.p_value <= 0.05 for risk in risks)
    worst = pd.DataFrame(
        [
            {"record": r.canary, "auc": r.auc.value, "auc_low": r.auc.low, "auc_high": r.auc.high,
             "advantage": r.advantage.value, "p_adjusted": r.p_value, "models_in": r.members,
             "models_out": r.non_members}
            for r in risks[:WORST]
        ]
    )  # fmt: skip
    worst.to_csv(out / "membership-risk.csv", index=False, float_format="%.5g")
    (out / "membership.png").write_bytes(png(compare_rocs(_panels(found), centre=False)))
    cost = f"{cost}; the attacks took {time.perf_counter() - began:.0f} s. {platform.machine()}, one core"
    (out / "membership.md").write_text(_markdown(table, worst, visible, cost), encoding="utf-8")


def _panels(found: Mapping[tuple[str, str], Scores]) -> dict[str, dict[str, Scores]]:
    whole = ("loss", "population", "reference-models", "lira", "lira-offline", "lira-bayes", "rmia", "rmia-offline")
    every = {name: scores for (name, used), scores in found.items() if name in whole and used in ("none", "all")}
    few = {
        f"{name}, {used}": found[name, used]
        for used in ("1", "4")
        for name in ("lira", "rmia", "lira-offline", "rmia-offline")
    }
    return {"all other models known": every, "1 or 4 models of each side known": few}


def _reading(table: pd.DataFrame) -> list[str]:
    """Which attack finds most at the smallest FPR, with all other models known."""
    rate = table[table["known_models"] == "all"].set_index("attack")[f"tpr_at_{FPRS[0]}"]
    if rate.empty:
        return []
    first, other = rate.idxmax(), "rmia"
    said = f"With all other models known, {first} finds most at 0.1% FPR ({100 * rate[first]:.2f}%"
    return [said + (f"; {other} {100 * rate[other]:.2f}%)." if other in rate and other != first else ")."), ""]


def _markdown(table: pd.DataFrame, worst: pd.DataFrame, visible: int, cost: str) -> str:
    lines = [
        "# Membership of ordinary records, without privacy",
        "",
        f"{cost}. Made by `python -m experiments.membership`, which says what is trained. Each interval is 95%, of "
        "rates a bootstrap over the models that are attacked, of the AUC that of `audit.auc`. Known models: how many "
        "an attack uses of each record on either side (offline attacks use those without it alone), leave-one-out. "
        "These figures describe the attacks; no bound on epsilon rests on them.",
        "",
        "| attack | known models | AUC | TPR at 0.1% FPR | TPR at 1% FPR |",
        "|---|---|---|---|---|",
    ]
    for _, row in table.iterrows():
        rates = (
            f"{100 * row[f'tpr_at_{fpr}']:.2f}% ({100 * row[f'tpr_at_{fpr}_low']:.2f} to "
            f"{100 * row[f'tpr_at_{fpr}_high']:.2f})"
            for fpr in FPRS
        )
        area = f"{row['auc']:.4f} ({row['auc_low']:.4f} to {row['auc_high']:.4f})"
        lines.append(f"| {row['attack']} | {row['known_models']} | {area} | {' | '.join(rates)} |")
    lines += [
        "",
        *_reading(table),
        "![TPR against FPR on log axes](membership.png)",
        "",
        "## Records most at risk",
        "",
        f"The membership of {visible:,} records can be told (p at most 0.05, adjusted for all records, Holm). Each "
        "record's own AUC is over all models; its limits are approximate (Newcombe), at a level for all records "
        "together. The number is its position in the pool. More in [membership-risk.csv](membership-risk.csv).",
        "",
        "| record | AUC | adjusted p | models in, out |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {row.record} | {row.auc:.3f} ({row.auc_low:.3f} to {row.auc_high:.3f}) | {row.p_adjusted:.2g} "
        f"| {row.models_in}, {row.models_out} |"
        for row in worst.head(10).itertuples()
    ]
    return "\n".join([*lines, ""])
