"""Planting canaries into the training set of a pipeline that trains elsewhere."""

from audit.plant.planting import plant

__all__ = ["plant"]
