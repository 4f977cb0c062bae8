"""The gate's policy: what a verdict must have shown, and what it may not exceed."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Policy(BaseModel):
    """When a verdict is conclusive and when the gate fails. Every limit is on what is proven, not on an estimate.

    Attributes:
        refute_claims: fail where a claim is refuted.
        least_power: share of the claimed epsilon that a perfect attack must have been able to show; below it the
            verdict is INCONCLUSIVE.
        max_lower_bound: fail where a lower bound on epsilon is above this.
        max_extraction_rate: fail where the lower 95% limit of the rate of extracted secrets is above this.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    refute_claims: bool = True
    least_power: float = Field(default=0.25, ge=0, le=1)
    max_lower_bound: float | None = Field(default=None, ge=0)
    max_extraction_rate: float | None = Field(default=None, ge=0, le=1)
