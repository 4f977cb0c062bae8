"""Regressions: the error of an AUC against simulation, and how often noise is taken for one."""

import numpy as np
import pytest
from scipy.stats import binom

from attacks.cross_model import CrossModel, held_out, leave_one_out
from attacks.scores import Scores
from audit.auc import auc
from audit.claim import Claim
from audit.registry import ATTACKS, available, build
from audit.regression import auc_with_error, changes
from audit.results import AttackResult, CellResult, Interval, Outcome, RunResult, Verdict
from canaries.errors import InputError

RUNS, LEVEL, FALSE_ALARM = 1000, 0.05, 1e-4


def arms(rng, shift, n=60):
    return Scores.from_arms(rng.normal(shift, 1, n).round(1), rng.normal(0, 1, n).round(1))


def coins(rng, shift, models=12, canaries=20):
    """Canaries of one model share a level, so they depend on each other."""
    member = rng.random((models, canaries)) < 0.5
    score = rng.normal(shift * member, 1) + rng.normal(0, 1, (models, 1))
    return Scores.from_matrix(score, member, randomised="canary")


def run(scores, held_out=None):
    nowhere = Interval(0.5, 0.5, 0.5)
    attack = AttackResult("a", "membership", "loss", 1, scores, nowhere, (), 0.5, 0.5, held_out=held_out)
    verdict = Verdict(Outcome.NOT_REFUTED, "because.", 0.0, 1.0)
    cell = CellResult("p", Claim(4.0, 1e-5), 1.0, 2, 2, {}, (attack,), verdict)
    control = CellResult("p", Claim(np.inf, 1e-5), 0.0, 2, 2, {}, (attack,), None)
    return RunResult("r", (cell, control), verdict, 0.95, {}, {})


@pytest.mark.parametrize("draw", [arms, coins])
@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_the_error_is_that_of_repeated_audits(draw, shift):
    rng = np.random.default_rng(0)
    found = np.array([auc_with_error(draw(rng, shift)) for _ in range(300)])
    assert found[:, 1].mean() == pytest.approx(found[:, 0].std(), rel=0.12)


def test_the_area_is_the_auc():
    scores = arms(np.random.default_rng(0), 0.7)
    assert auc_with_error(scores)[0] == pytest.approx(auc(scores.score, scores.member))


@pytest.mark.parametrize("draw", [arms, coins])
def test_noise_is_rarely_a_regression(draw):
    rng = np.random.default_rng(1)
    hits = sum(changes(run(draw(rng, 0.8)), run(draw(rng, 0.8)))[0].p_value <= LEVEL for _ in range(RUNS))
    # The normal law is an approximation: half as much again is allowed for it.
    assert hits <= binom.isf(FALSE_ALARM, RUNS, 1.5 * LEVEL)


@pytest.mark.parametrize("name", [name for name, cls in available(ATTACKS).items() if issubclass(cls, CrossModel)])
def test_noise_is_rarely_a_regression_of_attacks_that_compare_models(name):
    """Leave-one-out, LiRA's AUC varies half as much again as its error says: twice as many alarms as are allowed."""
    rng, attack = np.random.default_rng(3), build(ATTACKS, name)

    def again():
        seen = Scores.from_matrix(rng.normal(size=(24, 8)), rng.random((24, 8)) < 0.5, randomised="canary")
        return run(seen, held_out(attack, seen))

    hits = sum(changes(again(), again())[0].p_value <= LEVEL for _ in range(RUNS // 4))
    assert hits <= binom.isf(FALSE_ALARM, RUNS // 4, 1.5 * LEVEL)


def test_scores_made_from_each_other_s_coins_are_refused():
    attack, seen = build(ATTACKS, "lira"), coins(np.random.default_rng(0), 1.0)
    described = leave_one_out(attack, seen)
    with pytest.raises(InputError, match="calibrated leave-one-out"):
        auc_with_error(described)
    sound = run(described, held_out(attack, seen))
    assert changes(sound, sound)[0].p_value == 0.5


def test_a_real_one_is_seen_and_its_reverse_is_none():
    rng = np.random.default_rng(2)
    strong, weak = run(arms(rng, 1.5, 200)), run(arms(rng, 0.2, 200))
    (change,) = changes(strong, weak)
    assert change.p_value < 1e-6
    assert (change.audit, change.epsilon, change.attack) == ("p", 4.0, "a")
    assert changes(weak, strong)[0].p_value > 0.999


def test_perfect_and_empty_scores_have_an_error_too():
    area, error = auc_with_error(Scores.from_arms(np.ones(5), np.zeros(5)))
    assert (area, error > 0) == (1.0, True)
    assert auc_with_error(Scores.from_arms(np.ones(5), np.zeros(0))) == (0.5, np.inf)
    one_run = Scores.from_matrix(np.arange(8.0)[None], np.arange(8)[None] % 2 == 0, randomised="canary")
    assert 0 < auc_with_error(one_run)[1] < 1
