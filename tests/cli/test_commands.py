"""All commands: help, JSON, one sentence for a mistake."""

import json
import sys

import pytest

from tests.tiny_experiment import TOML


def test_version_as_json(call, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["firedamp", "--version", "--json"])
    code, out, _ = call("--version", "--json")
    assert code == 0
    assert set(json.loads(out)) == {"version"}


def test_help_names_the_commands_and_the_exit_codes(call):
    code, out, _ = call("--help")
    assert code == 0
    text = " ".join(out.replace("│", " ").split())
    assert (
        "Exit codes: 0 not refuted, 1 refuted or over budget, 2 usage or bad input, 3 inconclusive, 4 some units"
        in text
    )
    for command in ("sweep", "report", "gate", "bound", "plan", "plant", "init-ci", "list"):
        assert f" {command} " in text


@pytest.mark.parametrize("command", ["sweep", "report", "gate", "bound", "plan", "plant", "init-ci", "list"])
def test_every_command_has_help_and_json(call, command):
    code, out, _ = call(command, "--help")
    assert code == 0
    assert "--json" in out


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["bound"], "SCORES"),
        (["nothing"], "nothing"),
        (["--nothing"], "--nothing"),
        (["bound", "x.csv"], "--delta"),
        (["bound", "x.csv", "--delta", "much"], "'--delta'"),
        (["bound", "x.csv", "--delta", "0", "--seed", "-1"], "seed"),
        (["plant", "x.csv", "--design", "blank", "--count", "0", "--out", "o"], "count"),
        (["sweep", "none.toml"], "Cannot read the experiment file 'none.toml'"),
        (["report", "nowhere"], "'nowhere' is no run directory"),
        (["gate", "nowhere"], "'nowhere' is no run directory"),
        (["plant", "x.csv", "--design", "blnk", "--count", "1", "--out", "o"], "did you mean 'blank'?"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_mistakes_exit_with_2_and_a_sentence(call, tmp_path, monkeypatch, arguments, part, as_json):
    monkeypatch.chdir(tmp_path)
    code, out, err = call(*arguments, *(["--json"] if as_json else []))
    assert code == 2
    assert part in err
    assert "Traceback" not in err
    assert len(err.splitlines()) == 1
    if as_json:
        document = json.loads(out)
        assert set(document) == {"error", "exit_code"}
        assert document["exit_code"] == 2
        assert part in document["error"]
    else:
        assert out == ""


def test_list_names_every_plugin(call):
    code, out, _ = call("list", "--json")
    document = json.loads(out)
    assert code == 0
    assert set(document) == {"canary design", "attack", "estimator", "trainer", "model", "data set"}
    assert "loss" in document["attack"]
    assert all(line for plugins in document.values() for line in plugins.values())
    code, out, _ = call("list")
    assert code == 0
    for plugins in document.values():
        assert all(f"  {name}" in out for name in plugins)


def test_power_goes_with_sequential(call, tmp_path):
    code, _, err = call("sweep", str(tmp_path / "none.toml"), "--power", "0.9")
    assert (code, err) == (2, "firedamp: --power goes with --sequential.\n")


def test_init_ci(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(TOML)
    code, out, _ = call("init-ci", "tiny.toml", "--provider", "gitlab", "--json")
    assert (code, json.loads(out)) == (0, {"written": ["firedamp.gitlab-ci.yml"]})
    code, _, err = call("init-ci", "tiny.toml")
    assert (code, "is there already" in err) == (2, True)
