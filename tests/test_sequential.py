"""Stopping early: the error over all looks, and sweeps that stop where they know."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.stats import binom

from attacks.scores import Scores
from audit.claim import Claim
from audit.claim_test import claim_test
from audit.config import parse
from audit.early_stop import _with_models, sweep_until_clear
from audit.estimators import ClopperPearson
from audit.policy import Policy
from audit.results import Outcome
from audit.runs import load_result
from audit.sequential import confidence_at_look, looks
from audit.sweeping import Silent, sweep
from audit.training.ensemble import Ensemble
from canaries.errors import InputError

AUDITS, CONFIDENCE, FALSE_ALARM = 300, 0.8, 1e-4
LOOKS = (10, 20, 40, 80)


def randomised_response(rng, epsilon, models):
    member = np.arange(models) % 2 == 0
    score = (member ^ (rng.random(models) < 1 / (1 + np.exp(epsilon)))).astype(float)
    return Scores.from_matrix(score[:, None], member[:, None], randomised="model")


def test_the_shares_of_all_looks_sum_to_the_error():
    spent = sum(1 - confidence_at_look(0.95, look) for look in range(1, 2000))
    assert 0.0499 < spent < 0.05


def test_looks_double_up_to_the_most():
    assert looks(8, 64) == (8, 16, 32, 64)
    assert looks(8, 8) == (8,)
    for first, most in ((0, 8), (9, 8)):
        with pytest.raises(InputError, match="first look"):
            looks(first, most)
    for confidence, look in ((1.0, 1), (0.95, 0)):
        with pytest.raises(InputError):
            confidence_at_look(confidence, look)


def stopped_by_a_test(scores, level):
    test = claim_test(scores, Claim(1.0, 0.0), level=level)
    return test.p_value <= level


def stopped_by_a_bound(scores, level):
    return ClopperPearson(threshold=0.5).bound(scores, 0.0, 1 - level).epsilon > 1.0


def ever_refuted(rng, epsilon, stopped):
    whole = randomised_response(rng, epsilon, LOOKS[-1])
    return any(
        stopped(whole.take_models(slice(0, models)), 1 - confidence_at_look(CONFIDENCE, look))
        for look, models in enumerate(LOOKS, start=1)
    )


@pytest.mark.parametrize("stopped", [stopped_by_a_test, stopped_by_a_bound])
def test_stopping_at_any_look_keeps_the_error_rate(stopped):
    """The worst mechanism that keeps the claim, looked at again and again."""
    rng = np.random.default_rng(0)
    hits = sum(ever_refuted(rng, 1.0, stopped) for _ in range(AUDITS))
    assert hits <= binom.isf(FALSE_ALARM, AUDITS, 1 - CONFIDENCE)


@pytest.mark.parametrize("stopped", [stopped_by_a_test, stopped_by_a_bound])
def test_it_still_refutes_what_is_false(stopped):
    rng = np.random.default_rng(1)
    assert sum(ever_refuted(rng, 5.0, stopped) for _ in range(50)) > 40


@dataclass(frozen=True)
class Broken(Ensemble):
    """Claims noise and adds none."""

    name = "broken"

    def train(self, dataset, canaries, inserted, seeds, speed=None):
        return Ensemble.train(replace(self, noise_multiplier=0.0), dataset, canaries, inserted, seeds, speed)


def experiment(trainer, models=16, epsilon=0.5):
    audit = {
        "name": "a",
        "models": models,
        "attacks": ["loss"],
        "estimators": ["one-run-calibrated"],
        "data": {"name": "digits", "train": 40, "pool": 60, "test": 5},
        "canaries": {"design": "uniform-noise", "count": 40, "references": 8},
        "trainer": trainer,
    }
    return parse({"name": "e", "epsilons": [epsilon], "delta": 1e-5, "audits": [audit]})


SETTINGS = {"model": "mlp", "steps": 20, "sample_rate": 1.0, "learning_rate": 4.0}


def test_a_broken_pipeline_is_refuted_at_the_first_looks(tmp_path):
    broken = Broken(**{key: value for key, value in SETTINGS.items() if key != "model"})
    told = []
    strict = Policy(confidence=0.99)
    found = sweep_until_clear(experiment(broken, 64), tmp_path, first=4, announce=told.append, policy=strict)
    assert found.verdict.outcome is Outcome.REFUTED
    look = json.loads((tmp_path / "run.json").read_text())["look"]
    assert look == len(told) < 5
    assert len(list((tmp_path / "scores" / "a").glob("*.parquet"))) == 2 * 4 * 2 ** (look - 1)
    assert found.confidence == confidence_at_look(0.99, look)
    assert load_result(tmp_path, strict).verdict == found.verdict  # reports and gates rest on the same look
    assert told[-1].startswith(f"look {look}, {4 * 2 ** (look - 1)} models an epsilon: REFUTED")


@dataclass(frozen=True)
class HalfNoise(Ensemble):
    """Adds half of the noise that it claims."""

    name = "half-noise"

    def train(self, dataset, canaries, inserted, seeds, speed=None):
        half = replace(self, noise_multiplier=self.noise_multiplier / 2)
        return Ensemble.train(half, dataset, canaries, inserted, seeds, speed)


def tight(models, trainer=Ensemble):
    """One canary that is seen as well as can be, so that many models are worth more than few."""
    audit = {
        "name": "a",
        "models": models,
        "attacks": ["gradient"],
        "estimators": ["calibrated-gaussian", "calibrated-epsilon-delta"],
        "data": {"name": "digits", "train": 20, "pool": 20, "test": 5},
        "canaries": {"design": "dirac", "count": 1, "references": 1, "randomise": "model"},
        "trainer": trainer(steps=2, sample_rate=1.0, record="gradients"),
    }
    return parse({"name": "e", "epsilons": [4.0], "delta": 1e-5, "gate": {"least_power": 0.1}, "audits": [audit]})


def look_at(path):
    return json.loads((path / "run.json").read_text())["look"]


def test_without_a_refutation_all_models_are_trained(tmp_path):
    """A perfect attack could have refuted the claim at an earlier look, where a real one had no chance."""
    told = []
    found = sweep_until_clear(tight(128), tmp_path, first=32, announce=told.append)
    assert found.cells[0].attacks[0].could_refute
    assert found.cells[0].models_done == 128
    assert found.verdict.outcome is Outcome.NOT_REFUTED
    assert look_at(tmp_path) == len(told) == 3
    assert "So far the run has 32 of 128 models, enough to refute alone; run the sweep again" in told[0]


def test_half_the_noise_is_refuted_where_few_models_cannot(tmp_path):
    told = []
    assert sweep_until_clear(tight(256, HalfNoise), tmp_path, first=16, announce=told.append).cells[0].models_done > 16
    assert "REFUTED" not in told[0]
    assert ": REFUTED: " in told[-1]


def test_enough_power_stops_it_where_that_is_asked_for(tmp_path):
    found = sweep_until_clear(tight(256), tmp_path, first=32, enough=0.9)
    assert found.verdict.outcome is Outcome.NOT_REFUTED
    assert found.cells[0].models_done == 128
    assert "with 0.5 of the claimed noise an ideal attack on so many models" in found.verdict.reason
    assert load_result(tmp_path).verdict == found.verdict
    for power in (0.0, 1.0):
        with pytest.raises(InputError, match=r"Expected a power in \(0, 1\)"):
            sweep_until_clear(tight(64), tmp_path / "new", enough=power)


def test_looks_that_were_interrupted_conclude_nothing(tmp_path):
    """What a gate reads while a run still grows, or after it was stopped."""
    sweep(tight(32), tmp_path, look=1, wanted={"a": 128})
    verdict = load_result(tmp_path).verdict
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "32 of 128 models" in verdict.reason


def test_a_plain_sweep_that_is_extended_pays_for_it(tmp_path):
    weak = {"name": "ensemble", **SETTINGS, "learning_rate": 1e-6}
    said = []

    class Told(Silent):
        def announce(self, message):
            said.append(message)

    for models, look in ((2, None), (4, 2), (6, 3), (2, None)):
        sweep(experiment(weak, models, 8.0), tmp_path, progress=Told())
        assert look_at(tmp_path) == look
        assert load_result(tmp_path).confidence == (0.95 if look is None else confidence_at_look(0.95, look))
    assert [line for line in said if line.startswith("look ")][:2] == [
        f"look 2 at '{tmp_path}', which holds another experiment: confidence 99.16%; a new directory has all of it",
        f"look 3 at '{tmp_path}', which holds another experiment: confidence 99.58%; a new directory has all of it",
    ]


def test_a_plain_sweep_of_an_earlier_version_counts_as_one(tmp_path):
    weak = experiment({"name": "ensemble", **SETTINGS, "learning_rate": 1e-6}, 2, 8.0)
    sweep(weak, tmp_path)
    old = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps({k: v for k, v in old.items() if k not in ("looks", "plain")}))
    sweep(weak, tmp_path)
    assert look_at(tmp_path) is None
    sweep(_with_models(weak, 1), tmp_path)
    assert look_at(tmp_path) == 2


def test_a_plain_sweep_after_looks_is_one_more_look(tmp_path):
    def look():
        return json.loads((tmp_path / "run.json").read_text())["look"]

    weak = {"name": "ensemble", **SETTINGS, "learning_rate": 1e-6}
    sweep_until_clear(experiment(weak, 4, 8.0), tmp_path, first=2)
    assert look() == 2
    sweep(experiment(weak, 4, 8.0), tmp_path)  # what look 2 saw already
    assert look() == 2
    sweep(experiment(weak, 6, 8.0), tmp_path)
    assert look() == 3
    assert load_result(tmp_path).confidence == confidence_at_look(0.95, 3)
    sweep_until_clear(experiment(weak, 6, 8.0), tmp_path, first=2)
    assert look() == 3
    sweep(experiment(weak, 2, 8.0), tmp_path / "plain")
    assert json.loads((tmp_path / "plain" / "run.json").read_text())["look"] is None


def test_looks_at_what_a_plain_sweep_began_are_refused(tmp_path):
    """It may have spent the whole error; the directory stays as it was."""
    weak = experiment({"name": "ensemble", **SETTINGS, "learning_rate": 1e-6}, 2, 8.0)
    sweep(weak, tmp_path)
    before = (tmp_path / "run.json").read_bytes()
    with pytest.raises(InputError, match=r"holds a sweep of a fixed number of models, .* Name another directory"):
        sweep_until_clear(weak, tmp_path, first=2)
    assert (tmp_path / "run.json").read_bytes() == before


def test_what_is_never_clear_ends_at_the_most(tmp_path):
    weak = experiment({"name": "ensemble", **SETTINGS, "learning_rate": 1e-6}, 4, 8.0)
    found = sweep_until_clear(weak, tmp_path, first=2)
    assert found.verdict.outcome is Outcome.INCONCLUSIVE
    assert json.loads((tmp_path / "run.json").read_text())["look"] == 2
