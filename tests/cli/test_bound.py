"""`firedamp bound`: exit codes, its document, its mistakes."""

import json

import numpy as np
import pandas as pd
import pytest

from tests.cli.score_tables import scores, write


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
