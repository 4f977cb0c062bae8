"""The ensemble engine: many models of one architecture trained in lockstep with per-example clipping."""

from audit.training.ensemble.speed import Speed
from audit.training.ensemble.trainer import Ensemble

__all__ = ["Ensemble", "Speed"]
