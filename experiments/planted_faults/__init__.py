"""Implementations of DP-SGD that are broken on purpose, each in one line."""

from experiments.planted_faults.clipping import (
    BiasNotClipped,
    ClippedAfterwards,
    ClippedMean,
    ClippedPerLayer,
    WeightedNotClipped,
)
from experiments.planted_faults.model import BatchNorm, BestOfEight, LayerLeftOut
from experiments.planted_faults.noise import NoiseAveraged, NoiseOverBatchSize, NoiseReused, NoNoise, SigmaWithoutC
from experiments.planted_faults.reference import Reference
from experiments.planted_faults.sampling import (
    FixedBatches,
    RateUnderstated,
    RealisedBatchSize,
    SeveralRecords,
    Shuffled,
    StepsUnderstated,
)

FAULTS = (
    NoNoise(),
    NoiseOverBatchSize(),
    SigmaWithoutC(),
    NoiseReused(),
    NoiseAveraged(),
    ClippedMean(),
    ClippedPerLayer(),
    ClippedAfterwards(),
    BiasNotClipped(),
    WeightedNotClipped(),
    RealisedBatchSize(),
    Shuffled(),
    FixedBatches(),
    RateUnderstated(),
    StepsUnderstated(),
    LayerLeftOut(),
    BatchNorm(),
    BestOfEight(),
    SeveralRecords(),
)

__all__ = ["FAULTS", "Reference"]
