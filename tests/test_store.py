"""The run directory: whole files or none."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from audit.store import SCHEMA_VERSION, RunDirectory, jsonable
from canaries.errors import InputError


@pytest.fixture
def run(tmp_path):
    return RunDirectory(tmp_path / "run")


def frame(model, score=0.5):
    return pd.DataFrame({"attack": "loss", "model": model, "canary": ["a", "b"], "score": [score, -score]})


def files(run):
    return sorted(str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file())


def test_a_unit_is_done_once_its_scores_are_there(run):
    assert not run.is_done("one", "u1")
    run.write_unit("one", "u1", frame(0), {"model": 0})
    assert run.is_done("one", "u1")
    assert not run.is_done("two", "u1")
    assert files(run) == ["models/one/u1.json", "scores/one/u1.parquet"]


def test_pandas_reads_all_scores_in_one_line(run):
    for model in range(3):
        run.write_unit("one", f"u{model}", frame(model), {"model": model})
    scores = pd.read_parquet(run.path / "scores" / "one")
    assert sorted(scores["model"]) == [0, 0, 1, 1, 2, 2]
    assert list(scores.columns) == ["attack", "model", "canary", "score"]


def test_scores_and_facts_come_in_the_order_asked_for(run):
    for model in (2, 0, 1):
        run.write_unit("one", f"u{model}", frame(model), {"model": model})
    units = ["u1", "missing", "u2", "u0"]
    assert list(run.scores("one", units)["model"]) == [1, 1, 2, 2, 0, 0]
    assert [fact["model"] for fact in run.facts("one", units)] == [1, 2, 0]
    assert run.scores("one", ["missing"]).empty


def test_a_failure_goes_once_the_unit_succeeds(run):
    run.write_failure("u1", "Traceback: é\n")
    assert run.failures(["u1", "u2"]) == {"u1": "Traceback: é\n"}
    run.write_unit("one", "u1", frame(0), {})
    assert run.failures(["u1", "u2"]) == {}
    assert files(run) == ["models/one/u1.json", "scores/one/u1.parquet"]


def test_what_a_killed_writer_left_is_neither_done_nor_read(run):
    run.write_unit("one", "u0", frame(0), {"model": 0})
    folder = run.path / "scores" / "one"
    (folder / ".u1.123").write_bytes(b"PAR1 half a file")
    assert not run.is_done("one", "u1")
    assert list(pd.read_parquet(folder)["model"]) == [0, 0]
    assert list(run.scores("one", ["u0", "u1"])["model"]) == [0, 0]


def test_writing_fails_whole(run, monkeypatch):
    run.write_unit("one", "u0", frame(0, score=1.0), {})

    def half(self, path, **_):
        path.write(b"PAR1")
        raise OSError("disk full")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", half)
    with pytest.raises(OSError, match="disk full"):
        run.write_unit("one", "u0", frame(0, score=2.0), {})
    assert list(run.scores("one", ["u0"])["score"]) == [1.0, -1.0]


def test_the_manifest(run):
    run.write_manifest({"experiment": {"epsilons": (1.0, math.inf)}, "nothing": math.nan})
    assert run.manifest() == {
        "schema_version": SCHEMA_VERSION,
        "experiment": {"epsilons": [1.0, "inf"]},
        "nothing": None,
    }
    assert RunDirectory.open(run.path).manifest() == run.manifest()


def test_jsonable_comes_back_by_float():
    values = [1.5, math.inf, -math.inf]
    assert [float(value) for value in json.loads(json.dumps(jsonable(values)))] == values
    assert jsonable({1: (math.nan, "x", True)}) == {"1": [None, "x", True]}


def test_no_run_there(tmp_path):
    with pytest.raises(InputError, match=r"is no run directory: it has no run\.json\."):
        RunDirectory.open(tmp_path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"schema_version": 999}', f"has schema version 999, this version reads {SCHEMA_VERSION}"),
        ("{}", "has schema version None"),
        ("{half", "Cannot read"),
        ("[]", "Cannot read|has schema version"),
    ],
)
def test_a_manifest_that_cannot_be_read(tmp_path, text, sentence):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(InputError, match=sentence):
        RunDirectory.open(tmp_path)


def test_scores_hold_one_configuration_at_a_time(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    for unit in ("old", "new"):
        run.write_unit("a", unit, pd.DataFrame({"score": [1.0]}), {})
    run.put_aside_all_but({"a": {"new"}})
    assert [run.is_done("a", unit) for unit in ("old", "new")] == [False, True]
    assert len(pd.read_parquet(tmp_path / "scores" / "a")) == 1
    run.put_aside_all_but({"a": {"old"}})
    assert [run.is_done("a", unit) for unit in ("old", "new")] == [True, False]


def test_damage_is_told_or_trained_again(run):
    for unit in ("u0", "u1", "u2"):
        run.write_unit("one", unit, frame(0), {})
    (run.path / "scores/one/u0.parquet").write_bytes(b"")
    (run.path / "models/one/u1.json").unlink()
    assert [run.is_done("one", unit) for unit in ("u0", "u1", "u2")] == [False, False, True]
    (run.path / "scores/one/u2.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(InputError, match="damaged; delete it and run the sweep again"):
        run.scores("one", ["u2"])
