"""The command line: exit codes, one JSON document, one sentence for a mistake."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from audit import cli
from audit.config import parse
from audit.sweeping import sweep

AUDIT = {
    "name": "a",
    "models": 2,
    "attacks": ["loss"],
    "estimators": ["one-run"],
    "data": {"name": "digits", "train": 20, "pool": 10, "test": 5},
    "canaries": {"design": "mislabelled", "count": 4, "references": 2},
    "trainer": {"name": "opacus", "model": "softmax", "steps": 1, "sample_rate": 1.0},
}
TINY = {"name": "tiny", "epsilons": [4.0], "delta": 1e-5, "audits": [AUDIT]}
TOML = """
name = "tiny"
epsilons = [4.0]
delta = 1e-5
[[audits]]
name = "a"
models = 2
attacks = ["loss"]
estimators = ["one-run"]
data = { name = "digits", train = 20, pool = 10, test = 5 }
canaries = { design = "mislabelled", count = 4, references = 2 }
trainer = { name = "opacus", model = "softmax", steps = 1, sample_rate = 1.0 }
"""


def run(*arguments):
    """`python -m audit` in a process of its own: exit code, standard output, standard error."""
    command = [sys.executable, "-m", "audit", *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | {"COLUMNS": "100"})
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def call(capsys):
    """The same within this process, which costs no start."""

    def main(*arguments):
        with pytest.raises(SystemExit) as stop:
            cli.main([str(argument) for argument in arguments])
        found = capsys.readouterr()
        return stop.value.code, found.out, found.err

    return main


def scores(path, shift, n=200, seed=0, **columns):
    rng = np.random.default_rng(seed)
    member = np.arange(n) % 2
    table = pd.DataFrame({"score": rng.normal(shift * member, 1), "member": member, **columns})
    return write(table, path)


def write(table, path):
    if path.suffix == ".parquet":
        table.to_parquet(path, index=False)
    else:
        table.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    out = tmp_path_factory.mktemp("cli") / "run"
    sweep(parse(TINY), out)
    return out


# In processes of their own: the door, and what must be true of a real standard output.


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


# In this process.


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


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize(
    ("shift", "claim", "code", "outcome"),
    [(4, 0.1, 1, "REFUTED"), (4, 8.0, 0, "NOT_REFUTED"), (0, 1.0, 3, "INCONCLUSIVE"), (4, 500.0, 3, "INCONCLUSIVE")],
)
def test_bound_against_a_claim(call, tmp_path, suffix, shift, claim, code, outcome):
    path = scores(tmp_path / f"s{suffix}", shift)
    found, out, _ = call("bound", path, "--delta", 1e-5, "--epsilon", claim, "--json")
    document = json.loads(out)
    assert (found, document["verdict"]["outcome"]) == (code, outcome)
    found, out, err = call("bound", path, "--delta", 1e-5, "--epsilon", claim)
    assert (found, err) == (code, "")
    assert outcome in out
    assert "assumes: " in out


def test_bound_against_a_mechanism(call, tmp_path):
    """Mu = 4 where mu = 1 is claimed; and where mu = 8 is."""
    path = scores(tmp_path / "s.csv", 4)
    claimed = ("--delta", 1e-5, "--steps", 4)
    code, out, _ = call("bound", path, *claimed, "--noise-multiplier", 2, "--json")
    document = json.loads(out)
    assert (code, document["verdict"]["outcome"]) == (1, "REFUTED")
    assert document["claim_test"]["p_value"] <= 0.001
    assert document["estimates"][0]["low"] < 24.4 < document["estimates"][0]["high"]  # 24.4 at mu = 4.
    code, out, _ = call("bound", path, *claimed, "--noise-multiplier", 0.25, "--sample-rate", 1)
    assert code in (0, 3)
    assert "p = 1 against the trade-off curve of DP-SGD (full-batch, 4 steps, noise multiplier 0.25)" in out
    assert "estimate, no bound: epsilon " in out


def test_bound_by_an_estimator_with_fields(call, tmp_path):
    path = scores(tmp_path / "s.csv", 2)
    named = ("--delta", 1e-5, "--json", "--estimator", "calibrated-loss-curve")
    found = [
        json.loads(call("bound", path, *named, *options)[1])["epsilon"]
        for options in (
            ("--set", "sample_rate=0.1", "--set", "steps=30"),
            ("--noise-multiplier", 0.5, "--sample-rate", 0.1, "--steps", 30),
            (),
        )
    ]
    assert found[0] == found[1] != found[2]
    code, _, err = call("bound", path, "--delta", 1e-5, "--set", "prior=0.5")
    assert code == 2
    assert "an estimator to set 'prior' of" in err


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("--epsilon", 1, "--steps", 4), "got both"),
        (("--noise-multiplier", 1), "no number of steps"),
        (("--sample-rate", 0.5, "--steps", 4), "no noise multiplier"),
        (("--noise-multiplier", 1, "--steps", 1, "--sample-rate", 2), "sample_rate in (0, 1], got 2.0"),
    ],
)
def test_bad_mechanisms_of_bound(call, tmp_path, options, part):
    code, _, err = call("bound", scores(tmp_path / "s.csv", 1), "--delta", 1e-5, *options)
    assert code == 2
    assert part in err


def test_bound_without_a_claim_has_no_verdict(call, tmp_path):
    code, out, _ = call("bound", scores(tmp_path / "s.csv", 4), "--delta", 1e-5, "--json")
    document = json.loads(out)
    assert code == 0
    assert document["verdict"] is None
    assert document["confidence"] == 0.95
    assert document["assumptions"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_bound_of_models_and_canaries(call, tmp_path, suffix):
    rng = np.random.default_rng(0)
    member = rng.random((4, 60)) < 0.5
    table = pd.DataFrame(
        {
            "model": np.repeat(np.arange(4), 60),
            "canary": [f"c{i}" for i in range(60)] * 4,
            "member": member.ravel(),
            "score": rng.normal(4 * member, 1).ravel(),
        }
    )
    path = write(table.sample(frac=1, random_state=0), tmp_path / f"s{suffix}")
    code, out, _ = call("bound", path, "--delta", 1e-5, "--estimator", "one-run", "--json")
    document = json.loads(out)
    assert code == 0
    assert (document["estimator"], document["samples"]["models"], document["samples"]["canaries"]) == ("one-run", 4, 60)
    assert document["epsilon"] > 1


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("score\n1\n", "member"),
        ("score,member\n1,2\n", "member"),
        ("score,member\nx,1\n", "score"),
        ("score,member\n,1\n1,0\n", "score"),
        ("", "CSV"),
        ("score,member\n1,1\n2,1\n", "members alone"),
    ],
)
def test_bad_scores(call, tmp_path, text, part):
    (tmp_path / "s.csv").write_text(text)
    code, out, err = call("bound", tmp_path / "s.csv", "--delta", 1e-5, "--json")
    assert code == 2
    assert part in json.loads(out)["error"]
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("option", "value", "part"),
    [
        ("--delta", "1.0", "delta in [0, 1), got 1.0"),
        ("--confidence", "1.5", "confidence in [0.5, 0.9999], got 1.5"),
        ("--epsilon", "-1", "epsilon > 0"),
        ("--epsilon", "inf", "finite epsilon as the claim, got inf"),
        ("--estimator", "one-runn", "did you mean 'one-run'?"),
    ],
)
def test_bad_options_of_bound(call, tmp_path, option, value, part):
    options = {"--delta": "1e-5", option: value}
    path = scores(tmp_path / "s.csv", 1)
    code, _, err = call("bound", path, *(word for pair in options.items() for word in pair))
    assert code == 2
    assert part in err


@pytest.fixture
def planted(call, tmp_path):
    data = tmp_path / "train.csv"
    rng = np.random.default_rng(0)
    pd.DataFrame({"a": rng.random(80), "b": rng.random(80), "label": rng.integers(2, size=80)}).to_csv(
        data, index=False
    )
    out = tmp_path / "planted"
    options = ["--design", "uniform-noise", "--count", 60, "--references", 20, "--out", out, "--seed", 3]
    code, printed, _ = call("plant", data, *options, "--json")
    assert code == 0
    return out, json.loads(printed)


def test_plant_trains_elsewhere_and_bound_joins_by_id(call, planted, tmp_path):
    out, document = planted
    manifest = json.loads((out / "manifest.json").read_text())
    assert document["canaries"] == len(manifest["canaries"]) == 80
    inserted = [canary for canary in manifest["canaries"] if canary["member"] and not canary["reference"]]
    assert document["inserted"] == len(inserted) == len(pd.read_csv(out / "train" / "train.csv")) - 80
    rng = np.random.default_rng(0)
    seen = np.array([c["member"] and not c["reference"] for c in manifest["canaries"]])
    ids = [canary["id"] for canary in manifest["canaries"]]
    table = pd.DataFrame({"canary": ids, "score": rng.normal(6.0 * seen, 1)}).sample(frac=1, random_state=0)
    path = write(table, tmp_path / "scores.csv")
    claim = ["--delta", 1e-5, "--epsilon", 0.1, "--manifest", out / "manifest.json", "--json"]
    code, printed, _ = call("bound", path, *claim)
    found = json.loads(printed)
    assert code == 1
    assert found["samples"]["members"] == len(inserted)
    assert found["samples"]["canaries"] == 60  # references prove nothing, and are left out

    # Scores that know the coins of canaries which were never inserted: the audit is broken, not the claim.
    member = np.array([canary["member"] for canary in manifest["canaries"]])
    leaky = write(pd.DataFrame({"canary": ids, "score": rng.normal(6.0 * member, 0.1)}), tmp_path / "leaky.csv")
    code, printed, _ = call("bound", leaky, *claim)
    assert code == 3
    assert "never inserted" in json.loads(printed)["verdict"]["reason"]


@pytest.mark.parametrize("ids", [lambda ids: [*ids[:-1], "stranger"], lambda ids: ids[:-1], lambda ids: [ids[0], *ids]])
def test_scores_of_other_canaries_are_refused(call, planted, tmp_path, ids):
    out, _ = planted
    names = ids([canary["id"] for canary in json.loads((out / "manifest.json").read_text())["canaries"]])
    path = write(pd.DataFrame({"canary": names, "score": 0.0}), tmp_path / "scores.csv")
    code, _, err = call("bound", path, "--delta", 1e-5, "--manifest", out / "manifest.json")
    assert code == 2
    assert len(err.splitlines()) == 1


def test_a_sweep_that_cannot_conclude_exits_with_3(call, tmp_path):
    (tmp_path / "tiny.toml").write_text(TOML)
    options = ["--out", tmp_path / "run", "--jobs", 1, "--set", "audits.a.models=1", "--json"]
    code, out, err = call("sweep", tmp_path / "tiny.toml", *options)
    document = json.loads(out)
    assert code == 3
    assert document["verdict"]["outcome"] == "INCONCLUSIVE"
    assert document["run"] == str(tmp_path / "run")
    assert (tmp_path / "run" / "report.html").is_file()
    assert "Traceback" not in err


def test_an_override_that_is_wrong(call, tmp_path):
    (tmp_path / "tiny.toml").write_text(TOML)
    code, out, err = call("sweep", tmp_path / "tiny.toml", "--set", "audits.b.models=4", "--out", tmp_path / "run")
    assert (code, out) == (2, "")
    assert "there is no 'b'; allowed: a." in err
    assert not (tmp_path / "run").exists()


def test_a_unit_that_fails_makes_it_4(call, swept, tmp_path):
    broken = shutil.copytree(swept, tmp_path / "run")
    unit = json.loads((broken / "run.json").read_text())["cells"][0]["units"][0]
    (broken / "scores" / "a" / f"{unit}.parquet").unlink()
    (broken / "failures").mkdir(exist_ok=True)
    (broken / "failures" / f"{unit}.txt").write_text("Traceback: it broke\n")
    code, out, _ = call("gate", broken, "--json")
    assert code == json.loads(out)["exit_code"] == 4
    assert json.loads(out)["failed_units"] == [unit]
    assert call("report", broken)[0] == 4


def test_report_and_gate_of_a_run(call, swept):
    code, out, err = call("report", swept, "--json")
    document = json.loads(out)
    assert (code, document["verdict"]["outcome"], err) == (3, "INCONCLUSIVE", "")
    assert {"report.html", "summary.json", "bounds.csv"} <= {path.name for path in swept.iterdir()}
    code, out, _ = call("gate", swept, "--json")
    found = json.loads(out)
    assert (code, found["exit_code"], found["passed"]) == (3, 3, False)
    assert json.loads((swept / "gate.json").read_text()) == found
    assert {"gate.junit.xml", "gate.sarif", "gate.md"} <= {path.name for path in swept.iterdir()}


def test_a_policy_of_its_own(call, swept, tmp_path):
    (tmp_path / "policy.toml").write_text("max_bound = 1.0\n")
    code, out, _ = call("gate", swept, "--policy", tmp_path / "policy.toml", "--json")
    assert code == 2
    assert "did you mean 'max_lower_bound'?" in json.loads(out)["error"]
    (tmp_path / "policy.toml").write_text("max_lower_bound = 0.0\n")
    assert call("gate", swept, "--policy", tmp_path / "policy.toml")[0] in (1, 3)


def test_a_baseline_and_a_confidence_from_the_policy(call, swept, tmp_path):
    policy = tmp_path / "policy.toml"
    policy.write_text(f"confidence = 0.999\nbaseline = '{swept}'\n")
    code, out, _ = call("gate", swept, "--policy", policy, "--json")
    found = json.loads(out)
    assert (code, found["findings"], found["confidence"], found["policy"]) == (3, [], 0.9995, str(policy))
    policy.write_text("baseline = 'nowhere'\n")
    code, _, err = call("gate", swept, "--policy", policy)
    assert (code, "'nowhere' is no run directory" in err) == (2, True)


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


def test_a_damaged_run_is_a_sentence(call, swept, tmp_path):
    broken = shutil.copytree(swept, tmp_path / "run")
    document = json.loads((broken / "run.json").read_text())
    del document["cells"]
    (broken / "run.json").write_text(json.dumps(document))
    code, _, err = call("gate", broken)
    assert code == 2
    assert "is damaged: 'cells' is missing" in err
    (broken / "run.json").write_text("{half")
    assert call("report", broken)[0] == 2


def test_what_cannot_be_written_is_bad_input(call, tmp_path):
    (tmp_path / "people.csv").write_text("a,label\n1,0\n2,1\n3,0\n")
    (tmp_path / "file").write_text("")
    code, out, err = call(
        "plant", tmp_path / "people.csv", "--design", "blank", "--count", 2, "--out", tmp_path / "file/x", "--json"
    )
    assert (code, json.loads(out)["exit_code"]) == (2, 2)
    assert "Traceback" not in err
