"""The gate's policy: what a verdict must have shown, and what it may not exceed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Severity = Literal["error", "warning"]


class _Table(BaseModel):
    """A table: frozen, strict about types, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Budget(_Table):
    """A limit. In a file a bare number stands for an error above it.

    Attributes:
        limit: what is allowed.
        severity: an error fails the gate, a warning is only told.
    """

    limit: float = Field(ge=0)
    severity: Severity = "error"


class RateBudget(Budget):
    """A limit on a rate, in [0, 1]."""

    limit: float = Field(ge=0, le=1)


class TprBudget(RateBudget):
    """A limit on the true positive rate of every attack at a false positive rate.

    Attributes:
        fpr: the false positive rate, in (0, 1).
    """

    fpr: float = Field(gt=0, lt=1)


class Baseline(_Table):
    """An earlier run that no attack may do significantly better than. In a file a path stands for it.

    Attributes:
        run: its run directory, relative to where the gate runs.
        severity: of a regression.
    """

    run: str = Field(min_length=1)
    severity: Severity = "error"


def _budget(value: Any) -> Any:
    return value if value is None or isinstance(value, dict | Budget) else {"limit": value}


def _baseline(value: Any) -> Any:
    return value if value is None or isinstance(value, dict | Baseline) else {"run": value}


def _many(value: Any) -> Any:
    return (value,) if isinstance(value, dict) else tuple(value) if isinstance(value, list) else value


class Policy(_Table):
    """When a verdict is conclusive and when the gate fails. Every limit is on what is proven, not on an estimate.

    Attributes:
        refute_claims: fail where a claim is refuted; false to look away, "warning" only to tell.
        confidence: stands in for the experiment's, simultaneous over everything that the run proves. A gate that runs
            every night at 0.95 may fail a sound pipeline eighteen times a year; at 0.999 about once in three years.
        least_power: share of the claimed epsilon that a perfect attack must have been able to show; below it the
            verdict is INCONCLUSIVE, unless a perfect attack could have refuted the claim by the test of its curve.
        max_lower_bound: fail where a lower bound on epsilon is above this.
        max_extraction_rate: fail where the lower limit of the rate of extracted secrets is above this.
        max_tpr: fail where the lower limit of an attack's true positive rate at a false positive rate is above this.
        baseline: fail where an attack does significantly better than it did in this run.
    """

    refute_claims: Literal[True, False, "error", "warning"] = True
    confidence: float | None = Field(default=None, gt=0.5, lt=1)
    least_power: float = Field(default=0.25, ge=0, le=1)
    max_lower_bound: Annotated[Budget | None, BeforeValidator(_budget)] = None
    max_extraction_rate: Annotated[RateBudget | None, BeforeValidator(_budget)] = None
    max_tpr: Annotated[tuple[TprBudget, ...], BeforeValidator(_many)] = ()
    baseline: Annotated[Baseline | None, BeforeValidator(_baseline)] = None

    @property
    def families(self) -> int:
        """Equal shares of the error that the policy needs: claims and bounds, budgets on rates, the baseline."""
        rates = self.max_extraction_rate is not None or bool(self.max_tpr)
        return 1 + rates + (self.baseline is not None)

    @property
    def claim_severity(self) -> Severity | None:
        """What a refuted claim is; None where the policy does not mind."""
        if self.refute_claims is True or self.refute_claims is False:
            return "error" if self.refute_claims else None
        return self.refute_claims
