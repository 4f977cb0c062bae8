import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from audit.gaussian import delta_of, epsilon_of, mu_of, trade_off
from canaries.errors import InputError


@pytest.mark.parametrize(("epsilon", "mu"), [(1, 0.268), (2, 0.502), (4, 0.925), (8, 1.666), (10, 2.000), (16, 2.905)])
def test_golden_values_at_delta_1e_5(epsilon: float, mu: float) -> None:
    assert mu_of(epsilon, 1e-5) == pytest.approx(mu, abs=5e-4)
    assert epsilon_of(mu_of(epsilon, 1e-5), 1e-5) == pytest.approx(epsilon, abs=1e-9)


@pytest.mark.parametrize(("epsilon", "mu"), [(0.0, 0.3), (0.5, 0.3), (1.0, 1.0), (4.0, 0.925), (8.0, 3.0)])
def test_delta_is_the_integral_of_what_exceeds_e_to_the_epsilon(epsilon: float, mu: float) -> None:
    # delta = integral of max(0, p - e^eps q), with p = N(mu, 1) and q = N(0, 1), from where they cross.
    start = epsilon / mu + mu / 2
    delta, _ = quad(
        lambda x: norm.pdf(x, mu) - math.exp(epsilon) * norm.pdf(x), start, start + 12, epsabs=1e-14, epsrel=1e-10
    )
    assert delta_of(epsilon, mu) == pytest.approx(delta, rel=1e-6)


@given(st.floats(1e-9, 1e6), st.floats(1e-300, 0.999))
def test_epsilon_is_where_delta_is_met_even_for_extreme_values(mu: float, delta: float) -> None:
    epsilon = epsilon_of(mu, delta)
    assert math.isfinite(epsilon)
    assert epsilon >= 0
    assert epsilon == 0 or delta_of(epsilon, mu) >= delta
    assert delta_of(epsilon * (1 + 1e-9) + 1e-9, mu) <= delta


@given(st.floats(0, 1e4), st.floats(1e-6, 50), st.floats(1, 3))
def test_delta_falls_with_epsilon_and_grows_with_mu(epsilon: float, mu: float, factor: float) -> None:
    delta = delta_of(epsilon, mu)
    assert 0 <= delta <= 1
    assert delta_of(epsilon * factor, mu) <= delta * (1 + 1e-6)
    assert delta_of(epsilon, mu * factor) >= delta * (1 - 1e-6)


def test_no_gaussian_mechanism_is_purely_private() -> None:
    assert epsilon_of(0.5, 0.0) == math.inf
    assert epsilon_of(0.0, 0.0) == 0.0
    assert mu_of(3.0, 0.0) == 0.0


def test_trade_off_curve() -> None:
    fpr = np.array([0.0, 0.1, 0.5, 1.0])
    np.testing.assert_allclose(trade_off(0.0, fpr), 1 - fpr)
    np.testing.assert_allclose(trade_off(1.5, fpr), norm.cdf(norm.ppf(1 - fpr) - 1.5))
    # Ceiling of FACTS.md: TPR at 1% FPR for epsilon 8 at 1e-5.
    assert 1 - trade_off(mu_of(8, 1e-5), 0.01) == pytest.approx(0.255, abs=5e-4)


@pytest.mark.parametrize("bad", [-1.0, math.inf, math.nan])
def test_bad_values_are_named(bad: float) -> None:
    for call in (lambda: delta_of(1.0, bad), lambda: delta_of(bad, 1.0), lambda: epsilon_of(bad, 1e-5)):
        with pytest.raises(InputError, match=str(bad)):
            call()
    with pytest.raises(InputError, match=r"1\.5"):
        epsilon_of(1.0, 1.5)
