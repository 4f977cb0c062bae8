import numpy as np
import pytest

from attacks.scores import Scores
from audit.defaults import default_estimators, why_default


def coins(models: int, canaries: int) -> Scores:
    member = np.random.default_rng(0).random((models, canaries)) < 0.5
    return Scores.from_matrix(np.zeros(member.shape), member, randomised="canary")


def arms() -> Scores:
    return Scores.from_arms(np.ones(10), np.zeros(10))


@pytest.mark.parametrize(
    ("scores", "delta", "headline", "why"),
    [
        (arms(), 1e-5, "calibrated-epsilon-delta", "a model of its own"),
        (coins(1, 1000), 1e-5, "one-run-calibrated", "for every number of guesses"),
        (coins(20, 1000), 0.0, "one-run-calibrated", "for every number of guesses"),
        (
            coins(20, 1000),
            1e-5,
            "one-run",
            "Of 20000 coins at delta 1e-05, one-run-calibrated would give",
        ),
    ],
)
def test_the_headline_fits_the_design_and_its_reason_is_told(
    scores: Scores, delta: float, headline: str, why: str
) -> None:
    found = default_estimators(scores, delta, 0.95)
    assert found[0].name == headline
    assert not found[0].parametric
    sentence = why_default(scores, delta, 0.95)
    assert why in sentence
    assert all(estimator.name in sentence for estimator in found)


def test_what_is_counted_are_coins_not_scores() -> None:
    # The choice between estimators must not depend on the scores, or it would have to be paid for.
    quiet = coins(20, 1000)
    loud = Scores.from_matrix(quiet.member.astype(float), quiet.member, randomised="canary")
    assert default_estimators(quiet, 1e-5, 0.95) == default_estimators(loud, 1e-5, 0.95)
