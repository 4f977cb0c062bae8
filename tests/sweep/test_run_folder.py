"""What a sweep leaves on disk, and what is read back from it."""

import json
import math

import pandas as pd

import audit
from audit.config import parse
from audit.runs import load_result
from tests.sweep.tiny_sweep import run, scores, temporary, tiny


def test_scores_are_one_pandas_line_away(plain):
    frame = pd.read_parquet(plain / "scores" / "a")
    assert len(frame) == 2 * 3 * 6  # epsilons, models, canaries with references
    assert set(frame["epsilon"]) == {4.0, math.inf}
    assert set(frame["attack"]) == {"loss"}
    assert sorted(frame["model"].unique()) == [0, 1, 2]
    assert frame["reference"].sum() == 2 * 3 * 2
    assert frame["member"].dtype == bool
    assert frame.notna().all(axis=None)


def test_nothing_temporary_is_left(plain):
    assert temporary(plain) == []
    names = {path.suffix for path in plain.rglob("*") if path.is_file()}
    assert names == {".json", ".parquet"}


def test_the_manifest_says_how_the_run_was_made(plain):
    manifest = json.loads((plain / "run.json").read_text())
    assert manifest["schema_version"] == 1
    assert parse(_finite(manifest["experiment"])).plain() == parse(tiny()).plain()
    assert [cell["claim"]["epsilon"] for cell in manifest["cells"]] == [4.0, "inf"]
    assert manifest["cells"][1]["noise_multiplier"] == 0.0
    assert manifest["cells"][0]["claim"]["sampling"] == "full-batch"
    units = [unit for cell in manifest["cells"] for unit in cell["units"]]
    assert len(set(units)) == 6
    assert {"firedamp", "torch", "opacus", "python"} <= set(manifest["versions"])


def _finite(value):
    """Infinities come back from JSON as text."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return math.inf if value == "inf" else value


def test_facts_stand_beside_the_scores(plain):
    facts = [json.loads(path.read_text()) for path in (plain / "models" / "a").iterdir()]
    assert sorted(fact["model"] for fact in facts) == [0, 0, 1, 1, 2, 2]
    for fact in facts:
        assert 0 <= fact["utility"]["test accuracy"] <= 1
        assert fact["queries"] == {"loss": 6}
        assert fact["train_seconds"] > 0


def test_a_run_reads_back_as_a_result(plain):
    result = load_result(plain)
    assert [cell.claim.epsilon for cell in result.cells] == [4.0, math.inf]
    assert [cell.models_done for cell in result.cells] == [3, 3]
    frame = scores(plain)
    for cell in result.cells:
        stored = frame[frame["epsilon"] == cell.claim.epsilon]
        found = cell.attacks[0].scores.frame().sort_values(["model", "canary"])
        assert found["score"].tolist() == stored["score"].tolist()
        assert found["member"].tolist() == stored["member"].tolist()


def test_a_pipeline_without_privacy_is_only_a_control(tmp_path):
    table = tiny(epsilons=[math.inf], trainer={"name": "non-private", "model": "softmax", "steps": 1})
    assert run(table, tmp_path / "run").done == 3
    result = load_result(tmp_path / "run")
    assert result.cells[0].verdict is None
    assert result.verdict.outcome is audit.Outcome.INCONCLUSIVE
    assert "Nothing claims a finite epsilon" in result.verdict.reason
