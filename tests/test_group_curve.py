"""The curve of several copies, against likelihood ratios, dp-accounting's own mixture and what it must lie between."""

from __future__ import annotations

import math
from functools import reduce

import numpy as np
import pytest
from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution, from_mixture_gaussian_mechanism
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm

from audit.group_curve import group_curve
from audit.loss_curve import LossCurve, curve_of, polygon
from audit.mechanism import DPSGD
from audit.secret_bits import curve_success, divergence_of, gaussian_success, renyi_success, required_bits

FPR = np.concatenate([2.0 ** -np.arange(200, 0, -1.0), np.linspace(0.51, 1, 50)])


def by_dp_accounting(mechanism: DPSGD, copies: int, interval: float) -> LossCurve:
    chosen = np.arange(copies + 1)
    phases: list[PrivacyLossDistribution] = []
    for steps, rate in mechanism.phases:
        weights = binom.pmf(chosen, copies, rate)
        step = from_mixture_gaussian_mechanism(
            mechanism.noise_multiplier,
            chosen.astype(float).tolist(),
            weights.tolist(),
            value_discretization_interval=interval,
        )
        phases.append(step.self_compose(steps))
    return polygon(reduce(lambda one, other: one.compose(other), phases))


@pytest.mark.parametrize(
    ("mechanism", "copies", "interval", "above"),
    [  # The interval is half of that of `group_curve`; how far that may lie above, relatively.
        (DPSGD(0.1, 10, 1.0), 3, 2.5e-3, 1e-3),
        (DPSGD(1 / 32, 400, 2.7), 4, 1.25e-3, 2e-3),
        (DPSGD(1 / 32, 400, 2.7), 16, 1.25e-3, 2e-3),
        (DPSGD(1 / 32, 100, 6.0), 64, 2.5e-3, 2e-3),
        (DPSGD(0.9, 3, 2.0), 4, 2.5e-3, 2e-3),
        (DPSGD(0.001, 10_000, 3.0), 2, 2.5e-4, 2e-2),
        (DPSGD(0.1, 5, 2.0, ((1, 1.0), (2, 0.5))), 2, 5e-3, 2e-3),
    ],
    ids=str,
)
def test_it_is_never_below_the_finer_one_of_dp_accounting(
    mechanism: DPSGD, copies: int, interval: float, above: float
) -> None:
    found = group_curve(mechanism, copies).most_tpr(FPR)
    fine = by_dp_accounting(mechanism, copies, interval).most_tpr(FPR)
    assert (found >= fine - 1e-8).all()  # The rounding of dp-accounting, which grows as the interval shrinks.
    assert (found <= fine * (1 + above) + 1e-8).all()
    seen = fine > 1e-6
    assert (found[seen] <= fine[seen] * (1 + above)).all()


@settings(max_examples=40, deadline=None)
@given(st.floats(0.05, 20), st.floats(0.001, 0.99), st.integers(2, 70))
def test_one_step_is_the_curve_of_its_likelihood_ratio(sigma: float, rate: float, copies: int) -> None:
    """Which is monotone, so its best tests are thresholds of the output."""
    chosen = np.arange(copies + 1)
    at = np.linspace(-6, 12 + copies / sigma, 300)
    tpr = norm.sf(at[:, None] - chosen / sigma) @ binom.pmf(chosen, copies, rate)
    fpr = norm.sf(at)
    seen = fpr > 2.0**-500
    found = group_curve(DPSGD(rate, 1, sigma), copies).most_tpr(fpr[seen])
    assert (found >= tpr[seen] - 1e-12).all()
    assert (found <= tpr[seen] * 1.006 + 1e-12).all()


