"""`firedamp plant`, and scores of what it planted."""

import json

import numpy as np
import pandas as pd
import pytest

from tests.cli.score_tables import write


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


def test_what_cannot_be_written_is_bad_input(call, tmp_path):
    (tmp_path / "people.csv").write_text("a,label\n1,0\n2,1\n3,0\n")
    (tmp_path / "file").write_text("")
    code, out, err = call(
        "plant", tmp_path / "people.csv", "--design", "blank", "--count", 2, "--out", tmp_path / "file/x", "--json"
    )
    assert (code, json.loads(out)["exit_code"]) == (2, 2)
    assert "Traceback" not in err
