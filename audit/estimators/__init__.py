"""From scores to lower bounds on epsilon, one file for each way."""

from audit.estimators.betting import Betting
from audit.estimators.calibrated_epsilon_delta import CalibratedEpsilonDelta
from audit.estimators.calibrated_gaussian import CalibratedGaussian
from audit.estimators.calibrated_loss_curve import CalibratedLossCurve
from audit.estimators.clopper_pearson import ClopperPearson
from audit.estimators.dkw import DKW
from audit.estimators.exposure_rank import ExposureRank
from audit.estimators.gaussian_dp import GaussianDP
from audit.estimators.one_run import OneRun
from audit.estimators.one_run_calibrated import OneRunCalibrated
from audit.estimators.one_run_fdp import OneRunFDP
from audit.estimators.reconstruction import Reconstruction
from audit.estimators.secret_guess import SecretGuess

__all__ = [
    "DKW",
    "Betting",
    "CalibratedEpsilonDelta",
    "CalibratedGaussian",
    "CalibratedLossCurve",
    "ClopperPearson",
    "ExposureRank",
    "GaussianDP",
    "OneRun",
    "OneRunCalibrated",
    "OneRunFDP",
    "Reconstruction",
    "SecretGuess",
]
