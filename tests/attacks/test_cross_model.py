"""Calibration on other models: what leave-one-out and held-out models are, and that no bound rests on the first."""

import numpy as np
import pytest

from attacks.cross_model import Arm, CrossModel, KnownModels, held_out, leave_one_out
from attacks.lira import LiRA, LiRAOffline
from attacks.lira_bayes import BayesianLiRA
from attacks.loss import Loss
from attacks.reference_models import CalibratedLoss, ReferenceModels
from attacks.rmia import RMIA, RMIAOffline
from attacks.scores import Scores
from audit.analysis import AttackKind, CellScores, RunScores, analyse, calibrate
from audit.auc import auc
from audit.claim import Claim
from audit.claim_test import claim_test
from audit.estimators import CalibratedEpsilonDelta, OneRun
from audit.policy import Policy
from canaries.errors import InputError

EVERY = (LiRA(), LiRA(variance="per-example"), LiRAOffline(), BayesianLiRA(), RMIA(), RMIAOffline(), CalibratedLoss(),
         ReferenceModels())  # fmt: skip


def signals(models, canaries, shift=0.0, seed=0, randomised="canary", spread=2.0):
    rng = np.random.default_rng(seed)
    if randomised == "model":
        member = np.repeat(rng.permutation(np.arange(models) % 2 == 0)[:, None], canaries, axis=1)
    else:
        member = rng.random((models, canaries)) < 0.5
    score = shift * member + rng.normal(0, 1, member.shape) + spread * rng.normal(0, 1, canaries)
    return Scores.from_matrix(score, member, randomised)


def test_leave_one_out_is_every_model_against_all_others():
    attack, scores = CalibratedLoss(), signals(6, 5)
    found = leave_one_out(attack, scores).score
    for i in range(6):
        for j in range(5):
            outs = [scores.score[k, j] for k in range(6) if k != i and not scores.member[k, j]]
            every = [scores.score[k, j] for k in range(6) if k != i]
            assert found[i, j] == pytest.approx(scores.score[i, j] - np.mean(outs or every))


def test_held_out_is_the_second_half_against_the_first():
    scores = signals(7, 5)
    found = held_out(CalibratedLoss(), scores)
    assert found.models == 4
    assert found.calibrated == "held-out"
    for row, i in enumerate(range(3, 7)):
        for j in range(5):
            outs = [scores.score[k, j] for k in range(3) if not scores.member[k, j]] or list(scores.score[:3, j])
            assert found.score[row, j] == pytest.approx(scores.score[i, j] - np.mean(outs))


def test_the_cut_falls_between_balanced_pairs():
    assert held_out(LiRA(), signals(14, 1, randomised="model")).models == 8
    assert held_out(LiRA(), signals(12, 1, randomised="model")).models == 6


@pytest.mark.parametrize("models", [1, 2, 3])
def test_with_too_few_models_the_signals_themselves_are_held_out(models):
    scores = signals(models, 5)
    assert held_out(LiRA(), scores) is scores


def test_other_attacks_are_left_alone():
    scores = signals(8, 5)
    assert leave_one_out(Loss(), scores) is scores
    assert held_out(Loss(), scores) is scores


def test_one_model_has_no_others():
    scores = signals(1, 5)
    assert leave_one_out(LiRA(), scores) is scores


@pytest.mark.parametrize("count", [1, 2])
def test_a_few_models_are_the_first_of_either_side(count):
    scores = signals(9, 6)
    some = KnownModels(scores.score, scores.member, scores.reference).at_most(count)
    for j in range(6):
        for side in (True, False):
            rows = [i for i in range(9) if scores.member[i, j] == side][:count]
            arm = some.arm(side)
            assert arm.count[j] == len(rows)
            assert arm.mean[j] == pytest.approx(scores.score[rows, j].mean())
            assert arm.squares[j] == pytest.approx(((scores.score[rows, j] - scores.score[rows, j].mean()) ** 2).sum())


def test_arms_without_models_say_so():
    arm = Arm.of(np.ones((2, 3)), np.zeros((2, 3), bool))
    assert not arm.any
    assert np.isnan(arm.mean).all()
    assert arm.pooled_variance() == 1.0


@pytest.mark.parametrize("attack", EVERY, ids=repr)
def test_canaries_and_models_in_another_order_score_alike(attack):
    scores = signals(10, 7, 1.0)
    known = KnownModels(scores.score[:6], scores.member[:6], np.arange(7) > 4)
    plain = attack.compare(scores.score[6:], known)
    columns, rows = np.array([3, 1, 0, 2, 4, 6, 5]), np.array([5, 0, 3, 1, 2, 4])
    moved = KnownModels(known.signal[rows][:, columns], known.member[rows][:, columns], known.population[columns])
    np.testing.assert_allclose(attack.compare(scores.score[6:][:, columns], moved), plain[:, columns], rtol=1e-9)


