"""A short version of `make coverage`: are calibrated bounds above the truth in at most 1 - c of all audits?

Each test counts audits on a mechanism of known epsilon and fails if significantly too many bounds lie above it: a sound
estimator fails with probability at most FALSE_ALARM per test, some 1e-3 over this file. Seeds are fixed.
"""

import numpy as np
import pytest
from scipy.stats import betabinom, binom

from attacks.scores import Scores
from audit.estimators import (
    DKW,
    Betting,
    CalibratedEpsilonDelta,
    CalibratedGaussian,
    CalibratedLossCurve,
    OneRunCalibrated,
    OneRunFDP,
)
from audit.estimators.calibrated import Family, draws_for, epsilon_delta_statistic, gaussian_statistic, ranks_of
from audit.estimators.coins import ordered_coins
from audit.estimators.one_run_calibrated import CoinTest
from audit.gaussian import epsilon_of, mu_of
from audit.loss_curve import curve_of
from audit.mechanism import DPSGD
from experiments.calibration_table import (
    CriticalValues,
    epsilon_delta_table,
    gaussian_table,
    many_runs_table,
    observed,
    one_run_table,
)
from experiments.coverage import parametric_ceiling
from experiments.laws import (
    DELTA,
    RATE,
    STEPS,
    Law,
    gaussian,
    heavy_tails,
    laplace,
    null,
    randomised_response,
    subsampled,
    subsampled_mechanism,
    ties,
)

FALSE_ALARM = 1e-4
AUDITS, LEVEL, SEEDS = 600, 0.1, 8
TRUTHS = (0.0, 1.0, 4.0)

ANY = [null(), *(make(e) for make in (randomised_response, laplace, heavy_tails, subsampled, ties) for e in (1.0, 4.0))]
GAUSSIAN = [null(), *(make(epsilon) for make in (gaussian, ties) for epsilon in (1.0, 4.0))]


def most(audits: int, seeds: int | None = None) -> float:
    """The largest count that is no alarm; simulations shared by `seeds` audits make it a little more random."""
    if seeds is None:
        return float(binom.ppf(1 - FALSE_ALARM, audits, LEVEL))
    return float(betabinom.ppf(1 - FALSE_ALARM, audits, 1000 * seeds * LEVEL, 1000 * seeds * (1 - LEVEL)))


@pytest.fixture(scope="module", params=[(60, 60), (30, 150)], ids=str)
def arms(request: pytest.FixtureRequest) -> tuple[int, int, CriticalValues, CriticalValues]:
    n_in, n_out = request.param
    return (
        n_in,
        n_out,
        gaussian_table(n_in, n_out, [0.0, *(mu_of(e, DELTA) for e in TRUTHS[1:])], LEVEL, SEEDS),
        epsilon_delta_table(n_in, n_out, TRUTHS, DELTA, LEVEL, SEEDS),
    )


@pytest.mark.parametrize("law", ANY, ids=lambda law: f"{law.name} {law.epsilon:g}")
def test_epsilon_delta_on_every_law(law: Law, arms: tuple[int, int, CriticalValues, CriticalValues]) -> None:
    n_in, n_out, _, table = arms
    ranks = ranks_of(np.empty(n_in), np.empty(n_out), draws_for(LEVEL))
    statistic, member = epsilon_delta_statistic(ranks, DELTA), np.arange(n_in + n_out) < n_in
    over = 0
    for i in range(AUDITS):
        score = law.draw(np.random.default_rng([11, i]), member)
        over += table.refutes(law.epsilon, observed(statistic, ranks, score[member], score[~member], i), i % SEEDS)
    assert over <= most(AUDITS, SEEDS)


