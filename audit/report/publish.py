"""Everything that a finished run leaves for people and machines, written into its directory."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from audit.plots import save_plots
from audit.report.html import write_report
from audit.report.summary import summary_json
from audit.results import RunResult
from audit.store import RunDirectory


def publish(result: RunResult, run: RunDirectory) -> Path:
    """Write report.html, plots/, summary.json and bounds.csv; the report's path."""
    run.write_json("summary.json", summary_json(result))
    bounds_frame(result).to_csv(run.path / "bounds.csv", index=False)
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
