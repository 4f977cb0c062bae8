import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from attacks.scores import Scores
from audit.bounds import Bound, Estimate
from audit.estimates import Andrew, GaussianFit, JointBeta
from audit.estimates.andrew import normal_delta
from audit.estimates.base import Heuristic
from audit.gaussian import delta_of, mu_of
from canaries.errors import InputError
from experiments.estimates import measure
from experiments.laws import gaussian, laplace

ALL = (GaussianFit(), JointBeta(), Andrew())


def gaussian_scores(epsilon: float, n: int = 1000) -> Scores:
    rng = np.random.default_rng(0)
    return Scores.from_arms(rng.normal(mu_of(epsilon, 1e-5), 1, n), rng.normal(0, 1, n))


@pytest.mark.parametrize("heuristic", ALL)
def test_an_estimate_is_no_bound(heuristic: Heuristic) -> None:
    found = heuristic.estimate(gaussian_scores(4), 1e-5)
    assert isinstance(found, Estimate)
    assert not isinstance(found, Bound)
    assert 0 <= found.low <= found.epsilon <= found.high
    assert found == heuristic.estimate(gaussian_scores(4), 1e-5)
    assert found.caveat


@pytest.mark.parametrize("heuristic", [GaussianFit(), Andrew()])
def test_normal_fits_find_the_epsilon_of_normal_scores(heuristic: Heuristic) -> None:
    found = heuristic.estimate(gaussian_scores(4), 1e-5)
    assert found.epsilon == pytest.approx(4, abs=1.0)
    assert found.low < 4 < found.high


def test_the_credible_interval_at_a_chosen_threshold_does_not_cover_null_data() -> None:
    # This is why it is an estimate: its one-sided 95% end lies above 0 in far more than 5% of null audits.
    above = 0
    for i in range(60):
        ins, outs = np.random.default_rng([1, i]).normal(0, 1, (2, 200))
        above += JointBeta(draws=2000).estimate(Scores.from_arms(ins, outs), 1e-5, level=0.9).low > 0
    assert above > 12


@pytest.mark.parametrize(("p", "q"), [((1.0, 1.0), (0.0, 1.0)), ((0.5, 1.2), (0.0, 1.0)), ((0.5, 0.7), (0.0, 1.0))])
@pytest.mark.parametrize("epsilon", [0.0, 1.0, 2.5])
def test_delta_between_normal_laws_is_the_integral(
    p: tuple[float, float], q: tuple[float, float], epsilon: float
) -> None:
    def excess(x: float) -> float:
        return max(0.0, float(norm.pdf(x, *p) - math.exp(epsilon) * norm.pdf(x, *q)))

    expected = sum(quad(excess, a, a + 0.5, epsabs=1e-12)[0] for a in np.arange(-12, 12, 0.5))
    assert normal_delta(p, q, epsilon) == pytest.approx(expected, abs=1e-7)
    if p[1] == q[1]:
        assert normal_delta(p, q, epsilon) == pytest.approx(delta_of(epsilon, p[0]), rel=1e-9)


@pytest.mark.parametrize("heuristic", ALL)
def test_bad_input_is_named(heuristic: Heuristic) -> None:
    with pytest.raises(InputError, match="two scores of either side"):
        heuristic.estimate(Scores.from_arms(np.ones(1), np.zeros(5)), 1e-5)
    with pytest.raises(InputError, match="finite scores"):
        heuristic.estimate(Scores.from_arms(np.array([1.0, np.inf]), np.zeros(5)), 1e-5)
    with pytest.raises(InputError, match=r"delta in \(0, 1\), got 0"):
        heuristic.estimate(gaussian_scores(1), 0.0)


@pytest.mark.parametrize("heuristic", ALL)
def test_equal_scores_work(heuristic: Heuristic) -> None:
    assert heuristic.estimate(Scores.from_arms(np.zeros(20), np.zeros(20)), 1e-5).epsilon < 1


def test_the_gaussian_fit_holds_on_its_own_curve_alone() -> None:
    fit = GaussianFit(resamples=100)
    above, below, mean = measure(fit, gaussian(4.0), models=200, audits=40)
    assert above + below < 0.25
    assert mean == pytest.approx(4, rel=0.1)
    assert measure(fit, laplace(1.0), models=200, audits=40)[0] > 0.9
