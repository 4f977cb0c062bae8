"""The tables of docs/secrets.md, written from the CSV files of `secret_report` between the page's markers.

    python -m experiments.secret_tables

A marker is an HTML comment: `<!-- table: secrets 16 -->` with the name of a CSV file and a number of records, or
`<!-- rates: memorisation reconstructed -->` with the name of one of rates and an evidence. The table after it
reaches to the next empty line.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import pandas as pd

from audit.programs import run_program

PAGE = Path(__file__).parent.parent / "docs" / "secrets.md"
PIPELINES = {"rate-2": "rate 2", "rate-half": "rate 0.5", "mail": "", "lengths": "", "smollm2": ""}
TABLE = re.compile(r"(?<=<!-- table: )(\w+) (\d+)( -->\n)(?:\|.*\n)*")
RATES = re.compile(r"(?<=<!-- rates: )(\w+) (\w+)( -->\n)(?:\|.*\n)*")
LOSS, UNIGRAM = "test loss (nats per character)", "unigram loss (nats per character)"
NO_BETTER = "¶"
ALIKE = "‡"
MARKS = {"models": "", "secrets": ALIKE, "models alone": "§"}


def refresh(page: str, results: Path) -> str:
    """The page with each table made again from `results`/NAME.csv."""

    def made(marker: re.Match[str]) -> str:
        frame = pd.read_csv(results / f"{marker[1]}.csv")
        return f"{marker[1]} {marker[2]}{marker[3]}{leaks(frame, int(marker[2]))}"

    def counted(marker: re.Match[str]) -> str:
        frame = pd.read_csv(results / f"{marker[1]}.csv")
        return f"{marker[1]} {marker[2]}{marker[3]}{rates(frame, marker[2])}"

    return RATES.sub(counted, TABLE.sub(made, page))


def rates(frame: pd.DataFrame, evidence: str) -> str:
    """The rates of one evidence as a Markdown table: a column an epsilon, a row a number of records and a pipeline."""
    frame = frame[frame.evidence == evidence].sort_values("records", ascending=False, kind="stable")
    epsilons = sorted(frame.claimed_epsilon.unique())
    head = [frame.title.iloc[0], *(_epsilon(e, i == 0) for i, e in enumerate(epsilons))]
    lines = [head, ["---"] * len(head)]
    for records, pipeline in frame[["records", "audit"]].drop_duplicates().itertuples(index=False):
        mine = frame[(frame.records == records) & (frame.audit == pipeline)].set_index("claimed_epsilon")
        count = f"{records} record{'s' * (records > 1)}" if records else "never inserted"
        label = ", ".join(filter(None, (count, PIPELINES.get(pipeline, pipeline))))
        lines.append([label, *(_rate(mine.loc[epsilon]) for epsilon in epsilons)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _rate(row: pd.Series) -> str:
    """Successes of pairs, with the interval, marked where models are all alike; and those of pairs left out."""
    alike = ALIKE if row.replicates == "canaries" else ""
    shown = f"{round(row.rate * row.pairs)}/{row.pairs} [{row.rate_low:.2f}, {row.rate_high:.2f}]{alike}"
    return shown + (f"; {round(row.left_out * row.left_out_pairs)}/{row.left_out_pairs}" if row.left_out_pairs else "")


def leaks(frame: pd.DataFrame, records: int, attack: str = "extraction") -> str:
    """What secrets in so many records lost, as a Markdown table: a column an epsilon, a row a measure and pipeline.

    The larger leak of several pipelines is bold, unless they read alike. A cell whose model is no better than the
    unigram model is marked: it does not show what privacy stops, for there is no model.
    """
    mine = frame[(frame.records == records) & (frame.attack == attack)]
    control = frame[(frame.records == 0) & (frame.attack == attack)]
    epsilons = sorted(mine.epsilon.unique())
    head = [f"{records} records", *(_epsilon(e, i == 0) for i, e in enumerate(epsilons))]
    lines = [head, ["---"] * len(head)]
    for label, show, source, leak, places in (
        ("top-1 extraction", lambda row: _share(row, "top_1"), mine, "top_1", 4),
        ("top-100 extraction", lambda row: _share(row, "top_100"), mine, "top_100", 4),
        (f"exposure, of {mine.bits.max():.1f} bits", _exposure, mine, "exposure", 1),
        ("the same, never inserted", _exposure, control, "", 0),
        ("membership AUC", _auc, mine, "auc_secret-membership", 2),
        ("held-out loss less the unigram model's", lambda row: f"{row[LOSS] - row[UNIGRAM]:+.2f}", mine, "", 0),
    ):
        pipelines = list(dict.fromkeys(source.pipeline))
        for pipeline in pipelines:
            cells = []
            for epsilon in epsilons:
                here = source[source.epsilon == epsilon]
                row = here[here.pipeline == pipeline].iloc[0]
                text = show(row)
                if leak and round(row[leak], places) == here[leak].max().round(places) > here[leak].min().round(places):
                    text = f"**{text}**"
                cells.append(text + (NO_BETTER if row[LOSS] >= row[UNIGRAM] else ""))
            lines.append([", ".join(filter(None, (label, PIPELINES.get(pipeline, pipeline)))), *cells])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _epsilon(epsilon: float, first: bool) -> str:
    return "no noise" if math.isinf(epsilon) else f"{'epsilon ' if first else ''}{epsilon:g}"


def _share(row: pd.Series, name: str) -> str:
    """Successes of secrets, with the interval."""
    return f"{round(row[name] * row.secrets)}/{row.secrets} {_limits(row, name, 2)}"


def _exposure(row: pd.Series) -> str:
    return f"{row.exposure:.1f} {_limits(row, 'exposure', 1)}"


def _auc(row: pd.Series) -> str:
    name = "auc_secret-membership"
    return f"{row[name]:.2f} {_limits(row, name, 2)}"


def _limits(row: pd.Series, name: str, places: int) -> str:
    """The interval; marked where it is about these models, or these secrets, alone."""
    mark = MARKS[row[f"{name}_replicates"]]
    return f"[{row[f'{name}_low']:.{places}f}, {row[f'{name}_high']:.{places}f}]{mark}"


def main() -> None:
    page = PAGE.read_text("utf-8")
    PAGE.write_text(refresh(page, PAGE.parent / "results"), "utf-8")


if __name__ == "__main__":
    run_program(main)
