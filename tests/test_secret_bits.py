"""Success of guessing a secret, from above: golden values, slow references, orders between the bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import logsumexp
from scipy.stats import binom, norm

from audit.claim import Claim
from audit.gaussian import mu_of
from audit.group_curve import group_curve
from audit.loss_curve import curve_of
from audit.mechanism import DPSGD
from audit.pld import pld_epsilon
from audit.secret_bits import (
    ORDERS,
    allowed_by,
    bounds_of,
    curve_success,
    divergence_of,
    epsilon_delta_success,
    gaussian_bounds,
    gaussian_divergence,
    gaussian_success,
    renyi_success,
    required_bits,
)
from canaries.errors import InputError

GOLDEN = [  # kappa, epsilon, Renyi, optimal; delta 1e-5
    (2**-20, 1, 3.8e-6, 3.5e-6), (2**-20, 2, 1.2e-5, 1.0e-5), (2**-20, 4, 8.1e-5, 6.2e-5), (2**-20, 8, 1.5e-3, 9.8e-4),
    (2**-20, 10, 4.8e-3, 2.9e-3), (0.1, 1, 0.171, 0.155), (0.1, 2, 0.259, 0.218), (0.1, 4, 0.475, 0.361),
    (0.1, 8, 0.891, 0.650), (0.1, 10, 0.989, 0.764),
]  # fmt: skip


@pytest.mark.parametrize(("kappa", "epsilon", "renyi", "optimal"), GOLDEN)
def test_golden_values(kappa: float, epsilon: float, renyi: float, optimal: float) -> None:
    mu = mu_of(epsilon, 1e-5)
    assert renyi_success(kappa, gaussian_divergence(mu)) == pytest.approx(renyi, rel=0.03)
    assert gaussian_success(kappa, mu) == pytest.approx(optimal, rel=0.03)


@settings(max_examples=40, deadline=None)
@given(st.floats(1, 60), st.floats(0.05, 6))
def test_the_optimal_bound_is_below_the_others(bits: float, mu: float) -> None:
    kappa = 2.0**-bits
    best = gaussian_success(kappa, mu)
    assert kappa <= best <= renyi_success(kappa, gaussian_divergence(mu)) * (1 + 1e-9)


@pytest.mark.parametrize("copies", [1, 3])
def test_divergence_is_that_of_direct_integration(copies: int) -> None:
    sigma, rate, alpha = 1.3, 0.1, 3.0
    weights = [math.comb(copies, j) * rate**j * (1 - rate) ** (copies - j) for j in range(copies + 1)]

    def integrand(x: float) -> float:
        p = sum(w * norm.pdf(x, j, sigma) for j, w in enumerate(weights))
        q = norm.pdf(x, 0, sigma)
        return q * (p / q) ** alpha

    expected = 7 * math.log(quad(integrand, -20, 30, limit=200)[0]) / (alpha - 1)
    got = divergence_of(DPSGD(rate, 7, sigma), copies, np.array([alpha]))
    assert got[0] == pytest.approx(expected, rel=1e-5)


def test_full_batch_is_gaussian_exactly() -> None:
    mechanism = DPSGD(1.0, 9, 2.0)
    np.testing.assert_allclose(divergence_of(mechanism, 2), gaussian_divergence(2 * 3 / 2.0))
    assert curve_success(2**-20, group_curve(mechanism, 2)) == pytest.approx(gaussian_success(2**-20, 3.0))


def test_several_copies_at_once_are_covered_better_than_by_group_privacy() -> None:
    mechanism = DPSGD(0.05, 50, 1.5)
    for copies in (2, 4):
        for kappa in (2.0**-10, 2.0**-26):
            sharp = curve_success(kappa, group_curve(mechanism, copies))
            assert (
                curve_success(kappa, curve_of(mechanism)) <= sharp <= curve_success(kappa, curve_of(mechanism, copies))
            )
            assert sharp <= renyi_success(kappa, divergence_of(mechanism, copies)) * 1.001


@pytest.mark.parametrize(("sigma", "rate", "copies"), [(0.7, 1 / 32, 1), (0.7, 0.1, 4), (0.2, 0.3, 3), (3.0, 0.05, 16)])
def test_the_divergence_is_that_of_a_fine_integral(sigma: float, rate: float, copies: int) -> None:
    orders = np.array([1.001, 1.1, 2.0, 7.5, 32.0])
    found = divergence_of(DPSGD(rate, 1, sigma), copies, orders)
    chosen = np.arange(copies + 1)
    for alpha, value in zip(orders, found, strict=True):
        x = np.linspace(-14, 14 + alpha * copies / sigma, 200_001)
        exponents = chosen[:, None] / sigma * x - chosen[:, None] ** 2 / sigma**2 / 2
        ratio = logsumexp(binom.logpmf(chosen, copies, rate)[:, None] + exponents, axis=0)
        total = logsumexp(norm.logpdf(x) + alpha * ratio) + math.log(x[1] - x[0])
        assert value == pytest.approx(total / (alpha - 1), rel=1e-6, abs=1e-9)


def test_a_divergence_too_wide_to_integrate_is_bounded_from_above() -> None:
    few, many = DPSGD(0.1, 1, 0.02), DPSGD(0.1, 1, 0.002)
    for mechanism in (few, many):
        found = divergence_of(mechanism, 64)
        assert np.isfinite(found).all()
        drawn = gaussian_divergence(64 / mechanism.noise_multiplier)
        assert (found <= drawn * (1 + 1e-12)).all()
        # All copies drawn is one way to tell: log of its weight is all that the bound may be short of that.
        assert (found >= drawn + ORDERS / (ORDERS - 1) * 64 * math.log(0.1) - 1e-6 * drawn).all()


def test_bounds_of_many_copies_are_computed_and_saturate() -> None:
    """64 copies of a secret at epsilon 8: nothing is left, by any bound; at little noise as well."""
    for found in (bounds_of(DPSGD(1 / 32, 400, 0.741), 8.0, 1e-5, 64), bounds_of(DPSGD(1 / 32, 20, 0.1), 8, 1e-5, 64)):
        assert all(bound(2.0**-20) == pytest.approx(1, abs=1e-6) for bound in found.values())


@given(st.floats(0.001, 0.5), st.integers(1, 1000), st.floats(0, 3))
def test_required_bits_invert_the_bound(probability: float, guesses: int, mu: float) -> None:
    bits = required_bits(lambda kappa: gaussian_success(min(1.0, kappa), mu), probability, guesses)
    assert gaussian_success(guesses * 2**-bits, mu) <= probability
    assert gaussian_success(min(1.0, guesses * 2 ** -(bits - 0.01)), mu) > probability * 0.99


def test_a_large_delta_is_never_safe() -> None:
    assert required_bits(lambda kappa: epsilon_delta_success(kappa, 1.0, 0.02), 0.01) == math.inf
    assert required_bits(lambda kappa: epsilon_delta_success(kappa, 1.0, 1e-5), 0.01) == pytest.approx(
        math.log2(100 * math.e), abs=0.01
    )


def test_bounds_of_a_pipeline_agree_with_its_claim() -> None:
    mechanism = DPSGD(0.05, 20, 0.72)
    claimed = pld_epsilon(mechanism, 1e-5)
    found = bounds_of(mechanism, claimed, 1e-5)
    for kappa in (2.0**-8, 2.0**-20):
        assert found["trade-off curve"](kappa) <= 1.001 * min(found["Renyi"](kappa), found["(epsilon, delta)"](kappa))
        assert allowed_by(Claim(claimed, 1e-5, mechanism=mechanism))(kappa) == found["trade-off curve"](kappa)
    assert allowed_by(Claim(4.0, 1e-5))(2**-20) == epsilon_delta_success(2**-20, 4.0, 1e-5)
    gaussian = gaussian_bounds(4.0, 1e-5, copies=2)
    assert gaussian["trade-off curve"](2**-20) <= gaussian["Renyi"](2**-20)


def test_over_very_many_steps_a_claim_allows_no_more_than_the_renyi_bound():
    """There the curve of several copies is rough, and lies above it at small false positive rates."""
    mechanism = DPSGD(0.01, 3_000_000, 100.0)
    allowed = allowed_by(Claim(9.0, 1e-5, mechanism=mechanism), 3)
    curve, divergence = group_curve(mechanism, 3), divergence_of(mechanism, 3)
    for kappa, above in ((1e-3, 1.07), (1e-6, 1.24)):
        assert curve_success(kappa, curve) > above * renyi_success(kappa, divergence)
        assert kappa < allowed(kappa) == renyi_success(kappa, divergence)
    assert allowed(0.1) == curve_success(0.1, curve) < renyi_success(0.1, divergence)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(InputError, match=r"kappa in \(0, 1\], got 0"):
        gaussian_success(0, 1)
    with pytest.raises(InputError, match="probability in"):
        required_bits(lambda kappa: kappa, 1.0)
    for guesses in (1.5, 2.0, 0, math.nan):
        with pytest.raises(InputError, match=rf"whole number of guesses >= 1, got 0.01 and {guesses}"):
            required_bits(lambda kappa: kappa, 0.01, guesses)  # type: ignore[arg-type]
    for copies in (2.0, 0, 1.5):
        with pytest.raises(InputError, match=rf"whole number of copies >= 1, got {copies}"):
            gaussian_bounds(4.0, 1e-5, copies)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="without noise"):
        divergence_of(DPSGD(0.1, 2, 0.0))
    for epsilon, delta in ((-1.0, 1e-5), (math.nan, 1e-5), (1.0, -0.1), (1.0, math.nan)):
        with pytest.raises(InputError, match=r"epsilon >= 0 and delta in \[0, 1\]"):
            epsilon_delta_success(0.1, epsilon, delta)
    for mu in (-1.0, math.nan):
        with pytest.raises(InputError, match="mu >= 0"):
            gaussian_success(0.1, mu)
    for found in (group_curve, divergence_of):
        with pytest.raises(InputError, match="copies >= 1, got 0"):
            found(DPSGD(0.1, 2, 1.0), 0)
    with pytest.raises(InputError, match="copies >= 1, got 0"):
        epsilon_delta_success(0.1, 1.0, 1e-5, 0)