@settings(max_examples=15, deadline=None)
@given(st.floats(0.3, 5), st.floats(0.005, 0.5), st.integers(1, 200), st.integers(2, 20))
def test_it_lies_between_the_curve_of_one_and_what_group_privacy_makes_of_it(
    sigma: float, rate: float, steps: int, copies: int
) -> None:
    mechanism = DPSGD(rate, steps, sigma)
    found = group_curve(mechanism, copies).most_tpr(FPR)
    likely = FPR >= 2.0**-26  # Below, repeating the curve of one also repeats its rounding.
    assert (found >= group_curve(mechanism, max(1, copies - 1)).most_tpr(FPR) * (1 - 2e-3) - 1e-11).all()
    assert (found >= group_curve(DPSGD(rate, steps, sigma * 1.1), copies).most_tpr(FPR) * (1 - 2e-3) - 1e-11).all()
    assert (found <= curve_of(mechanism, copies).most_tpr(FPR) * (1 + 2e-3) + 1e-11)[likely].all()
    assert (np.diff(found) >= 0).all()
    for kappa in (2.0**-8, 2.0**-26):
        renyi = renyi_success(kappa, divergence_of(mechanism, copies))
        assert curve_success(kappa, group_curve(mechanism, copies)) <= renyi * 1.006 + 1e-11


def test_the_curve_of_several_copies_holds_for_the_mechanism_simulated() -> None:
    """Full knowledge of every step: the likelihood ratio's power at a false positive rate of 1%."""
    rate, steps, sigma, copies, n = 0.2, 5, 1.0, 3, 40_000
    rng = np.random.default_rng(0)
    weights = np.array([math.comb(copies, j) * rate**j * (1 - rate) ** (copies - j) for j in range(copies + 1)])
    shifts = np.arange(copies + 1)

    def ratio(x: np.ndarray) -> np.ndarray:
        logs = np.log((weights * np.exp(x[..., None] * shifts / sigma**2 - shifts**2 / 2 / sigma**2)).sum(-1))
        return logs.sum(axis=1)

    out = ratio(rng.normal(0, sigma, (n, steps)))
    inside = ratio(rng.normal(rng.binomial(copies, rate, (n, steps)), sigma))
    threshold = np.quantile(out, 0.99)
    power = (inside > threshold).mean()
    allowed = curve_success(0.01, group_curve(DPSGD(rate, steps, sigma), copies))
    assert power == pytest.approx(allowed, abs=0.03)


def test_one_copy_and_full_batches_have_the_curves_of_their_own() -> None:
    mechanism = DPSGD(0.1, 20, 1.0)
    np.testing.assert_array_equal(group_curve(mechanism, 1).most_tpr(FPR), curve_of(mechanism).most_tpr(FPR))
    assert curve_success(2**-20, group_curve(DPSGD(1.0, 9, 2.0), 3)) == pytest.approx(gaussian_success(2**-20, 4.5))


def test_many_copies_at_hardly_any_noise_are_a_curve_as_well() -> None:
    """What is left is the chance that no step draws any copy, and then nothing is seen: 0.97^40 of all models."""
    for sigma in (0.02, 1e-3, 1e-6):
        found = group_curve(DPSGD(0.03, 10, sigma), 4).most_tpr(np.array([2.0**-400, 2.0**-30, 0.5]))
        exact = 1 - 0.97**40 * np.array([1, 1, 0.5])
        np.testing.assert_allclose(found[:2], exact[:2], atol=1e-9)
        assert exact[2] - 1e-9 <= found[2] <= exact[2] * 1.002


def test_losses_too_large_to_be_told_apart_still_count() -> None:
    """Many steps, none of which divulges much: together they divulge all, at any false positive rate."""
    found = group_curve(DPSGD(0.5, 200, 0.8), 4).most_tpr(np.array([2.0**-500, 2.0**-20]))
    np.testing.assert_allclose(found, 1, atol=1e-9)


@pytest.mark.parametrize(("copies", "bits"), [(4, 46.588), (16, 317.806)])
def test_bits_that_a_secret_needs_at_epsilon_8(copies: int, bits: float) -> None:
    """As by dp-accounting's mixture, at intervals of 0.0025 and 0.00125 alike."""
    curve = group_curve(DPSGD(1 / 32, 400, 0.741), copies)
    assert required_bits(lambda kappa: curve_success(kappa, curve)) == pytest.approx(bits, abs=0.02)
