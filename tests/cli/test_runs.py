"""`firedamp sweep`, `report` and `gate`: exit codes, files, damaged runs."""

import json
import shutil

from tests.tiny_experiment import TOML


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
