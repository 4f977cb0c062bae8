"""Records at risk: slow references, and limits and p-values that hold for all records together."""

import numpy as np
import pytest
from scipy.stats import norm

from attacks.cross_model import leave_one_out
from attacks.lira import LiRA
from attacks.scores import Scores
from audit.auc import auc, auc_limits
from audit.risk import record_aucs, record_risks
from canaries.errors import InputError


def signals(models, canaries, at_risk=(), shift=3.0, seed=0):
    rng = np.random.default_rng(seed)
    member = rng.random((models, canaries)) < 0.5
    score = rng.normal(size=member.shape) + shift * member * np.isin(np.arange(canaries), at_risk)
    return Scores.from_matrix(score + rng.normal(0, 3, canaries), member, "canary")


def test_each_record_s_auc_is_that_of_its_column():
    scores = signals(20, 8, (2,))
    ties = np.round(scores.score)
    expected = [auc(ties[:, j], scores.member[:, j]) for j in range(8)]
    np.testing.assert_allclose(record_aucs(ties, scores.member), expected)


def test_the_record_that_leaks_comes_first_and_stands_out():
    (first, second, *_) = record_risks(signals(64, 300, (17,)))
    assert first.canary == "canary-0017"
    assert first.p_value < 1e-4 < second.p_value
    assert first.auc.low > 0.7
    assert first.auc.value == pytest.approx(norm.cdf(3 / np.sqrt(2)), abs=0.03)
    assert first.advantage.value == pytest.approx(2 * norm.cdf(1.5) - 1, abs=0.06)
    assert (first.members + first.non_members) == 64


def test_among_records_that_do_not_leak_none_stands_out():
    """Holm and Bonferroni over 200 records: 5% of 60 runs each, more by four deviations would be a fault."""
    found = [record_risks(signals(32, 200, seed=seed)) for seed in range(60)]
    most = 0.05 * 60 + 4 * np.sqrt(0.05 * 0.95 * 60)
    assert sum(risks[0].p_value <= 0.05 for risks in found) <= most
    assert sum(max(risk.auc.low for risk in risks) > 0.5 for risks in found) <= most


def test_intervals_cover_the_true_auc():
    rng = np.random.default_rng(5)
    truth = norm.cdf(1.0 / np.sqrt(2))
    member = np.arange(40)[:, None] < 20
    score = rng.normal(size=(40, 2000)) + member
    low, high = auc_limits(
        record_aucs(score, np.broadcast_to(member, score.shape)), np.full(2000, 20), np.full(2000, 20), 1.96
    )
    assert ((low <= truth) & (truth <= high)).mean() == pytest.approx(0.95, abs=0.02)


def test_references_and_one_sided_records_are_left_out():
    scores = signals(20, 6, (0,))
    scores.member[:, 1] = True
    scores.reference[0] = True
    assert {risk.canary for risk in record_risks(scores)} == {f"canary-{j:04d}" for j in range(2, 6)}


def test_bad_values_are_named():
    with pytest.raises(InputError, match="calibrated on other models"):
        record_risks(leave_one_out(LiRA(), signals(20, 6)))
    with pytest.raises(InputError, match=r"confidence in \(0, 1\), got 1"):
        record_risks(signals(20, 6), confidence=1)
    with pytest.raises(InputError, match="most >= 1"):
        record_risks(signals(20, 6), most=0)
