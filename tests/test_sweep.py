"""Sweeps: equal whatever the number of jobs, whatever was interrupted; what is done is not redone."""

import copy
import json
import math
import os
import signal
import subprocess
import sys
import time

import joblib
import pandas as pd
import pytest
import torch

import audit
from audit.config import parse
from audit.gate import exit_code
from audit.runs import load_result
from audit.sweeping import sweep
from audit.training.speed import Speed
from canaries.errors import InputError

TINY = {
    "name": "tiny",
    "epsilons": [4.0],
    "delta": 1e-5,
    "audits": [
        {
            "name": "a",
            "models": 3,
            "attacks": ["loss"],
            "estimators": ["one-run"],
            "data": {"name": "digits", "train": 30, "pool": 10, "test": 5},
            "canaries": {"design": "mislabelled", "count": 4, "references": 2},
            "trainer": {"name": "opacus", "model": "softmax", "steps": 1, "sample_rate": 1.0},
        }
    ],
}
FLAKY = '''
from dataclasses import dataclass
from pathlib import Path
from attacks.loss import Loss

@dataclass(frozen=True)
class Flaky(Loss):
    """Fails on models that have learnt with noise, until a file is there."""
    name = "flaky"
    mended: str = ""

    def score(self, view, canaries, seed):
        score, evidence = super().score(view, canaries, seed)
        if score[0, 0] < {limit} and not Path(self.mended).exists():
            raise RuntimeError("this attack is flaky")
        return score, evidence
'''


class Counter:
    """Progress that remembers."""

    def __init__(self):
        self.total = self.before = self.done = self.failed = 0

    def announce(self, message):
        pass

    def start(self, total, done):
        self.total, self.before = total, done

    def advance(self, models, failed):
        self.done += models
        self.failed += failed


TEXT = {
    "data": {"name": "pydoc", "train": 30, "pool": 12, "test": 5},
    "canaries": {"design": {"name": "secrets", "digits": 2}, "count": 4, "references": 2},
    "trainer": {"name": "ensemble", "model": "ngram", "steps": 1, "sample_rate": 1.0},
}


def tiny(**changes):
    """The tiny experiment; a key with a dot belongs to the audit."""
    table = copy.deepcopy(TINY)
    for key, value in changes.items():
        (table if key in ("epsilons", "seed", "name", "delta") else table["audits"][0])[key] = value
    return table


def run(table, out, **options):
    counter = Counter()
    sweep(parse(table), out, progress=counter, **options)
    return counter


def scores(out, name="a"):
    keys = ["epsilon", "attack", "model", "canary"]
    return pd.read_parquet(out / "scores" / name).sort_values(keys).reset_index(drop=True)


def temporary(out):
    return list(out.rglob(".*"))


