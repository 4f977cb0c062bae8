import math

import numpy as np
import pytest
from scipy.stats import norm

from audit.bounds import REPLACE_ONE
from audit.loss_curve import LossCurve, curve_of
from audit.mechanism import DPSGD
from audit.pld import pld_epsilon
from canaries.errors import InputError

FPR = np.array([1e-4, 0.01, 0.1, 0.3, 0.6, 0.9, 0.999])


def test_one_step_is_the_curve_of_its_likelihood_ratio() -> None:
    q, sigma = 0.2, 0.8
    threshold = norm.isf(FPR) * sigma
    exact = (1 - q) * FPR + q * norm.sf((threshold - 1) / sigma)
    found = curve_of(DPSGD(q, 1, sigma)).most_tpr(FPR)
    assert (found >= exact - 1e-9).all()
    np.testing.assert_allclose(found, exact, atol=2e-3)


def test_full_batch_is_gaussian_and_replacing_doubles_it() -> None:
    mechanism = DPSGD(1.0, 25, 4.0)
    for copies, adjacency, mu in (
        (1, "add-or-remove-one", 1.25),
        (3, "add-or-remove-one", 3.75),
        (1, REPLACE_ONE, 2.5),
    ):
        found = curve_of(mechanism, copies, adjacency).most_tpr(FPR)
        np.testing.assert_allclose(found, norm.sf(norm.isf(FPR) - mu), rtol=1e-9)


@pytest.mark.parametrize("mechanism", [DPSGD(0.1, 20, 1.0), DPSGD(0.01, 500, 0.8)])
def test_epsilon_and_delta_is_a_tangent_of_the_curve(mechanism: DPSGD) -> None:
    curve, epsilon = curve_of(mechanism), pld_epsilon(mechanism, 1e-5)
    assert isinstance(curve, LossCurve)
    gap = (curve.tpr - math.exp(epsilon) * curve.fpr).max()
    assert gap == pytest.approx(1e-5, rel=0.15)


def test_inverse_copies_and_order() -> None:
    curve = curve_of(DPSGD(0.1, 20, 1.0))
    np.testing.assert_allclose(curve.invert(curve.most_tpr(FPR)), FPR, rtol=1e-6)
    twice = curve_of(DPSGD(0.1, 20, 1.0), 2)
    np.testing.assert_allclose(twice.most_tpr(FPR), curve.most_tpr(curve.most_tpr(FPR)))
    np.testing.assert_allclose(twice.invert(twice.most_tpr(FPR)), FPR, rtol=1e-6)
    assert (curve_of(DPSGD(0.1, 20, 0.7)).most_tpr(FPR) >= curve.most_tpr(FPR)).all()
    assert (curve_of(DPSGD(0.1, 20, 1.0), 1, REPLACE_ONE).most_tpr(FPR) >= curve.most_tpr(FPR) - 1e-9).all()


def test_no_noise_is_named() -> None:
    with pytest.raises(InputError, match="without noise"):
        curve_of(DPSGD(0.1, 20, 0.0))
