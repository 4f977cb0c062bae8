"""Two accountants against each other and against the exact Gaussian formula."""

import math

import numpy as np
import pytest

from audit import pld
from audit.accounting import ACCOUNTANTS, claim_of, noise_multiplier, prv_epsilon
from audit.gaussian import epsilon_of
from audit.loss_curve import curve_of
from audit.mechanism import DPSGD
from audit.pld import loss_interval, pld_epsilon
from canaries.errors import InputError

DELTA = 1e-5
GRID = [
    DPSGD(rate, steps, sigma)
    for rate, steps, sigma in [
        (0.01, 100, 0.7),
        (0.01, 1000, 1.0),
        (0.0625, 200, 1.5),
        (0.25, 60, 3.0),
        (0.5, 1, 1.0),
        (0.5, 100, 10.0),
        (1.0, 1, 1.0),
        (1.0, 50, 5.0),
        (1.0, 200, 40.0),
    ]
]


@pytest.mark.parametrize("mechanism", GRID, ids=str)
def test_the_accountants_agree_within_one_per_cent(mechanism):
    found, other = pld_epsilon(mechanism, DELTA), prv_epsilon(mechanism, DELTA)
    assert 0.1 < found < 30
    assert found == pytest.approx(other, rel=0.01)


@pytest.mark.parametrize("name", ACCOUNTANTS)
@pytest.mark.parametrize("mechanism", [m for m in GRID if m.sample_rate == 1], ids=str)
def test_full_batch_is_the_gaussian_mechanism(name, mechanism):
    exact = epsilon_of(math.sqrt(mechanism.steps) / mechanism.noise_multiplier, DELTA)
    found = ACCOUNTANTS[name](mechanism, DELTA)
    assert exact <= found  # An accountant may round up, and never down.
    assert found == pytest.approx(exact, rel=1e-3, abs=2e-3)


@pytest.mark.parametrize(
    ("epsilon", "rate", "steps"), [(0.5, 0.25, 60), (8.0, 0.25, 60), (1.0, 0.01, 500), (4.0, 1.0, 1), (8.0, 1.0, 40)]
)
def test_the_noise_multiplier_spends_the_epsilon(epsilon, rate, steps):
    sigma = noise_multiplier(epsilon, DELTA, rate, steps)
    spent = pld_epsilon(DPSGD(rate, steps, sigma), DELTA)
    assert 0.998 * epsilon <= spent <= epsilon


def test_the_noise_multiplier_by_opacus():
    sigma = noise_multiplier(4.0, DELTA, 1.0, 1, accountant="opacus-prv")
    assert 0.998 * 4 <= prv_epsilon(DPSGD(1.0, 1, sigma), DELTA) <= 4
    assert sigma == pytest.approx(noise_multiplier(4.0, DELTA, 1.0, 1), rel=0.01)


def test_a_known_noise_multiplier():
    # One full batch is the Gaussian mechanism; Balle and Wang (2018), the analytic calibration at (1, 1e-5).
    assert noise_multiplier(1.0, 1e-5, 1.0, 1) == pytest.approx(3.7303, rel=2e-3)


def test_infinity_asks_for_no_noise():
    assert noise_multiplier(math.inf, DELTA, 0.25, 60) == 0.0
    for name in ACCOUNTANTS:
        assert claim_of(DPSGD(0.25, 60, 0.0), DELTA, name).is_control


@pytest.mark.parametrize(("rate", "steps", "sigma"), [(0.1, 30, 0.2), (1 / 32, 100, 0.15), (0.5, 3, 0.1)])
@pytest.mark.parametrize("adjacency", ["add-or-remove-one", "replace-one"])
def test_coarse_intervals_err_upwards_and_hardly(monkeypatch, rate, steps, sigma, adjacency):
    mechanism = DPSGD(rate, steps, sigma)
    coarse = pld_epsilon.__wrapped__(mechanism, DELTA, adjacency=adjacency)
    assert loss_interval(mechanism, 1e-4) > 1e-2
    monkeypatch.setattr(pld, "LARGE_LOSS", math.inf)  # fine intervals everywhere
    fine = pld_epsilon.__wrapped__(mechanism, DELTA, 1e-3, adjacency)
    assert loss_interval(mechanism, 1e-3) == 1e-3
    assert fine - 1e-3 <= coarse <= 1.001 * fine  # The fine one is itself rounded up to a multiple of 0.001.
    assert fine > 50


@pytest.mark.parametrize("sigma", [0.2, 0.03, 0.003, 2e-4])
def test_coarse_intervals_against_the_exact_gaussian(sigma):
    exact = epsilon_of(1 / sigma, DELTA)
    assert exact <= pld_epsilon(DPSGD(1.0, 1, sigma), DELTA) <= 1.001 * exact


@pytest.mark.parametrize("epsilon", [1e3, 1e6, 1e8])
def test_noise_for_an_epsilon_that_promises_nothing(epsilon):
    mechanism = DPSGD(0.25, 10, noise_multiplier(epsilon, DELTA, 0.25, 10))
    assert 0.998 * epsilon <= pld_epsilon(mechanism, DELTA) <= epsilon
    # Whoever is drawn in one step is seen: a record is missed with probability (1 - q)^steps, and no more often.
    assert curve_of(mechanism).most_tpr(np.array([DELTA]))[0] >= 1 - 0.75**10 - 1e-6


