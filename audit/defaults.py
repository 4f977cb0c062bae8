"""Which estimators fit which scores, and why."""

from __future__ import annotations

from attacks.scores import Scores
from audit.estimators.base import Estimator
from audit.estimators.clopper_pearson import ClopperPearson
from audit.estimators.gaussian_dp import GaussianDP
from audit.estimators.one_run import OneRun
from audit.estimators.secret_guess import SecretGuess


def default_estimators(scores: Scores) -> tuple[Estimator, ...]:
    """The headline first, which assumes no curve; then what may stand beside it."""
    if scores.randomised == "canary":
        return (OneRun(), SecretGuess()) if "guessed" in scores.evidence else (OneRun(),)
    return ClopperPearson(), GaussianDP()


def why_default(scores: Scores) -> str:
    """Why these are the defaults, as a sentence."""
    if scores.randomised == "canary":
        return "Each canary of each model had its own coin, so right guesses are counted over all coins (one-run)."
    return (
        "Each model had the canary or not, so error rates of independent models are bounded (clopper-pearson); "
        "gaussian-dp assumes a curve and stands beside it."
    )
