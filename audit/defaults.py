"""Which estimators fit which scores, and why."""

from __future__ import annotations

from attacks.scores import Scores
from audit.estimators.base import Estimator
from audit.estimators.calibrated_epsilon_delta import CalibratedEpsilonDelta
from audit.estimators.calibrated_gaussian import CalibratedGaussian
from audit.estimators.independent import needs_one_canary
from audit.estimators.one_run_calibrated import OneRunCalibrated
from audit.estimators.one_run_fdp import OneRunFDP
from audit.estimators.secret_guess import SecretGuess


def default_estimators(scores: Scores) -> tuple[Estimator, ...]:
    """The headline first, which assumes no curve; then what may stand beside it."""
    if scores.randomised == "model" or needs_one_canary(scores) is None:
        return CalibratedEpsilonDelta(), CalibratedGaussian()
    guessed = (SecretGuess(),) if "guessed" in scores.evidence else ()
    return OneRunCalibrated(), *guessed, OneRunFDP()


def why_default(scores: Scores) -> str:
    """Why these are the defaults, as a sentence."""
    if scores.randomised == "model" or needs_one_canary(scores) is None:
        return (
            "Each score comes from a model of its own, so all thresholds are calibrated on the worst mechanism "
            "(calibrated-epsilon-delta); calibrated-gaussian assumes a curve and stands beside it."
        )
    return (
        "Each canary of each model had its own coin, so right guesses are counted over all coins "
        "(one-run-calibrated); one-run-fdp assumes a curve and stands beside it."
    )
