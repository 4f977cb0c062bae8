"""The command line in processes of its own: the door, and what must be true of a real standard output."""

import json
import os
import subprocess
import sys

from tests.cli.score_tables import scores


def run(*arguments):
    """`python -m audit` in a process of its own: exit code, standard output, standard error."""
    command = [sys.executable, "-m", "audit", *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | {"COLUMNS": "100"})
    return done.returncode, done.stdout, done.stderr


def test_bound_prints_one_document_and_nothing_else(tmp_path):
    code, out, err = run("bound", scores(tmp_path / "s.csv", 3), "--delta", 1e-5, "--epsilon", 0.1, "--json")
    document = json.loads(out)
    assert code == 1
    assert document["verdict"]["outcome"] == "REFUTED"
    assert document["epsilon"] > 0.1
    assert err == ""


def test_a_mistake_is_one_sentence_without_a_traceback(tmp_path):
    code, out, err = run("bound", tmp_path / "none.csv", "--delta", 1e-5)
    assert code == 2
    assert out == ""
    assert err.startswith("firedamp: ")
    assert "none.csv" in err
    assert "Traceback" not in err
    assert err.count("\n") == 1


def test_version_by_itself():
    code, out, err = run("--version")
    assert (code, err) == (0, "")
    assert out.split()[0] == "firedamp"