@pytest.mark.parametrize("law", GAUSSIAN, ids=lambda law: f"{law.name} {law.epsilon:g}")
def test_gaussian_on_gaussian_laws(law: Law, arms: tuple[int, int, CriticalValues, CriticalValues]) -> None:
    n_in, n_out, table, _ = arms
    ranks = ranks_of(np.empty(n_in), np.empty(n_out), draws_for(LEVEL))
    statistic, member = gaussian_statistic(ranks), np.arange(n_in + n_out) < n_in
    mu = mu_of(law.epsilon, DELTA) if law.epsilon else 0.0
    over = 0
    for i in range(AUDITS):
        score = law.draw(np.random.default_rng([12, i]), member)
        over += table.refutes(mu, observed(statistic, ranks, score[member], score[~member], i), i % SEEDS)
    assert over <= most(AUDITS, SEEDS)
    # The level is used up, not wasted: the test has power of nearly its level at the worst mechanism.
    if law.name == "Gaussian":
        assert over > AUDITS * LEVEL / 2


def test_gaussian_is_wrong_where_its_curve_is_not_gaussian() -> None:
    law, member, over = laplace(1.0), np.arange(400) < 200, 0
    for i in range(20):
        score = law.draw(np.random.default_rng([13, i]), member)
        over += CalibratedGaussian().epsilon(Scores.from_arms(score[member], score[~member]), DELTA, 0.9, i) > 1
    assert over > 10


@pytest.mark.parametrize(
    "law", [null(), subsampled(1.0), subsampled(4.0)], ids=lambda law: f"{law.name} {law.epsilon:g}"
)
def test_loss_curve_on_subsampled_gaussians(law: Law) -> None:
    n_in, n_out = 20, 25
    ranks, member = ranks_of(np.empty(n_in), np.empty(n_out), draws_for(LEVEL)), np.arange(n_in + n_out) < n_in
    theta = 1 / subsampled_mechanism(law.epsilon).noise_multiplier if law.truth else 0.0

    def move(tpr: np.ndarray, theta: float) -> np.ndarray:
        return curve_of(DPSGD(RATE, STEPS, 1 / theta)).invert(tpr) if theta else tpr

    statistic = gaussian_statistic(ranks)
    table = many_runs_table(statistic, Family(lambda x: x, move), ranks, [theta], LEVEL, SEEDS)
    over = 0
    for i in range(AUDITS):
        score = law.draw(np.random.default_rng([18, i]), member)
        refuted = table.refutes(theta, observed(statistic, ranks, score[member], score[~member], i % SEEDS), i % SEEDS)
        over += refuted
        if i < 15:  # The bound itself: above the truth, up to the grid of noise, where the true curve is refuted.
            scores = Scores.from_arms(score[member], score[~member])
            bound = CalibratedLossCurve(RATE, STEPS).epsilon(scores, DELTA, 1 - LEVEL, i % SEEDS)
            assert bound >= 0.98 * law.truth if refuted else bound <= law.truth + 1e-3
    assert over <= most(AUDITS, SEEDS)
    assert over > AUDITS * LEVEL / 2


@pytest.mark.parametrize("epsilon", [4.0, 8.0])
def test_gaussian_bounds_keep_98_percent_of_the_parametric_ceiling(epsilon: float) -> None:
    """Mean bounds of the same 300 audits with 500 + 500 models, at 95%.

    The ratio is 98.5% at epsilon 4 and 99.2% at 8 (docs/coverage.md); from 320 audits and 16 simulations its standard
    error is 0.3% and 0.2%. Seeds are fixed, so the test cannot fail by chance; drawn anew it would, one time in twenty.
    """
    n, audits, seeds = 500, 320, 16
    mu, law, member = mu_of(epsilon, DELTA), gaussian(epsilon), np.arange(1000) < 500
    ranks = ranks_of(np.empty(n), np.empty(n), draws_for(0.05))
    statistic = gaussian_statistic(ranks)
    table = gaussian_table(n, n, np.linspace(mu - 0.4, mu + 0.25, 6), 0.05, seeds)
    found, ceiling = np.empty(audits), np.empty(audits)
    for i in range(audits):
        score = law.draw(np.random.default_rng([19, i]), member)
        seen = observed(statistic, ranks, score[member], score[~member], i)
        found[i] = epsilon_of(table.bound(seen, i % seeds), DELTA)
        ceiling[i] = parametric_ceiling(score[member], score[~member])
    assert found.mean() / ceiling.mean() >= 0.98
    assert epsilon_of(mu - 0.4, DELTA) < found.min() <= found.max() < epsilon_of(mu + 0.25, DELTA)  # inside the table


