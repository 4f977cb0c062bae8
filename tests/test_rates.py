"""Limits of rates: exact where the answer is known, and true as often as they say."""

import numpy as np
import pytest
from scipy.stats import binom, norm

from attacks.cross_model import leave_one_out
from attacks.reference_models import ReferenceModels
from attacks.scores import Scores
from audit.rates import rate_at_least, tpr_at_least
from canaries.errors import InputError

ARMS = Scores.from_arms(np.arange(9.0), np.arange(9.0))
AUDITS, CONFIDENCE, FALSE_ALARM = 2000, 0.9, 1e-4


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (3, 10), (10, 10), (1, 1000), (999, 1000)])
def test_a_rate_s_limit_is_where_the_binomial_tail_is_the_error(successes, trials):
    least = rate_at_least(successes, trials, 0.999)
    if successes:
        assert binom.sf(successes - 1, trials, least) == pytest.approx(0.001, rel=1e-6)
    else:
        assert least == 0


def test_the_threshold_needs_enough_out_scores():
    rng = np.random.default_rng(0)
    ins = rng.normal(9, 1, 100)
    assert tpr_at_least(Scores.from_arms(ins, rng.normal(0, 1, 756)), 0.01, 0.999) == 0
    assert tpr_at_least(Scores.from_arms(ins, rng.normal(0, 1, 757)), 0.01, 0.999) > 0.9


@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_coverage_of_the_true_positive_rate_s_limit(shift):
    rng = np.random.default_rng(1)
    truth = norm.sf(norm.isf(0.1) - shift)
    above = sum(
        tpr_at_least(Scores.from_arms(rng.normal(shift, 1, 150), rng.normal(0, 1, 150)), 0.1, CONFIDENCE) > truth
        for _ in range(AUDITS)
    )
    assert above <= binom.isf(FALSE_ALARM, AUDITS, 1 - CONFIDENCE)


def test_the_limit_is_of_use():
    rng = np.random.default_rng(2)
    found = [tpr_at_least(Scores.from_arms(rng.normal(3, 1, 500), rng.normal(0, 1, 500)), 0.1, 0.95) for _ in range(50)]
    assert np.mean(found) > 0.85  # the truth is 0.957


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: rate_at_least(11, 10, 0.9), r"successes in \[0, 10\], got 11"),
        (lambda: rate_at_least(1, 10, 1.0), r"confidence in \(0, 1\), got 1.0"),
        (lambda: tpr_at_least(Scores.from_arms(np.zeros(2), np.zeros(2)), 0.0, 0.9), r"fpr in \(0, 1\), got 0.0"),
        (lambda: tpr_at_least(leave_one_out(ReferenceModels(), ARMS), 0.1, 0.9), "calibrated leave-one-out"),
    ],
)
def test_bad_input(call, sentence):
    with pytest.raises(InputError, match=sentence):
        call()
