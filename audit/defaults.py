"""Which estimators fit which scores, and why."""

from __future__ import annotations

from attacks.scores import Scores
from audit.estimators.base import Estimator
from audit.estimators.calibrated_epsilon_delta import CalibratedEpsilonDelta
from audit.estimators.calibrated_gaussian import CalibratedGaussian
from audit.estimators.independent import needs_one_canary
from audit.estimators.one_run import OneRun
from audit.estimators.one_run_calibrated import OneRunCalibrated, leak
from audit.estimators.one_run_fdp import OneRunFDP
from audit.estimators.secret_guess import SecretGuess


def default_estimators(scores: Scores, delta: float, confidence: float) -> tuple[Estimator, ...]:
    """The headline first, which assumes no curve; then what may stand beside it. Decided by counts, never by scores."""
    if scores.randomised == "model" or needs_one_canary(scores) is None:
        return CalibratedEpsilonDelta(), CalibratedGaussian()
    guessed = (SecretGuess(),) if "guessed" in scores.evidence else ()
    return _headline(scores, delta, confidence), *guessed, OneRunFDP()


def why_default(scores: Scores, delta: float, confidence: float) -> str:
    """Why these are the defaults, as a sentence."""
    if scores.randomised == "model" or needs_one_canary(scores) is None:
        return (
            "Each score comes from a model of its own, so all thresholds are calibrated on the worst mechanism "
            "(calibrated-epsilon-delta); calibrated-gaussian assumes a curve and stands beside it."
        )
    beside = "one-run-fdp assumes a curve and stands beside it."
    if "guessed" in scores.evidence:
        beside = "secret-guess counts guessed secrets; " + beside
    if isinstance(_headline(scores, delta, confidence), OneRun):
        return (
            f"Each canary of each model had its own coin. Of {scores.score.size} coins at delta {delta:g}, "
            "one-run-calibrated would give more than half of its error to what delta can do to all of them, and miss "
            "small leaks; one-run, with a number of guesses named in advance, pays for delta near the count that it "
            f"saw; {beside}"
        )
    return (
        "Each canary of each model had its own coin, so right guesses are counted over all coins, for every number of "
        f"guesses (one-run-calibrated); {beside}"
    )


def _headline(scores: Scores, delta: float, confidence: float) -> Estimator:
    """Calibrated over all numbers of guesses, unless so many coins at this delta would leave it nothing to say.

    It pays for delta with all coins at once, which shuts out small bounds; Steinke's pays near the count that it saw.
    """
    spent = leak(scores.score.size, 1.0, delta, int(scores.repetitions.max(initial=1)))
    return OneRunCalibrated() if spent <= (1 - confidence) / 2 else OneRun()