@pytest.mark.parametrize("law", [*ANY, gaussian(1.0), gaussian(4.0)], ids=lambda law: f"{law.name} {law.epsilon:g}")
def test_one_run_on_every_law(law: Law) -> None:
    coins, over = 300, 0
    table = one_run_table(coins, TRUTHS, DELTA, LEVEL, SEEDS)
    for i in range(AUDITS):
        rng = np.random.default_rng([14, i])
        member = rng.random((1, coins)) < 0.5
        scores = Scores.from_matrix(law.draw(rng, member), member, randomised="canary")
        over += table.refutes(law.epsilon, CoinTest.of(ordered_coins(scores, True, i), 1, 0).seen, i % SEEDS)
    assert over <= most(AUDITS, SEEDS)


@pytest.mark.parametrize("law", GAUSSIAN, ids=lambda law: f"{law.name} {law.epsilon:g}")
def test_one_run_fdp_on_gaussian_laws(law: Law) -> None:
    audits, over = 150, 0
    for i in range(audits):
        rng = np.random.default_rng([15, i])
        member = rng.random((1, 300)) < 0.5
        scores = Scores.from_matrix(law.draw(rng, member), member, randomised="canary")
        over += OneRunFDP().epsilon(scores, DELTA, 1 - LEVEL, i) > law.truth
    assert over <= most(audits)


@pytest.mark.parametrize(
    "law", [null(), randomised_response(1.0), laplace(4.0), heavy_tails(1.0)], ids=lambda x: x.name
)
@pytest.mark.parametrize("estimator", [DKW(), Betting()], ids=lambda x: x.name)
def test_dkw_and_betting(law: Law, estimator: DKW | Betting) -> None:
    audits, member, over = 120, np.arange(160) < 80, 0
    for i in range(audits):
        score = law.draw(np.random.default_rng([16, i]), member)
        over += estimator.epsilon(Scores.from_arms(score[member], score[~member]), DELTA, 1 - LEVEL, i) > law.truth
    assert over <= most(audits)


def test_tables_are_the_estimators() -> None:
    rng = np.random.default_rng(17)
    ins, outs = rng.normal(2, 1, 50), rng.normal(0, 1, 40)
    ranks = ranks_of(ins, outs, draws_for(LEVEL))
    grid = np.linspace(0, 4, 81)
    scores = Scores.from_arms(ins, outs)
    table = epsilon_delta_table(50, 40, grid, DELTA, LEVEL, 2)
    found = table.bound(observed(epsilon_delta_statistic(ranks, DELTA), ranks, ins, outs, 1), 1)
    assert found == pytest.approx(CalibratedEpsilonDelta().epsilon(scores, DELTA, 1 - LEVEL, 1), abs=0.05)
    mu = gaussian_table(50, 40, grid, LEVEL, 2).bound(observed(gaussian_statistic(ranks), ranks, ins, outs, 1), 1)
    expected = CalibratedGaussian().epsilon(scores, DELTA, 1 - LEVEL, 1)
    assert mu == pytest.approx(mu_of(expected, DELTA), abs=0.03)
    member = rng.random((1, 300)) < 0.5
    one = Scores.from_matrix(rng.normal(2 * member, 1), member, randomised="canary")
    coin = one_run_table(300, grid, DELTA, LEVEL, 2).bound(CoinTest.of(ordered_coins(one, True, 1), 1, 0).seen, 1)
    assert coin == pytest.approx(OneRunCalibrated().epsilon(one, DELTA, 1 - LEVEL, 1), abs=0.05)
