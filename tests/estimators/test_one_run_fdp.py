import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from attacks.scores import Scores
from audit.estimators import OneRunFDP
from audit.estimators.one_run_fdp import fdp_p_value, fdp_refutes, gaussian_mu_refuted
from audit.gaussian import epsilon_of
from canaries.errors import InputError


def slow_refutes(mu: float, m: int, guesses: int, right: int, level: float) -> bool:
    """Algorithm 3, line by line."""
    r, h = {right: level * right / m}, {right: level * (guesses - right) / m}
    for i in range(right - 1, -1, -1):
        h[i] = max(h[i + 1], norm.cdf(norm.ppf(r[i + 1]) - mu))
        r[i] = r[i + 1] + i / (guesses - i) * (h[i] - h[i + 1])
    return r[0] + h[0] > guesses / m


def test_golden_value() -> None:
    assert epsilon_of(gaussian_mu_refuted(100, 80, 70, 0.05), 1e-6) == pytest.approx(3.2956, abs=1e-4)


@pytest.mark.parametrize(("m", "guesses", "right"), [(50, 20, 16), (100, 80, 70), (30, 30, 30)])
def test_the_bound_is_where_the_plain_recursion_stops_refuting(m: int, guesses: int, right: int) -> None:
    mu = gaussian_mu_refuted(m, guesses, right, 0.05)
    assert slow_refutes(mu - 1e-6, m, guesses, right, 0.05)
    assert not slow_refutes(mu + 1e-6, m, guesses, right, 0.05)


def test_p_value_is_the_level_that_is_just_refuted() -> None:
    def invert(tpr: np.ndarray) -> np.ndarray:
        return np.asarray(norm.cdf(norm.ppf(tpr) - 0.8))

    p = fdp_p_value(invert, 100, 80, 70)
    assert 0 < p < 1
    found = fdp_refutes(invert, 100, 80, 70, np.array([p * 0.97, p]))
    np.testing.assert_array_equal(found, [False, True])
    assert fdp_p_value(invert, 100, 80, 40) > 0.5


def test_a_hundred_thousand_coins_take_seconds() -> None:
    start = time.process_time()
    # FACTS.md: mu of theory 4.37 at 1e-5, best valid figure 3.37 with the number of guesses named in advance.
    assert 3 < epsilon_of(gaussian_mu_refuted(100_000, 20_000, 18_000, 0.05), 1e-6) < 4
    assert time.process_time() - start < 10


def test_nothing_is_refuted_by_chance_results() -> None:
    assert gaussian_mu_refuted(100, 20, 10, 0.05) == 0.0
    member = np.arange(100) % 2 == 0
    scores = Scores.from_matrix(np.zeros((1, 100)), member[None], randomised="canary")
    assert OneRunFDP().bound(scores, 1e-5).epsilon < 1


def test_bad_counts_are_named() -> None:
    with pytest.raises(InputError, match="got 7, 6 and 10"):
        gaussian_mu_refuted(10, 6, 7, 0.05)
    with pytest.raises(InputError, match=r"guesses in \(0, 1\], got 0"):
        OneRunFDP(guesses=0)


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=2, max_size=40), st.data())
@settings(max_examples=60, deadline=None)
def test_bound_never_falls_when_an_in_score_rises(pairs: list[tuple[int, bool]], data: st.DataObject) -> None:
    score, member = np.array([[p[0] for p in pairs]], float), np.array([[p[1] for p in pairs]])
    which = data.draw(st.integers(0, len(pairs) - 1))
    raised = score.copy()
    raised[0, which] += data.draw(st.integers(1, 30)) * (1 if member[0, which] else -1)
    before, after = (
        OneRunFDP(guesses=0.5).epsilon(Scores.from_matrix(s, member, randomised="canary"), 1e-5, 0.5, 0)
        for s in (score, raised)
    )
    assert after >= before
