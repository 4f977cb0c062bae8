"""The power of a claim's test against less noise: what the test itself does to an ideal attack's scores."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from attacks.scores import Scores
from audit.claim import Claim
from audit.claim_power import power_against_less_noise
from audit.claim_test import claim_test
from audit.gaussian import mu_of
from audit.mechanism import DPSGD
from canaries.errors import InputError

MU, STEPS, LEVEL, AUDITS, FALSE_ALARM = mu_of(4.0, 1e-5), 20, 0.0125, 60, 1e-4
CLAIM = Claim(4.0, 1e-5, mechanism=DPSGD(1.0, STEPS, math.sqrt(STEPS) / MU))


def independent_runs(rng, models, mu=0.0):
    return Scores.from_arms(rng.normal(mu, 1, models // 2), rng.normal(0, 1, models // 2))


def one_run(rng, coins, mu=0.0):
    member = rng.random((1, coins)) < 0.5
    return Scores.from_matrix(rng.normal(mu * member, 1), member, randomised="canary")


@pytest.mark.parametrize(
    ("drawn", "count"), [(independent_runs, 32), (independent_runs, 64), (independent_runs, 128), (one_run, 1000)]
)
def test_the_power_is_how_often_half_the_noise_is_refuted(drawn, count):
    rng = np.random.default_rng(0)
    power = power_against_less_noise(drawn(rng, count), CLAIM, LEVEL)
    hits = sum(claim_test(drawn(rng, count, 2 * MU), CLAIM, level=LEVEL).p_value <= LEVEL for _ in range(AUDITS))
    slack = 0.05  # of the simulated power itself
    assert binom.ppf(FALSE_ALARM, AUDITS, max(power - slack, 0)) <= hits
    assert hits <= binom.isf(FALSE_ALARM, AUDITS, min(power + slack, 1))


def test_a_perfect_attack_refutes_long_before_a_real_one_can():
    """Thirty-two models are enough for perfect scores; half the noise goes unseen more often than not."""
    rng = np.random.default_rng(0)
    few = independent_runs(rng, 32)
    perfect = Scores.from_arms(np.ones(16), np.zeros(16))
    assert claim_test(perfect, CLAIM, level=LEVEL).p_value <= LEVEL
    assert power_against_less_noise(few, CLAIM, LEVEL) < 0.6
    assert power_against_less_noise(independent_runs(rng, 512), CLAIM, LEVEL) > 0.99


def test_more_of_the_noise_is_harder_to_tell():
    few = independent_runs(np.random.default_rng(0), 64)
    powers = [power_against_less_noise(few, CLAIM, LEVEL, noise) for noise in (0.25, 0.5, 0.75, 0.99)]
    assert powers == sorted(powers, reverse=True)
    assert powers[-1] < 0.05


def test_sampled_batches_have_a_power_too():
    claim = Claim(4.0, 1e-5, mechanism=DPSGD(0.1, 10, 0.7))
    assert power_against_less_noise(independent_runs(np.random.default_rng(0), 1024), claim, LEVEL) > 0.9


def test_it_is_unknown_without_a_curve_or_a_test():
    scores = independent_runs(np.random.default_rng(0), 32)
    assert power_against_less_noise(scores, Claim(4.0, 1e-5), LEVEL) is None
    several = Scores.from_matrix(np.zeros((4, 2)), np.tile([[True], [False]], (2, 2)), randomised="model")
    assert power_against_less_noise(several, CLAIM, LEVEL) is None
    for noise, level in ((1.0, 0.05), (0.5, 0.0)):
        with pytest.raises(InputError, match="share of the noise and a level"):
            power_against_less_noise(scores, CLAIM, level, noise)
