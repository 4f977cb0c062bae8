"""What adversaries do with a view of a model: attacks, and the scores that they give."""

from attacks.base import Attack
from attacks.confidence import Confidence, Entropy, Margin, ModifiedEntropy
from attacks.cross_model import CrossModel, held_out, leave_one_out
from attacks.gradient import Gradient
from attacks.gradient_epochs import GradientEpochs
from attacks.gradient_llr import GradientLLR
from attacks.gradient_spread import GradientSpread
from attacks.iterates import Iterates
from attacks.label_only import Augmentations, BoundaryDistance, Gap, HopSkipJump, NoiseRobustness
from attacks.lira import LiRA, LiRAOffline
from attacks.lira_bayes import BayesianLiRA
from attacks.loss import Loss
from attacks.population import Population
from attacks.reference_models import CalibratedLoss, ReferenceModels
from attacks.rmia import RMIA, RMIAOffline
from attacks.scores import Observations, Scores
from attacks.view import Access, AccessError, ArrayView, TextView, View
from attacks.weights import Weights

__all__ = [
    "RMIA",
    "Access",
    "AccessError",
    "ArrayView",
    "Attack",
    "Augmentations",
    "BayesianLiRA",
    "BoundaryDistance",
    "CalibratedLoss",
    "Confidence",
    "CrossModel",
    "Entropy",
    "Gap",
    "Gradient",
    "GradientEpochs",
    "GradientLLR",
    "GradientSpread",
    "HopSkipJump",
    "Iterates",
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
    "Weights",
    "held_out",
    "leave_one_out",
]
