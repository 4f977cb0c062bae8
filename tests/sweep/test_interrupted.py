"""Sweeps in processes of their own, interrupted: they resume to equal results."""

import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from audit.runs import load_result
from tests.sweep.tiny_sweep import run, scores, tiny
from tests.tiny_experiment import TOML

MANY = tiny(models=40)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    out = tmp_path_factory.mktemp("sweep") / "many"
    assert run(MANY, out).done == 80
    return out


def start(out, jobs):
    """`firedamp sweep` in a session of its own, once its first scores are there."""
    config = out.parent / "tiny.toml"
    config.write_text(TOML.replace("models = 2", "models = 40"))
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
