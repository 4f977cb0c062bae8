"""Pilots choose on models of their own, resume like any sweep, and leave no score behind that a bound could use."""

import copy
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from attacks.scores import Scores
from audit.config import load, parse
from audit.pilot import candidates, choose, separation
from audit.plan import plan
from audit.runs import load_result
from audit.store import RunDirectory
from audit.sweeping import sweep
from canaries.errors import InputError

TABLE = {
    "name": "piloted",
    "epsilons": [8.0],
    "delta": 1e-5,
    "audits": [
        {
            "name": "a",
            "models": 4,
            "attacks": ["loss"],
            "estimators": ["calibrated-gaussian"],
            "data": {"name": "digits", "train": 60, "pool": 40, "test": 5},
            "canaries": {"design": "mislabelled", "count": 1, "references": 2, "randomise": "model"},
            "trainer": {
                "name": "ensemble",
                "model": "softmax",
                "initial": "shared",
                "steps": 4,
                "sample_rate": 1.0,
                "learning_rate": 0.5,
            },
            "pilot": {"designs": ["mislabelled", {"name": "hot-pixel", "label": "least-likely"}], "models": 24},
        }
    ],
}


def table(**changes):
    found = copy.deepcopy(TABLE)
    found["audits"][0] |= changes
    return found


def manifest(out):
    return json.loads((out / "run.json").read_text())


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A sweep with a pilot, run once and not touched."""
    out = tmp_path_factory.mktemp("pilot")
    sweep(parse(TABLE), out)
    return out


def test_the_choice_and_what_it_rests_on_stand_in_the_manifest(done):
    pilot = manifest(done)["pilots"]["a"]
    assert pilot["chosen"]["design"]["name"] == "hot-pixel"
    assert [found["design"]["name"] for found in pilot["candidates"]] == ["mislabelled", "hot-pixel"]
    best = max(pilot["candidates"], key=lambda found: found["separation"])
    assert best["design"] == pilot["chosen"]["design"]
    assert {found["trainer"]["steps"] for found in pilot["candidates"]} == {1}  # one epoch
    assert manifest(done)["experiment"]["audits"][0]["canaries"]["design"]["name"] == "hot-pixel"
    frame = pd.read_parquet(done / "scores" / "a")
    assert set(frame["canary"]) == {"hot-pixel-0000", "hot-pixel-reference-0000", "hot-pixel-reference-0001"}
    assert "hot-pixel" in str(load_result(done).provenance["chosen by pilots"])


def test_models_of_the_pilot_are_never_scored(done):
    pilots = {unit for found in manifest(done)["pilots"]["a"]["candidates"] for unit in found["units"]}
    scored = {unit for cell in manifest(done)["cells"] for unit in cell["units"]}
    assert len(pilots) == 48
    assert len(scored) == 8
    assert not pilots & scored
    assert {path.stem for path in (done / "scores").rglob("*.parquet")} == scored
    assert {path.stem for path in (done / "pilots" / "scores").rglob("*.parquet")} == pilots
    assert all(attack.scores.models == 4 for cell in load_result(done).cells for attack in cell.attacks)
    with pytest.raises(InputError, match=r"no run directory: it has no run\.json"):
        RunDirectory.open(done / "pilots")
    seeds = [{json.loads(p.read_text())["seed"] for p in (done / d).rglob("*.json")} for d in ("models", "pilots")]
    assert not seeds[0] & seeds[1]


def test_scores_are_those_of_the_choice_without_a_pilot(done, tmp_path):
    chosen = {"name": "hot-pixel", "label": "least-likely"}
    plain = table(canaries=TABLE["audits"][0]["canaries"] | {"design": chosen})
    del plain["audits"][0]["pilot"]
    (work,) = plan(parse(plain))
    assert [list(cell.units) for cell in work.cells] == [cell["units"] for cell in manifest(done)["cells"]]


def test_a_stopped_pilot_goes_on_and_chooses_alike(done, tmp_path):
    before = manifest(done)["pilots"]
    times = {path: path.stat().st_mtime_ns for path in (done / "pilots" / "scores").rglob("*.parquet")}
    lost = sorted(times)[3]
    lost.unlink()
    sweep(parse(TABLE), done)
    now = {path: path.stat().st_mtime_ns for path in (done / "pilots" / "scores").rglob("*.parquet")}
    assert {path for path in times if now[path] != times[path]} == {lost}
    after = manifest(done)["pilots"]
    assert after["a"]["chosen"] == before["a"]["chosen"]
    for one, other in zip(before["a"]["candidates"], after["a"]["candidates"], strict=True):
        assert one["units"] == other["units"]
        assert one["separation"] == pytest.approx(other["separation"], rel=1e-3)


def test_learning_rates_are_tried_with_every_design():
    pilot = {"designs": ["blank", "hot-pixel"], "learning_rates": [0.1, 2.0], "models": 4, "epochs": 2.5}
    tried = candidates(parse(table(pilot=pilot | {"epsilon": 3.0})))
    assert [(c.design.name, c.learning_rate) for c in tried] == [
        (design, rate) for design in ("blank", "hot-pixel") for rate in (0.1, 2.0)
    ]
    for candidate in tried:
        (cell,) = candidate.work.cells
        assert (cell.claim.epsilon, cell.trainer.steps, cell.trainer.learning_rate) == (3, 3, candidate.learning_rate)
    assert len({unit for candidate in tried for unit in candidate.units}) == 16


def test_a_rate_is_chosen_and_the_design_kept(tmp_path):
    experiment = parse(table(pilot={"learning_rates": [1e-9, 0.5], "models": 16}))
    sweep(experiment, tmp_path)
    found = manifest(tmp_path)
    assert found["pilots"]["a"]["chosen"] == {
        "design": found["experiment"]["audits"][0]["canaries"]["design"],
        "learning_rate": found["experiment"]["audits"][0]["trainer"]["learning_rate"],
    }


def test_a_pilot_of_an_attack_on_iterates_keeps_the_last_of_them(tmp_path):
    trainer = TABLE["audits"][0]["trainer"] | {"checkpoint_every": 3}
    pilot = {"learning_rates": [1e-9, 0.5], "models": 4, "epochs": 2}
    experiment = parse(table(trainer=trainer, attacks=["iterates"], pilot=pilot))
    assert [c.work.cells[0].trainer.checkpoint_every for c in candidates(experiment)] == [2, 2]
    sweep(experiment, tmp_path)
    assert manifest(tmp_path)["experiment"]["audits"][0]["trainer"]["checkpoint_every"] == 3
    assert "a" in manifest(tmp_path)["pilots"]
    assert not load_result(tmp_path).failures


def test_a_pilot_asks_no_estimator():
    """Of two attacks the second alone gives what 'secret-guess' needs, and the loss curve is of the audit's steps."""
    secrets = {
        "attacks": ["secret-membership", "extraction"],
        "estimators": ["one-run-calibrated", "secret-guess"],
        "data": {"name": "pydoc", "train": 40, "pool": 1, "test": 5},
        "canaries": {"design": {"name": "secrets", "digits": 3, "repetitions": [1]}, "count": 6, "references": 2},
        "trainer": {"name": "ensemble", "model": "ngram", "steps": 2, "sample_rate": 1.0},
    }
    curve = {"estimators": [{"name": "calibrated-loss-curve", "steps": 4}]}
    for changes in (secrets, curve):
        experiment = parse(table(**changes, pilot={"learning_rates": [0.5, 1.0], "models": 4}))
        plan(experiment)
        assert len(candidates(experiment)) == 2


