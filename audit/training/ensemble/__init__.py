"""The ensemble engine: many models of one architecture trained in lockstep with per-example clipping."""

from audit.training.ensemble.trainer import Ensemble
from audit.training.speed import Speed

__all__ = ["Ensemble", "Speed"]
