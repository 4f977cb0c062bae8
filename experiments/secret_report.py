"""The figures and one table of a run over secrets, for the documentation.

    python -m experiments.secret_report runs/secrets --out docs/results

It writes secrets.csv (a row for each pipeline, epsilon and number of records) and the figures of extraction, of
extraction beside membership, of the bits that a secret needs, and of utility; of a run without secrets, what attacks
found by number of records.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from audit import plots
from audit.auc import auc_interval
from audit.programs import run_program
from audit.report.publish import rates_frame
from audit.results import About, AttackResult, CellResult, Extraction, Interval, RunResult
from audit.runs import load_result

FIGURES = {"extraction": plots.extraction, "secrets": plots.secrets, "bits": plots.bits, "utility": plots.utility}

REPLICATES = {"": "models", "models": "secrets", "canaries": "models alone"}
"""By what an interval is about alone, what it takes for replicates."""


def table(result: RunResult) -> pd.DataFrame:
    """One row for each pipeline, claimed epsilon, extraction attack and number of records that hold a secret."""
    rows = []
    for cell in result.cells:
        others = [a for a in cell.attacks if not a.extraction]
        for attack in cell.attacks:
            rows += [_row(cell, attack, found, others) for found in attack.extraction]
    return pd.DataFrame(rows)


def _row(cell: CellResult, attack: AttackResult, found: Extraction, others: list[AttackResult]) -> dict[str, object]:
    row: dict[str, object] = {
        "pipeline": cell.audit,
        "epsilon": cell.claim.epsilon,
        "attack": attack.attack,
        "records": found.repetitions,
        "bits": round(found.exposure_max, 2),
        "models": cell.models_done,
        "secrets": found.secrets,
        "exposure": round(found.exposure, 2),
        "exposure_floor": round(found.exposure_floor, 2),
        "exposure_cap": round(found.exposure_cap, 2),
        "counted": round(found.exact, 3),
    }
    if found.exposure_interval:
        row |= _interval("exposure", found.exposure_interval, found.exposure_interval.of_these, places=2)
    for label, share in (("greedy", found.rate), *((f"top_{k}", share) for k, share in found.top)):
        row |= _interval(label, share, "models" if found.of_these_models(share) else "")
    row["allowed"] = found.allowed
    if found.repetitions and found.auc_interval:
        row |= _interval("auc", found.auc_interval, found.auc_interval.of_these)
        for other in others:
            scores = other.scores.select(~other.scores.reference & (other.scores.repetitions == found.repetitions))
            area = auc_interval(scores)
            row |= _interval(f"auc_{other.attack}", area, area.of_these)
    for name, value in cell.utility.items():
        row[name] = round(value.value, 4)
    return row


def _interval(name: str, found: Interval, of_these: About, places: int = 4) -> dict[str, object]:
    return {
        name: round(found.value, places),
        f"{name}_low": round(found.low, places),
        f"{name}_high": round(found.high, places),
        f"{name}_replicates": REPLICATES[of_these],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--name", default="secrets")
    arguments = parser.parse_args()
    result = load_result(arguments.run)
    arguments.out.mkdir(parents=True, exist_ok=True)
    found = table(result)
    shown = found if len(found) else rates_frame(result).round(4)
    shown.to_csv(arguments.out / f"{arguments.name}.csv", index=False, lineterminator="\n")
    for name, draw in FIGURES.items():
        figure = draw(result)
        if figure is not None:
            (arguments.out / f"{arguments.name}-{name}.png").write_bytes(plots.png(figure))


if __name__ == "__main__":
    run_program(main)