@pytest.mark.parametrize("attack", EVERY, ids=repr)
def test_a_side_without_models_gives_finite_scores(attack):
    scores = signals(6, 5)
    for member in (np.zeros((6, 5), bool), np.ones((6, 5), bool)):
        known = KnownModels(scores.score, member, np.zeros(5, bool))
        assert np.isfinite(attack.compare(scores.score, known)).all()
        assert np.isfinite(
            attack.compare(np.zeros((2, 5)), KnownModels(np.zeros((3, 5)), member[:3], known.population))
        ).all()


@pytest.mark.parametrize("attack", EVERY, ids=repr)
def test_comparing_beats_the_signal_where_canaries_differ(attack):
    scores = signals(32, 200, 1.5, spread=5.0)
    found = leave_one_out(attack, scores)
    assert auc(found.score, found.member) > auc(scores.score, scores.member) + 0.1


def test_negative_counts_are_refused():
    with pytest.raises(InputError, match="models >= 0"):
        LiRA(models=-1)


def test_no_estimator_and_no_test_takes_scores_that_saw_each_other_s_coins():
    scores = leave_one_out(LiRA(), signals(12, 4, 1.0))
    with pytest.raises(InputError, match="nothing can be proven"):
        OneRun().bound(scores, 1e-5)
    with pytest.raises(InputError, match="nothing can be proven"):
        claim_test(scores, Claim(1.0, 1e-5))


def test_calibrated_scores_are_not_centred_again():
    for scores in (leave_one_out(LiRA(), signals(12, 4)), held_out(LiRA(), signals(12, 4))):
        assert scores.centred() is scores


def test_leave_one_out_would_find_leakage_in_noise():
    """Why it may prove nothing: two models without each canary, and the ends of the order are theirs."""
    rng = np.random.default_rng(0)
    member = np.array([rng.permutation([True, True, False, False]) for _ in range(4000)]).T
    scores = Scores.from_matrix(rng.normal(size=member.shape), member, "canary")
    found = leave_one_out(CalibratedLoss(), scores)
    ends = np.abs(found.score) > np.quantile(np.abs(found.score), 0.95)
    assert member[ends].mean() < 0.4  # half of all coins say "in"
    held = held_out(CalibratedLoss(), scores)
    ends = np.abs(held.score) > np.quantile(np.abs(held.score), 0.95)
    assert abs(member[2:][ends].mean() - 0.5) < 0.08


ATTACKED = {AttackKind(a.name, a.family, "loss"): a for a in (LiRA(), BayesianLiRA(), RMIA(), CalibratedLoss())}


def cell(seed, randomised, models, canaries, shift=0.0):
    raw = signals(models, canaries, shift, seed, randomised)
    estimator = CalibratedEpsilonDelta() if randomised == "model" else OneRun()
    kinds = {kind: (attack, raw) for kind, attack in ATTACKED.items()}
    return CellScores(
        "null", Claim(0.05, 1e-5), None, models, queries={}, utility={}, estimators=(estimator,), **calibrate(kinds)
    )


@pytest.mark.parametrize(("randomised", "models", "canaries"), [("canary", 8, 40), ("model", 40, 1)])
def test_null_models_are_seldom_refuted_by_the_best_of_all_attacks(randomised, models, canaries):
    """Coverage on noise at 90%, four attacks paid for: 60 audits, more by four deviations would be a fault."""
    audits, above = 60, 0
    for seed in range(audits):
        measured = cell(seed, randomised, models, canaries)
        (estimator,) = measured.estimators
        bounds = [
            estimator.epsilon(measured.proving(kind), 1e-5, 1 - 0.1 / len(ATTACKED), seed) for kind in measured.scores
        ]
        above += max(bounds) > 0
    assert above <= 0.1 * audits + 4 * np.sqrt(0.1 * 0.9 * audits)


def test_a_leaky_mechanism_is_seen_through_held_out_models():
    (result,) = analyse(RunScores("leaky", (cell(0, "canary", 16, 60, 4.0),), 1e-5, 0.95, 0, Policy())).cells
    for attack in result.attacks:
        assert attack.scores.calibrated == "leave-one-out"
        assert attack.scores.models == 16
        (bound,) = attack.bounds
        assert bound.epsilon > 1
        assert bound.samples["models"] == 8
        assert any("other models" in text for text in bound.corrected_for)
        assert attack.tpr_at[0.01].value > 0.3


def test_every_crossing_attack_of_the_package_is_here():
    assert {type(a) for a in EVERY} >= {
        c for c in _leaves(CrossModel) if "name" in vars(c) and c.__module__.startswith("attacks")
    }


def _leaves(cls):
    return {cls} | {leaf for sub in cls.__subclasses__() for leaf in _leaves(sub)}
