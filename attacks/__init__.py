"""What adversaries do with a view of a model: attacks, and the scores that they give."""

from attacks.base import Attack
from attacks.gradient import Gradient
from attacks.gradient_llr import GradientLLR
from attacks.iterates import Iterates
from attacks.label_only import NoiseRobustness
from attacks.loss import Loss
from attacks.scores import Observations, Scores
from attacks.view import Access, AccessError, ArrayView, TextView, View
from attacks.weights import Weights

__all__ = [
    "Access",
    "AccessError",
    "ArrayView",
    "Attack",
    "Gradient",
    "GradientLLR",
    "Iterates",
    "Loss",
    "NoiseRobustness",
    "Observations",
    "Scores",
    "TextView",
    "View",
    "Weights",
]
