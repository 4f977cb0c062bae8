"""Estimates of epsilon that prove nothing: for people to read beside a bound, never for a verdict or a gate."""

from audit.estimates.andrew import Andrew
from audit.estimates.gaussian_fit import GaussianFit
from audit.estimates.joint_beta import JointBeta

__all__ = ["Andrew", "GaussianFit", "JointBeta"]
