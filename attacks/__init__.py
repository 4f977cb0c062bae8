"""What adversaries do with a view of a model: attacks, and the scores that they give."""

from attacks.base import Attack
from attacks.confidence import Confidence, Entropy, Margin, ModifiedEntropy
from attacks.cross_model import CrossModel, held_out, leave_one_out
from attacks.label_only import NoiseRobustness
from attacks.lira import LiRA, LiRAOffline
from attacks.lira_bayes import BayesianLiRA
from attacks.loss import Loss
from attacks.population import Population
from attacks.reference_models import CalibratedLoss, ReferenceModels
from attacks.rmia import RMIA, RMIAOffline
from attacks.scores import Observations, Scores
from attacks.view import Access, AccessError, ArrayView, TextView, View

__all__ = [
    "RMIA",
    "Access",
    "AccessError",
    "ArrayView",
    "Attack",
    "BayesianLiRA",
    "CalibratedLoss",
    "Confidence",
    "CrossModel",
    "Entropy",
    "LiRA",
    "LiRAOffline",
    "Loss",
    "Margin",
    "ModifiedEntropy",
    "NoiseRobustness",
    "Observations",
    "Population",
    "RMIAOffline",
    "ReferenceModels",
    "Scores",
    "TextView",
    "View",
    "held_out",
    "leave_one_out",
]
