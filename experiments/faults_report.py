"""The planted faults and what was found of them, as Markdown beside the tables it is made of."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
from scipy.stats import beta

from experiments.planted_faults import FAULTS

TABLES = ("faults", "faults_repeats", "faults_clean")
COLUMNS = (
    *("fault", "verdict", "by", "other seeds", "really", "access", "attack", "canary"),
    *("ε ≥", "ε ≥ †", "models", "enough", "seconds"),
)


def write_report(tables: Path, out: Path) -> None:
    """Write faults.md into `out`, and the tables of `tables` beside it; those of repeats and clean runs may lack."""
    out.mkdir(parents=True, exist_ok=True)
    found = {name: pd.read_csv(tables / f"{name}.csv") for name in TABLES if (tables / f"{name}.csv").is_file()}
    for name, table in found.items():
        table.to_csv(out / f"{name}.csv", index=False, float_format="%.5g")
    text = markdown(*(found.get(name, pd.DataFrame()) for name in TABLES))
    (out / "faults.md").write_text(text, encoding="utf-8")


def statement(clean: pd.DataFrame, confidence: float) -> str:
    """What the clean runs say of false alarms, by Clopper and Pearson (1934)."""
    runs, refuted = len(clean), int((clean["verdict"] == "REFUTED").sum())
    settings = clean["settings"].nunique()
    high = beta.ppf(0.95, refuted + 1, runs - refuted) if refuted < runs else 1.0
    return (
        f"{refuted} of {runs} audits of the right trainer, in turn with each of the {settings} settings that faults "
        f"have, were refuted at confidence {confidence}; with 95% confidence the rate of false alarms, averaged "
        f"over these settings, is below {high:.2%}."
    )


def markdown(rows: pd.DataFrame, repeats: pd.DataFrame, clean: pd.DataFrame, confidence: float = 0.999) -> str:
    """The report; `repeats` and `clean` may be empty."""
    columns = [name for name in COLUMNS if len(repeats) or name != "other seeds"]
    lines = [
        "# Planted faults: what was found",
        "",
        "Made by `make faults`; [docs/faults.md](../faults.md) says how to read it. The table is of one seed, named in "
        "advance"
        + (
            "; the column of other seeds says how often the same was refuted with other pilots and models"
            * bool(len(repeats))
        )
        + ". ε is claimed to be 4 at δ = 1e-5. An attack sees every update (access: gradients) or asks the final model "
        "(loss). All rows: [faults.csv](faults.csv)"
        + (", [faults_repeats.csv](faults_repeats.csv)" if len(repeats) else "")
        + (", [faults_clean.csv](faults_clean.csv)" if len(clean) else "")
        + ".",
        "",
        f"| {' | '.join(columns)} |",
        f"|{'---|' * len(columns)}",
        *(_row(row, repeats) for _, row in rows.iterrows()),
        "",
        "## What each stands for",
        "",
        *(f"- **{fault.name}**: {fault.stands_for}." for fault in FAULTS),
        "",
        "## Not refuted",
        "",
        *(_missed(row) for _, row in rows[rows["verdict"] != "REFUTED"].iterrows()),
    ]
    if len(clean):
        lines += ["## The right one", "", statement(clean, confidence), "", *_right(clean), ""]
        unclear = clean.loc[clean["verdict"] == "INCONCLUSIVE", ["settings", "reason"]]
        lines += [f"Inconclusive ({settings}): {reason}\n" for settings, reason in unclear.to_numpy()]
    return "\n".join(lines).rstrip() + "\n"


def _right(clean: pd.DataFrame) -> list[str]:
    """The table of the right trainer: verdicts, the least p of the claim's test and the largest bound, by settings."""
    verdicts = ("NOT_REFUTED", "INCONCLUSIVE", "REFUTED")
    lines = [
        f"| settings | audits | {' | '.join(verdicts)} | least p | largest ε ≥ | seconds on average |",
        f"|{'---|' * (6 + len(verdicts) - 1)}",
    ]
    for settings, rows in clean.groupby("settings", sort=False):
        counts = [str((rows["verdict"] == verdict).sum()) for verdict in verdicts]
        found = f"{rows['p_value'].min():.2g} | {rows['bound'].max():.3g} | {rows['seconds'].mean():.1f}"
        lines.append(f"| {settings} | {len(rows)} | {' | '.join(counts)} | {found} |")
    return lines


def _row(row: pd.Series, repeats: pd.DataFrame) -> str:
    again = repeats[repeats["fault"] == row["fault"]] if len(repeats) else repeats
    by = "" if row["verdict"] != "REFUTED" else "bound" if row["bound"] > row["claimed"] else "claim's test"
    cells = (
        row["fault"],
        row["verdict"],
        by,
        *([f"{(again['verdict'] == 'REFUTED').sum()} of {len(again)}" if len(again) else ""] if len(repeats) else []),
        "" if pd.isna(row["really"]) else "∞" if math.isinf(row["really"]) else f"{row['really']:.3g}",
        row["access"],
        row["attack"],
        row["canary"],
        f"{row['bound']:.3g}",
        f"{row['curve_bound']:.3g}",
        f"{row['models']}",
        "" if pd.isna(row["enough"]) else f"{row['enough']:.0f}",
        f"{row['seconds']:.1f}",
    )
    return f"| {' | '.join(cells)} |"


def _missed(row: pd.Series) -> str:
    (note,) = [fault.note for fault in FAULTS if fault.name == row["fault"]]
    return f"**{row['fault']}** (p = {row['p_value']:.2g}). {note}\n"
