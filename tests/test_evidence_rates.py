"""Rates of evidence: what is counted of whom, and that every report shows them."""

from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from attacks.scores import Scores
from audit.config import parse
from audit.evidence_rates import evidence_rates
from audit.metrics import wilson
from audit.report import print_report, render, summary_json
from audit.report.publish import publish, rates_frame
from audit.report.tables import rate_rows
from audit.results import EvidenceRate, Interval, RunResult
from audit.runs import load_result
from audit.store import RunDirectory
from audit.sweeping import sweep

TITLES = {"near": "nearly", "whole": "wholly"}
TABLE = {
    "name": "passages",
    "epsilons": (4.0, math.inf),
    "delta": 1e-5,
    "audits": (
        {
            "name": "text",
            "models": 3,
            "attacks": ({"name": "prefix-suffix", "prefix": 39, "near": 0.5},),
            "estimators": ("one-run",),
            "data": {"name": "pydoc", "train": 40, "pool": 20, "test": 10},
            "canaries": {"design": {"name": "passages", "repetitions": (1, 4)}, "count": 8, "references": 4},
            "trainer": {
                "name": "ensemble",
                "model": {"name": "ngram", "hidden": 8, "context": 4},
                "steps": 2,
                "sample_rate": 0.5,
            },
        },
    ),
}


def made(models: int = 6) -> Scores:
    """Canaries in 1 record, in 4, and never inserted, four of each."""
    rng = np.random.default_rng(0)
    member = rng.random((models, 12)) < 0.5
    scores = Scores.from_matrix(np.zeros((models, 12)), member, "canary")
    return replace(
        scores,
        repetitions=np.repeat([1, 4, 4], 4),
        reference=np.arange(12) >= 8,
        evidence={"near": member & (np.arange(12) >= 4), "whole": np.zeros((models, 12), dtype=bool)},
    )


def test_members_are_counted_apart_from_those_left_out_and_never_inserted() -> None:
    scores = made()
    rates = evidence_rates(scores, TITLES)
    assert [(r.evidence, r.title, r.repetitions) for r in rates] == [
        (name, title, count) for name, title in TITLES.items() for count in (0, 1, 4)
    ]
    never, once, often = rates[:3]
    inserted = int(scores.member[:, 4:8].sum())
    assert (never.pairs, never.left_out, never.left_out_pairs) == (24, None, 0)
    assert never.share.value == scores.member[:, 8:].mean()  # All pairs, whatever the coin of what was not inserted.
    assert (once.share.value, once.left_out) == (0.0, wilson(0, 4))  # One secret in several models counts once.
    assert (often.pairs, often.left_out_pairs) == (inserted, 24 - inserted)
    assert often.share == wilson(4, 4)
    assert often.left_out == wilson(0, 4)
    assert often.of_these_models()
    assert not never.of_these_models()
    assert never.share.low < never.share.value < never.share.high


def test_fresh_secrets_in_each_model_are_counted_each() -> None:
    scores = replace(made(), secret_set=np.arange(6))
    often = evidence_rates(scores, TITLES)[2]
    assert often.share == wilson(often.pairs, often.pairs)


def test_secrets_of_several_lengths_are_counted_apart_and_those_of_a_user_together() -> None:
    scores = replace(made(), space=np.where(np.arange(12) % 2, 100.0, 10_000.0))
    assert sorted({round(r.bits, 2) for r in evidence_rates(scores, TITLES)}) == [6.64, 13.29]
    of_users = replace(scores, evidence={"near": scores.evidence["near"] / 3})  # One of three records of each user.
    assert evidence_rates(of_users, {"near": ""}) == evidence_rates(scores, {"near": ""})


def test_what_an_attack_did_not_give_and_empty_groups_are_no_error() -> None:
    scores = made()
    assert evidence_rates(replace(scores, evidence={}), TITLES) == ()
    out = evidence_rates(replace(scores, member=np.zeros_like(scores.member)), {"near": "nearly"})[1]
    assert (out.pairs, out.models) == (0, 0)
    assert math.isnan(out.share.value)
    every = evidence_rates(replace(scores, member=np.ones_like(scores.member)), {"near": "nearly"})[1]
    assert every.left_out is None


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("passages") / "run"
    sweep(parse(TABLE), out)
    publish(load_result(out), RunDirectory.open(out))
    return out


@pytest.fixture(scope="module")
def result(run: Path) -> RunResult:
    return load_result(run)


def test_a_sweep_shows_the_rates_that_its_scores_hold(run: Path, result: RunResult) -> None:
    frame = pd.read_parquet(run / "scores" / "text")
    for row in rate_rows(result):
        here = frame[(frame.epsilon == row.epsilon) & (frame.reference == (row.rate.repetitions == 0))]
        if row.rate.repetitions:
            here = here[here.repetitions == row.rate.repetitions]
        held = here if not row.rate.repetitions else here[here.member]
        assert row.rate.share.value == held[row.rate.evidence].astype(float).mean()
        assert row.rate.pairs == len(held)
    assert {row.rate.title for row in rate_rows(result)} == {"every token right", "at least 0.5 of tokens right"}
    rows = list(csv.DictReader(io.StringIO((run / "rates.csv").read_text("utf-8"))))
    assert len(rows) == len(rate_rows(result)) == 2 * 2 * 3
    assert [int(row["pairs"]) for row in rows] == [row.rate.pairs for row in rate_rows(result)]


def with_rates(result: RunResult, *rates: EvidenceRate) -> RunResult:
    cells = [replace(cell, attacks=(replace(cell.attacks[0], rates=rates),)) for cell in result.cells]
    return replace(result, cells=tuple(cells))


def test_page_terminal_and_summary_show_share_limits_and_those_left_out(result: RunResult) -> None:
    share, left_out = Interval(0.375, 0.25, 0.5), Interval(0.125, 0.0, 0.25)
    shown = EvidenceRate("near", "nearly <all>", 16, 0.0, 56, 5, share, 44, left_out)
    never = EvidenceRate("near", "nearly <all>", 0, 0.0, 160, 5, Interval(0.0, 0.0, 0.0625))
    changed = with_rates(result, never, shown)
    page = " ".join(re.sub(r"<[^>]+>", " ", render(changed)).split())
    assert "nearly &lt;all&gt;" in page
    assert "37.5% (25.0–50.0%) left out 12.5% (0–25.0%)" in page
    assert "0% (0–6.25%) ‡" in page
    console = Console(width=120, record=True, color_system=None, file=io.StringIO())
    print_report(changed, console)
    text = console.export_text()
    for words in (
        "nearly <all>, never inserted",
        "nearly <all>, 16 copies",
        "37.5% (25.0–50.0%)",
        "left out 12.5% (0–25.0%)",
    ):
        assert words in text
    told = summary_json(changed)["cells"][0]["attacks"][0]["rates"][1]
    assert told["share"] == {"value": 0.375, "low": 0.25, "high": 0.5}
    assert (told["title"], told["repetitions"], told["left_out"]["value"]) == ("nearly <all>", 16, 0.125)
    row = rates_frame(changed).iloc[1]
    assert (row.rate, row.rate_low, row.left_out_high, row.records, row.replicates) == (0.375, 0.25, 0.25, 16, "models")


def test_without_rates_there_is_no_table_and_no_file(result: RunResult, tmp_path: Path) -> None:
    bare = with_rates(result)
    assert "What else attacks found" not in render(bare)
    publish(bare, RunDirectory(tmp_path))
    assert not (tmp_path / "rates.csv").exists()