def written(out):
    return {path.name: path.stat().st_mtime_ns for path in (out / "scores").rglob("*.parquet")}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The tiny experiment, run once and not touched."""
    out = tmp_path_factory.mktemp("sweep") / "plain"
    counter = run(tiny(), out)
    assert (counter.total, counter.before, counter.done, counter.failed) == (6, 0, 6, 0)
    return out


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


def test_running_again_trains_nothing(plain):
    before = written(plain)
    counter = run(tiny(), plain)
    assert (counter.total, counter.before, counter.done) == (6, 6, 0)
    assert written(plain) == before


@pytest.fixture
def copied(plain, tmp_path):
    """A copy of the plain run, to be added to."""
    import shutil

    return shutil.copytree(plain, tmp_path / "run")


def test_more_epsilons_train_only_what_is_new(copied, plain):
    before = written(copied)
    counter = run(tiny(epsilons=[4.0, 2.0]), copied)
    assert (counter.total, counter.before, counter.done) == (9, 6, 3)
    assert before.items() < written(copied).items()
    assert [cell.claim.epsilon for cell in load_result(copied).cells] == [2.0, 4.0, math.inf]
    same = scores(copied).query("epsilon != 2.0").reset_index(drop=True)
    pd.testing.assert_frame_equal(same, scores(plain))


def test_more_models_train_only_what_is_new(copied, plain):
    counter = run(tiny(models=5), copied)
    assert (counter.total, counter.before, counter.done) == (10, 6, 4)
    pd.testing.assert_frame_equal(scores(copied).query("model < 3").reset_index(drop=True), scores(plain))


def test_fewer_models_are_a_part_of_what_is_there(copied):
    assert run(tiny(models=2), copied).done == 0
    assert [cell.models_done for cell in load_result(copied).cells] == [2, 2]


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"attacks": ["loss", {"name": "noise-robustness", "copies": 2}]},
        {"data": {"name": "digits", "train": 31, "pool": 10, "test": 5}},
        {"canaries": {"design": "mislabelled", "count": 4, "references": 3}},
        {"trainer": {"name": "opacus", "model": "softmax", "steps": 1, "sample_rate": 1.0, "learning_rate": 0.5}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_whatever_defines_a_model_trains_it_anew(copied, changes):
    counter = run(tiny(**changes), copied)
    assert (counter.total, counter.before, counter.done) == (6, 0, 6)


def test_an_attack_s_setting_trains_anew(copied):
    first = {"attacks": ["loss", {"name": "noise-robustness", "copies": 2}]}
    second = {"attacks": ["loss", {"name": "noise-robustness", "copies": 3}]}
    run(tiny(**first), copied)
    assert run(tiny(**second), copied).done == 6
    assert run(tiny(**first), copied).done == 0


@pytest.mark.parametrize("changes", [{"name": "renamed"}, {"estimators": ["one-run", "one-run-calibrated"]}])
def test_what_defines_no_model_trains_nothing(copied, changes):
    assert run(tiny(**changes), copied).done == 0


# Threads share the list of warning filters, so one may see the other's list: noise, which no result depends on.
@pytest.mark.filterwarnings("ignore:Full backward hook is firing", "ignore:Secure RNG turned off")
@pytest.mark.parametrize(("jobs", "backend"), [(2, "loky"), (3, "threading")])
def test_results_do_not_depend_on_the_number_of_jobs(plain, tmp_path, jobs, backend):
    counter = run(tiny(), tmp_path / "run", jobs=jobs, backend=backend)
    assert counter.done == 6
    pd.testing.assert_frame_equal(scores(tmp_path / "run"), scores(plain))
    assert temporary(tmp_path / "run") == []
    joblib.externals.loky.get_reusable_executor().shutdown(wait=True)


ENSEMBLE = tiny(
    models=5,
    attacks=["loss", "weights", "gradient"],
    trainer={
        "name": "ensemble",
        "model": {"name": "mlp", "hidden": [6]},
        "steps": 4,
        "sample_rate": 0.5,
        "momentum": 0.5,
        "record": "gradients",
        "checkpoint_every": 2,
    },
)


@pytest.fixture(scope="module")
def trained_together(tmp_path_factory):
    """An experiment of the ensemble trainer, all models of a cell side by side."""
    out = tmp_path_factory.mktemp("sweep") / "ensemble"
    assert run(ENSEMBLE, out, speed=Speed(rows=4096, models=64)).done == 10
    return out


def assert_that_it_equals(out, wanted):
    """The same units, to the letter; the same scores, to float32's rounding."""
    assert set(written(out)) == set(written(wanted))
    pd.testing.assert_frame_equal(scores(out), scores(wanted), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"speed": Speed(rows=1)},
        {"speed": Speed(rows=7, models=2)},
        {"speed": Speed(memory_mb=0.01)},
        {"jobs": 2},
        {"jobs": 2, "backend": "threading", "speed": Speed(rows=5)},
    ],
    ids=str,
)
def test_no_result_of_the_ensemble_depends_on_portions_or_jobs(trained_together, tmp_path, options):
    assert run(ENSEMBLE, tmp_path / "run", **options).done == 10
    assert_that_it_equals(tmp_path / "run", trained_together)
    joblib.externals.loky.get_reusable_executor().shutdown(wait=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_no_result_of_the_ensemble_depends_on_the_device(trained_together, tmp_path):
    assert run(ENSEMBLE, tmp_path / "run", speed=Speed("cuda")).done == 10
    assert_that_it_equals(tmp_path / "run", trained_together)


def test_other_portions_train_nothing_anew(trained_together):
    assert run(ENSEMBLE, trained_together, speed=Speed(rows=3, models=1)).done == 0


def test_the_public_name_is_this_function():
    assert audit.sweep is sweep
    assert audit.sweep is sweep  # also after what it lives in was imported


def test_a_unit_that_fails_leaves_its_traceback_and_is_retried(plain, tmp_path, monkeypatch):
    first = scores(plain).query("canary == 'mislabelled-0000'")["score"]
    limit = (sorted(first)[2] + sorted(first)[3]) / 2  # so that three models of six fail
    (tmp_path / "flaky_plugin.py").write_text(FLAKY.replace("{limit}", repr(float(limit))))
    monkeypatch.syspath_prepend(str(tmp_path))
    mended = tmp_path / "mended"
    table = tiny(attacks=["loss", {"name": "flaky_plugin:Flaky", "mended": str(mended)}])
    out = tmp_path / "run"
    try:
        counter = run(table, out)
        assert (counter.done, counter.failed) == (3, 3)
        result = load_result(out)
        assert len(result.failures) == 3
        assert all("RuntimeError: this attack is flaky" in trace for trace in result.failures.values())
        assert all(trace.startswith("Traceback") for trace in result.failures.values())
        assert sum(cell.models_done for cell in result.cells) == 3
        assert result.verdict.outcome is audit.Outcome.INCONCLUSIVE
        assert exit_code(result) == 4

        counter = run(table, out)  # still broken: the failed ones are tried again, the others are not
        assert (counter.before, counter.done, counter.failed) == (3, 0, 3)

        mended.touch()
        counter = run(table, out)
        assert (counter.before, counter.done, counter.failed) == (3, 3, 0)
        result = load_result(out)
        assert result.failures == {}
        assert [attack.attack for attack in result.cells[0].attacks] == ["loss", "flaky"]
        loss = scores(out).query("attack == 'loss'").reset_index(drop=True)
        pd.testing.assert_frame_equal(loss, scores(plain))
    finally:
        sys.modules.pop("flaky_plugin", None)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"jobs": 0}, "jobs >= 1, or -1 for one per core, got 0"),
        ({"jobs": -2}, "jobs >= 1, or -1 for one per core, got -2"),
        ({"backend": "slurm"}, "Unknown backend 'slurm'; allowed: loky, threading, sequential, ray, dask"),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(tmp_path, options, sentence):
    with pytest.raises(InputError, match=sentence):
        sweep(parse(tiny()), tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"trainer": {"name": "opacus", "model": "cnn"}}, "Model 'cnn' needs images"),
        ({"trainer": {"name": "opacus", "model": "ngram"}}, "Model 'ngram' learns from text records"),
        (
            {"trainer": {"name": "non-private", "model": "softmax"}},
            "cannot claim a finite epsilon; use 'opacus', or inf",
        ),
        ({"data": {"name": "digits", "train": -1, "pool": 10}}, "Expected train >= 1"),
        (
            {"canaries": {"design": "mislabelled", "count": 11, "references": 0}},
            "11 mislabelled canaries .* the pool of 'digits' holds 10",
        ),
        ({"estimators": ["dkw"]}, "Estimator 'dkw' cannot be used in audit 'a': it needs"),
        (
            {"estimators": ["one-run", "secret-guess"]},
            "Estimator 'secret-guess' cannot be used in audit 'a': it needs the evidence 'guessed', which 'loss' does "
            "not give; best-first, extraction, sampling would.",
        ),
        (
            {**TEXT, "attacks": ["decoding", "prefix-suffix"], "estimators": ["secret-guess"]},
            "Estimator 'secret-guess' cannot be used in audit 'a': it needs the evidence 'guessed', which 'decoding' "
            "and 'prefix-suffix' do not give; best-first, extraction, sampling would.",
        ),
        (
            {**TEXT, "attacks": ["best-first", "sampling"], "estimators": ["exposure-rank"]},
            "needs the evidence 'exposure', which 'best-first' and 'sampling' do not give; extraction would.",
        ),
        (
            {**TEXT, "attacks": ["extraction"], "estimators": [{"name": "reconstruction", "prior": 0.01}]},
            "needs the evidence 'reconstructed', which 'extraction' does not give; prefix-suffix would.",
        ),
        (
            {**TEXT, "attacks": ["decoding", "prefix-suffix"], "estimators": ["reconstruction"]},
            "'reconstruction' cannot be used in audit 'a': it needs a prior",
        ),
        (
            {
                "estimators": ["calibrated-loss-curve"],
                "models": 2,
                "canaries": {"design": "blank", "count": 1, "randomise": "model"},
                "trainer": {"name": "ensemble", "model": "softmax", "steps": 8, "sample_rate": 0.5},
            },
            "'calibrated-loss-curve' does not fit the trainer of audit 'a': It assumes sample_rate = 1 and steps = 1, "
            "but training has sample_rate = 0.5 and steps = 8; set the estimator's fields to these",
        ),
        (
            {
                "estimators": [{"name": "calibrated-loss-curve", "steps": 8, "sample_rate": 0.5}],
                "models": 2,
                "canaries": {"design": "blank", "count": 1, "randomise": "model"},
                "trainer": {
                    "name": "ensemble",
                    "model": "softmax",
                    "steps": 8,
                    "sample_rate": 0.5,
                    "rates": [[4, 1.0]],
                },
            },
            "It is for one sampling rate, but training has a schedule of batch sizes",
        ),
        ({"attacks": ["augmentations"]}, r"Attack 'augmentations' needs images: .* got records of shape \[64\]"),
        (
            {"attacks": ["boundary-distance"], "canaries": {"design": {"name": "blank", "label": 3}, "count": 4}},
            "needs a reference point of another class, but all canaries have label 3; use reference = 'blank'",
        ),
        (
            {"attacks": ["population"], "canaries": {"design": "mislabelled", "count": 4, "references": 0}},
            "Attack 'population' needs a population: name some references",
        ),
        (
            {
                "attacks": ["extraction"],
                "estimators": ["exposure-rank"],
                "data": {"name": "pydoc", "train": 30, "pool": 12, "test": 5},
                "canaries": {"design": "passages", "count": 4, "references": 2},
                "trainer": {"name": "ensemble", "model": "ngram", "steps": 1, "sample_rate": 1.0},
            },
            "Attack 'extraction' needs canaries with secrets; design 'passages' has none",
        ),
        ({"epsilons": [1e-9]}, "No noise multiplier in .* gives epsilon 1e-09"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path, changes, sentence):
    with pytest.raises(InputError, match=sentence):
        sweep(parse(tiny(**changes)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


SILENT = """
from dataclasses import dataclass
import numpy as np
from attacks.base import Attack
from attacks.view import Access

@dataclass(frozen=True)
class Silent(Attack):
    name = "silent"
    access = Access.LOSS
    kinds = frozenset({"text"})
    family = "membership"

    def score(self, view, canaries, seed):
        shape = (view.models, len(canaries))
        return np.zeros(shape), {"guessed": np.zeros(shape, dtype=bool)}
"""


def test_an_attack_that_does_not_declare_its_evidence_is_not_refused_in_advance(tmp_path, monkeypatch):
    (tmp_path / "silent_plugin.py").write_text(SILENT)
    monkeypatch.syspath_prepend(str(tmp_path))
    table = tiny(**TEXT, attacks=["silent_plugin:Silent"], estimators=["secret-guess"], models=1)
    try:
        assert run(table, tmp_path / "run").done == 2
        bounds = [bound for cell in load_result(tmp_path / "run").cells for bound in cell.attacks[0].bounds]
        assert [bound.estimator for bound in bounds] == ["secret-guess"] * 2
    finally:
        sys.modules.pop("silent_plugin", None)


def test_a_pipeline_without_privacy_is_only_a_control(tmp_path):
    table = tiny(epsilons=[math.inf], trainer={"name": "non-private", "model": "softmax", "steps": 1})
    assert run(table, tmp_path / "run").done == 3
    result = load_result(tmp_path / "run")
    assert result.cells[0].verdict is None
    assert result.verdict.outcome is audit.Outcome.INCONCLUSIVE
    assert "Nothing claims a finite epsilon" in result.verdict.reason


# Interrupted, in processes of their own.

MANY = tiny(models=40)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    out = tmp_path_factory.mktemp("sweep") / "many"
    assert run(MANY, out).done == 80
    return out


def start(out, jobs):
    """`firedamp sweep` in a session of its own, once its first scores are there."""
    config = out.parent / "tiny.toml"
    a = MANY["audits"][0]
    config.write_text(
        f"name = 'tiny'\nepsilons = [4.0]\ndelta = 1e-5\n[[audits]]\nname = 'a'\nmodels = {a['models']}\n"
        "attacks = ['loss']\nestimators = ['one-run']\n"
        "data = { name = 'digits', train = 30, pool = 10, test = 5 }\n"
        "canaries = { design = 'mislabelled', count = 4, references = 2 }\n"
        "trainer = { name = 'opacus', model = 'softmax', steps = 1, sample_rate = 1.0 }\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "audit", "sweep", str(config), "--out", str(out), "--jobs", str(jobs)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  # background jobs ignore it
    )
    end = time.monotonic() + 120
    while process.poll() is None and not list((out / "scores" / "a").glob("*.parquet")):
        assert time.monotonic() < end, "no model was trained within two minutes"
        time.sleep(0.005)
    return process


def assert_that_it_resumes(out, uninterrupted):
    there = len(list((out / "scores" / "a").glob("*.parquet")))
    assert 0 < there < 80
    assert len(pd.read_parquet(out / "scores" / "a")) == there * 6  # every file is whole
    assert len(load_result(out).cells) == 2  # what is there can be looked at
    counter = run(MANY, out)
    assert (counter.before, counter.done) == (there, 80 - there)
    pd.testing.assert_frame_equal(scores(out), scores(uninterrupted))


def test_a_killed_sweep_resumes_to_equal_results(uninterrupted, tmp_path):
    out = tmp_path / "run"
    process = start(out, jobs=1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert_that_it_resumes(out, uninterrupted)


def assert_that_no_process_is_left(group):
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError("a worker was left behind")


@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_stops_cleanly_and_keeps_what_is_done(uninterrupted, tmp_path, jobs):
    out = tmp_path / "run"
    process = start(out, jobs)
    os.killpg(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert "the same command goes on from there" in " ".join(stderr.split())
    assert stdout == ""
    assert not list((out / "failures").glob("*"))
    assert_that_no_process_is_left(process.pid)
    assert_that_it_resumes(out, uninterrupted)
