"""Label-only attacks: membership from nothing but predicted labels."""

from attacks.label_only.augmentations import Augmentations
from attacks.label_only.base import LabelOnly
from attacks.label_only.boundary import BoundaryDistance
from attacks.label_only.gap import Gap
from attacks.label_only.hop_skip_jump import HopSkipJump
from attacks.label_only.noise import NoiseRobustness

__all__ = ["Augmentations", "BoundaryDistance", "Gap", "HopSkipJump", "LabelOnly", "NoiseRobustness"]
