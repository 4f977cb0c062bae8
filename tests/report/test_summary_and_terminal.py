"""A run for machines (JSON) and for the terminal."""

from __future__ import annotations

import io
import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from audit.report import print_report, summary_json
from audit.report.summary import plain
from audit.results import RunResult


def show(result: RunResult, width: int = 110) -> str:
    console = Console(width=width, record=True, color_system=None, file=io.StringIO())
    print_report(result, console)
    return console.export_text()


def test_json_round_trip_loses_nothing(result: RunResult):
    summary = summary_json(result)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    bounds = [b for c in summary["cells"] for a in c["attacks"] for b in a["bounds"]]
    originals = [b for c in result.cells for a in c.attacks for b in a.bounds]
    assert bounds == [plain(asdict(b)) for b in originals]
    assert bounds[0]["assumptions"] == list(originals[0].assumptions)
    assert summary["cells"][4]["claim"]["epsilon"] == "inf"
    assert summary["cells"][4]["control"] is True
    assert summary["cells"][4]["verdict"] is None
    assert summary["cells"][0]["verdict"]["outcome"] == "INCONCLUSIVE"
    assert summary["cells"][8]["attacks"][0]["extraction"][2]["exposure"] == 9.1
    assert summary["failures"] == result.failures
    assert "scores" not in summary["cells"][0]["attacks"][0]
    assert summary["cells"][0]["attacks"][0]["references"] == 4


def test_json_holds_only_plain_data(result: RunResult):
    strange: dict[Any, Any] = {
        1.5: np.float64("nan"),
        "array": np.array([1, 2]),
        "path": Path("a"),
        "set": {2, 1},
        "low": -math.inf,
        "flag": np.bool_(True),
        "nested": ({"x": math.inf},),
    }
    expected = {"1.5": None, "array": [1, 2], "path": "a", "set": [1, 2], "low": "-inf", "flag": True}
    assert plain(strange) == expected | {"nested": [{"x": "inf"}]}
    json.dumps(summary_json(replace(result, config=strange)), allow_nan=False)


def test_the_terminal_shows_three_families_at_every_epsilon(result: RunResult):
    text = show(result)
    for words in ("membership", "label-only", "extraction", "16 copies", "never inserted", "NOT REFUTED", "1 failed"):
        assert words in text
    head = next(line for line in text.splitlines() if "ε = 1" in line)
    assert all(f"ε = {e}" in head for e in (1, 2, 4, 8))
    row = next(line for line in text.splitlines() if line.split()[:1] == ["loss"])
    assert [cell in row for cell in ("0 (≤3.28)", "0.123 (≤3.28)", "0.567 (≤3.28)", "3.27 (≤3.28)")] == [True] * 4
    assert "96.0% found" in text
    assert "26.5 bits" in text


def test_a_narrow_terminal_loses_no_number(result: RunResult):
    text = "".join(show(result, 80).split())
    assert text.count("(≤3.28)") == 10
    assert max(map(len, show(result, 80).splitlines())) <= 80


def test_users_text_is_not_markup(hostile: RunResult):
    assert "[bold]" in "".join(show(hostile, 200).split())


def test_parametric_bounds_are_marked(result: RunResult):
    attack = result.cells[3].attacks[0]
    only = replace(attack, bounds=tuple(b for b in attack.bounds if b.parametric))
    text = show(replace(result, cells=(replace(result.cells[3], attacks=(only,)),)))
    assert "1.72 (≤4.62)†" in text
    assert "† assumes" in text


def test_an_empty_run_has_its_verdict(empty: RunResult):
    assert show(empty).strip() == "INCONCLUSIVE: No unit finished."
