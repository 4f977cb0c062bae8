"""What adversaries do with a view of a model: attacks, and the scores that they give."""

from attacks.base import Attack
from attacks.label_only import NoiseRobustness
from attacks.loss import Loss
from attacks.scores import Observations, Scores
from attacks.view import Access, AccessError, ArrayView, TextView, View

__all__ = [
    "Access",
    "AccessError",
    "ArrayView",
    "Attack",
    "Loss",
    "NoiseRobustness",
    "Observations",
    "Scores",
    "TextView",
    "View",
]