def test_where_there_is_noise_intervals_stay_as_they_were():
    assert loss_interval(DPSGD(0.1, 30, 0.3), 1e-4) == 1e-4


@pytest.mark.parametrize("name", ACCOUNTANTS)
def test_epsilon_grows_with_steps_and_sampling_and_falls_with_noise_and_delta(name):
    compute = ACCOUNTANTS[name]
    middle = compute(DPSGD(0.1, 20, 2.0), DELTA)
    by_noise = [compute(DPSGD(0.1, 20, 1.0), DELTA), middle, compute(DPSGD(0.1, 20, 4.0), DELTA)]
    by_steps = [compute(DPSGD(0.1, 80, 2.0), DELTA), middle, compute(DPSGD(0.1, 5, 2.0), DELTA)]
    by_rate = [compute(DPSGD(1.0, 20, 2.0), DELTA), middle, compute(DPSGD(0.02, 20, 2.0), DELTA)]
    by_delta = [compute(DPSGD(0.1, 20, 2.0), 1e-8), middle, compute(DPSGD(0.1, 20, 2.0), 1e-3)]
    for values in (by_noise, by_steps, by_rate, by_delta):
        assert values == sorted(values, reverse=True)
        assert len(set(values)) == len(values)


def test_less_epsilon_asks_for_more_noise():
    assert noise_multiplier(0.5, DELTA, 0.25, 60) > 5 * noise_multiplier(8.0, DELTA, 0.25, 60)


@pytest.mark.parametrize(("rate", "sampling"), [(1.0, "full-batch"), (0.25, "poisson")])
def test_a_claim_says_what_it_rests_on(rate, sampling):
    mechanism = DPSGD(rate, 10, 2.0)
    claim = claim_of(mechanism, DELTA, unit="text")
    assert claim.epsilon == pld_epsilon(mechanism, DELTA)
    assert (claim.delta, claim.unit, claim.adjacency) == (DELTA, "text", "add-or-remove-one")
    assert (claim.sampling, claim.accountant) == (sampling, "pld")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((0.0, 10, 1.0), r"sample_rate in \(0, 1\], got 0.0"),
        ((1.1, 10, 1.0), r"sample_rate in \(0, 1\], got 1.1"),
        ((math.nan, 10, 1.0), r"sample_rate in \(0, 1\], got nan"),
        ((0.5, 0, 1.0), "steps >= 1, got 0"),
        ((0.5, 10, -1.0), "noise_multiplier >= 0, got -1.0"),
        ((0.5, 10, math.nan), "noise_multiplier >= 0, got nan"),
    ],
)
def test_impossible_mechanisms(arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        DPSGD(*arguments)


@pytest.mark.parametrize("accountant", ["rdp", ""])
def test_an_unknown_accountant(accountant):
    sentence = f"Unknown accountant '{accountant}'; allowed: pld, opacus-prv."
    with pytest.raises(InputError, match=sentence):
        noise_multiplier(1.0, DELTA, 0.5, 10, accountant=accountant)
    with pytest.raises(InputError, match=sentence):
        claim_of(DPSGD(0.5, 10, 1.0), DELTA, accountant)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, math.nan])
def test_a_target_that_is_no_epsilon(epsilon):
    with pytest.raises(InputError, match=f"epsilon > 0, got {epsilon}"):
        noise_multiplier(epsilon, DELTA, 0.5, 10)


@pytest.mark.parametrize("delta", [-0.1, 0.0, 1.0, math.nan])
def test_a_delta_out_of_range(delta):
    with pytest.raises(InputError, match=f"delta in .* got {delta}"):
        noise_multiplier(1.0, delta, 0.5, 10)


def test_an_epsilon_out_of_reach():
    with pytest.raises(InputError, match=r"No noise multiplier in \[0.0001, 2000\] gives epsilon 1e-05 at delta"):
        noise_multiplier(1e-5, DELTA, 1.0, 1)


def test_a_delta_so_large_that_nothing_is_left_of_epsilon():
    # delta 0.39 is more than sigma 1 needs, so the search meets epsilon 0 where it starts.
    assert epsilon_of(1.0, 0.39) == 0
    sigma = noise_multiplier(0.1, 0.39, 1.0, 1)
    assert sigma < 1
    assert 0.09 < epsilon_of(1 / sigma, 0.39) <= 0.1


def test_a_batch_size_schedule_is_accounted_phase_by_phase() -> None:
    split = DPSGD(0.1, 30, 1.2, later=((50, 0.1),))
    assert pld_epsilon(split, DELTA) == pytest.approx(pld_epsilon(DPSGD(0.1, 80, 1.2), DELTA), rel=1e-3)
    growing = DPSGD(0.1, 30, 1.2, later=((50, 0.3),))
    assert pld_epsilon(growing, DELTA) > pld_epsilon(split, DELTA)
    assert prv_epsilon(growing, DELTA) == pytest.approx(pld_epsilon(growing, DELTA), rel=0.01)
    sigma = noise_multiplier(4.0, DELTA, 0.1, 30, later=((50, 0.3),))
    assert pld_epsilon(DPSGD(0.1, 30, sigma, ((50, 0.3),)), DELTA) == pytest.approx(4.0, rel=2e-3)
