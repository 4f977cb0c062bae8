"""Planted records: how canaries are made, and who trained on which."""

from canaries.base import CanaryDesign, CanarySet, Secret
from canaries.blank import Blank
from canaries.boundary import Boundary
from canaries.dirac import Dirac
from canaries.hot_pixel import HotPixel
from canaries.inclusion import Inclusion
from canaries.low_variance import LowVariance
from canaries.mislabelled import Mislabelled
from canaries.natural import Natural
from canaries.noise import UniformNoise

__all__ = [
    "Blank",
    "Boundary",
    "CanaryDesign",
    "CanarySet",
    "Dirac",
    "HotPixel",
    "Inclusion",
    "LowVariance",
    "Mislabelled",
    "Natural",
    "Secret",
    "UniformNoise",
]
