import math
from dataclasses import replace

import numpy as np
import pytest

from attacks.scores import Scores
from audit.estimators import Reconstruction
from canaries.errors import InputError


def rebuilt(right: np.ndarray) -> Scores:
    n = len(right)
    scores = Scores.from_matrix(np.zeros((n, n)), np.eye(n, dtype=bool), randomised="model")
    return replace(scores, evidence={"reconstructed": np.diag(right)})


def test_independent_targets_are_a_binomial() -> None:
    epsilon = Reconstruction(prior=0.001).bound(rebuilt(np.arange(40) < 12), delta=0.0).epsilon
    p = math.exp(epsilon) * 0.001
    tail = sum(math.comb(40, v) * p**v * (1 - p) ** (40 - v) for v in range(12, 41))
    assert tail == pytest.approx(0.05, rel=1e-6)


def test_one_target_in_all_models_is_one_draw() -> None:
    one = np.ones((64, 1), dtype=bool)
    scores = replace(Scores.from_matrix(np.zeros((64, 1)), one, randomised="canary"), evidence={"reconstructed": one})
    assert Reconstruction(prior=0.1).bound(scores, delta=0.0).epsilon == 0.0


def test_what_cannot_be_used_is_said_in_words() -> None:
    with pytest.raises(InputError, match="'reconstructed'"):
        Reconstruction(prior=0.1).bound(Scores.from_arms(np.ones(3), np.zeros(3)), delta=0.0)
    with pytest.raises(InputError, match="set its field 'prior'"):
        Reconstruction().bound(Scores.from_arms(np.ones(3), np.zeros(3)), delta=0.0)
    with pytest.raises(InputError, match=r"prior in \(0, 1\), got 0"):
        Reconstruction(prior=0)
