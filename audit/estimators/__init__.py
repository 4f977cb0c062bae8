"""From scores to lower bounds on epsilon, one file for each way."""

from audit.estimators.clopper_pearson import ClopperPearson
from audit.estimators.gaussian_dp import GaussianDP
from audit.estimators.one_run import OneRun
from audit.estimators.secret_guess import SecretGuess

__all__ = ["ClopperPearson", "GaussianDP", "OneRun", "SecretGuess"]
