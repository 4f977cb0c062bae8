import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from attacks.scores import Scores
from audit.bounds import ADD_OR_REMOVE_ONE, REPLACE_ONE
from audit.estimators.secret_guess import SecretGuess, success_ceiling
from canaries.errors import InputError


def guesses(right: np.ndarray, member: np.ndarray, space: float = 1e6, repetitions: int = 1) -> Scores:
    scores = Scores.from_matrix(np.zeros(member.shape), member, randomised="canary")
    n = member.shape[1]
    return replace(scores, evidence={"guessed": right}, space=np.full(n, space), repetitions=np.full(n, repetitions))


def fresh(right: np.ndarray, space: float, repetitions: int = 1) -> Scores:
    """One secret in each model, another in every model."""
    return guesses(np.diag(right), np.eye(len(right), dtype=bool), space, repetitions)


@pytest.mark.parametrize("k", [2, 3, 5])
@pytest.mark.parametrize("epsilon", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("delta", [0.0, 0.05])
def test_ceilings_are_what_the_best_mechanism_attains(k: int, epsilon: float, delta: float) -> None:
    # Mechanisms that output a guess: rows are the data sets D + s (and, last, D), columns the guesses. Maximise the
    # mean of M[s, s] under (eps, delta)-DP. By symmetry a binary test {guess = s} or its complement is what binds;
    # for replace-one, each pair of rows is held to it on every event.
    grow = math.exp(epsilon)

    def best(rows: int, pairs: list[tuple[int, int]]) -> float:
        events = [[g for g in range(k) if event >> g & 1] for event in range(1, 2**k - 1)]
        upper, limits = [], []
        for a, b in pairs:
            for event in events:
                line = np.zeros((rows, k))
                line[a, event] += 1
                line[b, event] -= grow
                upper.append(line.ravel())
                limits.append(delta)
        total = np.kron(np.eye(rows), np.ones(k))
        gain = np.zeros((rows, k))
        gain[np.arange(k), np.arange(k)] = 1 / k
        found = linprog(-gain.ravel(), np.array(upper), limits, total, np.ones(rows), bounds=(0, 1))
        return -found.fun

    star = [pair for s in range(k) for pair in ((s, k), (k, s))]
    everyone = [(a, b) for a in range(k) for b in range(k) if a != b]
    assert success_ceiling(epsilon, delta, k) == pytest.approx(best(k + 1, star), abs=1e-7)
    assert success_ceiling(epsilon, delta, k, REPLACE_ONE) == pytest.approx(best(k, everyone), abs=1e-7)


@given(st.floats(0, 1000), st.floats(0, 1), st.floats(1, 1e300))
def test_ceiling_is_a_probability_and_add_or_remove_is_the_looser(epsilon: float, delta: float, k: float) -> None:
    loose, tight = (success_ceiling(epsilon, delta, k, adjacency) for adjacency in (ADD_OR_REMOVE_ONE, REPLACE_ONE))
    assert 1 / k - 1e-12 <= tight <= loose + 1e-12
    assert loose <= 1
    assert loose <= success_ceiling(epsilon + 0.5, delta, k) + 1e-12


def test_one_secret_of_each_model_is_a_binomial() -> None:
    right = np.arange(40) < 12
    epsilon = SecretGuess().bound(fresh(right, 1000.0), delta=0.0).epsilon
    p = math.exp(epsilon) / 1000
    tail = sum(math.comb(40, v) * p**v * (1 - p) ** (40 - v) for v in range(12, 41))
    assert tail == pytest.approx(0.05, rel=1e-6)


def test_several_secrets_of_a_model_are_one_e_value() -> None:
    member = np.kron(np.eye(6, dtype=bool), np.ones((1, 4), dtype=bool))  # 6 models, 4 secrets of their own each
    right = member & (np.arange(24) % 4 < 2)
    epsilon = SecretGuess().bound(guesses(right, member), delta=0.0).epsilon
    p = math.exp(epsilon) / 1e6
    assert (0.5 + 0.5 * 0.5 / p) ** 6 == pytest.approx(20, rel=1e-6)


def test_models_that_share_a_secret_are_not_independent() -> None:
    # The secret is 7 and every model says 7, private or not: with k = 10 that happens by chance once in ten times.
    one = np.ones((64, 1), dtype=bool)
    assert SecretGuess().bound(guesses(one, one, space=10.0), delta=0.0).ceiling == 0.0
    # Of 10^6 values it happens once in a million, and 64 models show no more than one does.
    shared = SecretGuess().bound(guesses(one, one), delta=0.0).epsilon
    assert shared == pytest.approx(math.log(0.05 * 1e6), rel=1e-6)


def test_copies_are_held_against_their_own_groups() -> None:
    right = np.ones(30, dtype=bool)
    single = SecretGuess().bound(fresh(right, 1e6), delta=0.0).epsilon
    assert SecretGuess().bound(fresh(right, 1e6, repetitions=16), delta=0.0).epsilon == pytest.approx(single / 16)
    # One secret never repeated costs little beside one repeated too often to say anything.
    member = np.ones((1, 2), dtype=bool)
    mixed = replace(guesses(member, member), repetitions=np.array([1, 10_000]))
    assert SecretGuess().bound(mixed, delta=0.0).epsilon == pytest.approx(math.log(0.025 * 1e6), abs=0.05)


def test_only_inserted_secrets_count() -> None:
    member = np.zeros((5, 3), dtype=bool)
    bound = SecretGuess().bound(guesses(np.ones((5, 3), dtype=bool), member), delta=0.0)
    assert (bound.epsilon, bound.ceiling, bound.samples["secrets"]) == (0.0, 0.0, 0)


@given(
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(0, 10_000),
    st.sampled_from([2.0, 10.0, 1e8, 1e300]),
    st.sampled_from([0.0, 1e-5, 0.5]),
)
@settings(max_examples=60, deadline=None)
def test_a_right_guess_never_lowers_the_bound(models: int, n: int, seed: int, space: float, delta: float) -> None:
    rng = np.random.default_rng(seed)
    member, right = rng.random((2, models, n)) < 0.5
    scores = replace(guesses(right, member, space), repetitions=rng.integers(1, 20, n))
    before = SecretGuess().bound(scores, delta=delta)
    more = right | (rng.random((models, n)) < 0.3)
    after = SecretGuess().bound(replace(scores, evidence={"guessed": more.astype(float)}), delta=delta)
    assert before.epsilon <= after.epsilon <= after.ceiling == before.ceiling


def test_what_cannot_be_used_is_said_in_words() -> None:
    member = np.ones((2, 2), dtype=bool)
    with pytest.raises(InputError, match="evidence 'guessed'"):
        SecretGuess().bound(Scores.from_matrix(np.zeros((2, 2)), member, randomised="canary"), delta=0.0)
    with pytest.raises(InputError, match="more than one value"):
        SecretGuess().bound(guesses(member, member, space=1.0), delta=0.0)
    with pytest.raises(InputError, match="0 or 1"):
        SecretGuess().bound(guesses(np.full((2, 2), 0.5), member), delta=0.0)
    with pytest.raises(InputError, match=r"got 1\.5"):
        SecretGuess(bet=1.5)
    with pytest.raises(InputError, match="got 'swap'"):
        success_ceiling(1.0, 0.0, 10, "swap")