def test_a_pilot_keeps_the_references_that_its_attack_needs(tmp_path):
    changes = {"attacks": ["population"], "pilot": {"learning_rates": [1e-9, 0.5], "models": 4}}
    sweep(parse(table(**changes)), tmp_path)
    assert not load_result(tmp_path).failures
    tried = candidates(parse(table(**changes)))
    assert {int(c.work.sets[0].reference.sum()) for c in tried} == {2}


def test_missing_pilot_models_choose_nothing(tmp_path):
    experiment = parse(TABLE)
    with pytest.raises(InputError, match="24 of 24 models of the pilot of 'a' are missing"):
        choose(experiment, candidates(experiment), RunDirectory(tmp_path))


def test_separation_is_that_of_two_normals():
    rng = np.random.default_rng(0)
    scores = Scores.from_arms(rng.normal(5.0, 2, 4000), rng.normal(2.0, 2, 4000))
    assert separation(scores) == pytest.approx(1.5, abs=0.1)
    assert separation(Scores.from_arms(np.array([1.0]), np.array([0.0, 1.0]))) == 0
    assert separation(Scores.from_arms(np.ones(2), np.zeros(2))) == math.inf
    assert separation(Scores.from_arms(np.ones(2), np.ones(2))) == 0
    assert 0 < separation(Scores.from_arms(np.array([np.inf, 1.0]), np.array([-np.inf, 1.0]))) < math.inf


@pytest.mark.parametrize(
    ("pilot", "message"),
    [
        ({"designs": ["blank"]}, "at least 2 designs, or 2 learning_rates"),
        ({"designs": ["blank", "secrets"]}, "pilot's design 'secrets' makes text canaries, and the audit's array ones"),
        ({"designs": ["blank", "hot-pixel"], "models": 5}, "models"),
        ({"designs": ["blank", "hot-pixel"], "rounds": 5}, "Unknown key 'rounds' in .*pilot"),
        ({"learning_rates": [0.0, 1.0]}, "learning_rates"),
    ],
)
def test_bad_pilots(pilot, message):
    with pytest.raises(InputError, match=message):
        parse(table(pilot=pilot))


def test_the_example_parses_and_pilots_four_designs():
    experiment = load(Path(__file__).parent.parent / "experiments" / "worst_case.toml")
    pilot = experiment.audits[0].pilot
    assert pilot is not None
    assert [design.name for design in pilot.designs] == ["blank", "hot-pixel", "mislabelled", "low-variance"]
    assert all(design.needs_initial_model for design in pilot.designs)
