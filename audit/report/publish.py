"""Everything that a finished run leaves for people and machines, written into its directory."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from audit.plots import save_plots
from audit.report.html import write_report
from audit.report.summary import summary_json
from audit.results import Interval, RunResult
from audit.store import RunDirectory


def publish(result: RunResult, run: RunDirectory) -> Path:
    """Write report.html, plots/, summary.json, bounds.csv and, where there are any, rates.csv; the report's path."""
    run.write_json("summary.json", summary_json(result))
    bounds_frame(result).to_csv(run.path / "bounds.csv", index=False)
    if len(rates := rates_frame(result)):
        rates.to_csv(run.path / "rates.csv", index=False)
    save_plots(result, run.path / "plots")
    return write_report(result, run.path / "report.html")


def bounds_frame(result: RunResult) -> pd.DataFrame:
    """One row for each bound of the run."""
    return pd.DataFrame(
        [
            {
                "audit": cell.audit,
                "claimed_epsilon": cell.claim.epsilon,
                "delta": bound.delta,
                "attack": attack.attack,
                "estimator": bound.estimator,
                "epsilon_lower": bound.epsilon,
                "epsilon_lower_whole_secret": bound.whole,
                "ceiling": bound.ceiling,
                "confidence": bound.confidence,
                "parametric": bound.parametric,
                "auc": attack.auc.value,
                "models": cell.models_done,
                "verdict": cell.verdict.outcome.value if cell.verdict else "",
            }
            for cell in result.cells
            for attack in cell.attacks
            for bound in attack.bounds
        ]
    )


def rates_frame(result: RunResult) -> pd.DataFrame:
    """One row for each rate of evidence, see `Attack.rates`; 0 records stand for what was never inserted."""
    return pd.DataFrame(
        [
            {
                "audit": cell.audit,
                "claimed_epsilon": cell.claim.epsilon,
                "attack": attack.attack,
                "evidence": rate.evidence,
                "title": rate.title,
                "records": rate.repetitions,
                "bits": rate.bits,
                "models": rate.models,
                "pairs": rate.pairs,
                **_columns("rate", rate.share),
                "replicates": "canaries" if rate.of_these_models() else "models",
                "left_out_pairs": rate.left_out_pairs,
                **_columns("left_out", rate.left_out),
            }
            for cell in result.cells
            for attack in cell.attacks
            for rate in attack.rates
        ]
    )


def _columns(name: str, share: Interval | None) -> dict[str, float | None]:
    limits = (None, None, None) if share is None else (share.value, share.low, share.high)
    return dict(zip((name, f"{name}_low", f"{name}_high"), limits, strict=True))
