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
from audit.early_stop import _is_clear, sweep_until_clear
from audit.estimators import ClopperPearson
from audit.results import Outcome, Verdict
from audit.runs import load_result
from audit.sequential import confidence_at_look, looks
from audit.sweeping import sweep
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
    found = sweep_until_clear(experiment(broken, 64), tmp_path, first=4, announce=told.append)
    assert found.verdict.outcome is Outcome.REFUTED
    look = json.loads((tmp_path / "run.json").read_text())["look"]
    assert look == len(told) < 5
    assert len(list((tmp_path / "scores" / "a").glob("*.parquet"))) == 2 * 4 * 2 ** (look - 1)
    assert found.confidence == confidence_at_look(0.95, look)
    assert load_result(tmp_path).verdict == found.verdict  # reports and gates rest on the same look
    assert told[-1].startswith(f"look {look}, {4 * 2 ** (look - 1)} models an epsilon: REFUTED")


def test_no_stop_without_a_refutation_where_none_was_possible():
    def verdict(outcome, refutable):
        return Verdict(outcome, "because.", 0.1, 3.0, refutable)

    assert _is_clear(verdict(Outcome.REFUTED, True))
    assert _is_clear(verdict(Outcome.NOT_REFUTED, True))
    assert not _is_clear(verdict(Outcome.NOT_REFUTED, False))
    assert not _is_clear(verdict(Outcome.INCONCLUSIVE, True))


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
