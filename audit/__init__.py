"""Firedamp: how much does a training pipeline that claims differential privacy really leak, at least?

The public names are below. Importing them needs no torch: only `sweep` does, which trains.
"""

from typing import TYPE_CHECKING, Any

from audit.api import AuditResult, bound, run
from audit.bounds import Bound
from audit.claim import Claim
from audit.claim_test import p_value
from audit.mechanism import DPSGD
from audit.policy import Policy
from audit.results import Outcome, Verdict
from audit.runs import load_result
from audit.score_files import read_scores
from canaries.errors import InputError

if TYPE_CHECKING:
    from audit.sweeping import sweep

__all__ = [
    "DPSGD",
    "AuditResult",
    "Bound",
    "Claim",
    "InputError",
    "Outcome",
    "Policy",
    "Verdict",
    "bound",
    "load_result",
    "p_value",
    "read_scores",
    "run",
    "sweep",
]


def __getattr__(name: str) -> Any:
    """`sweep`, at the price of importing torch when it is first asked for."""
    if name == "sweep":
        from audit.sweeping import sweep

        return sweep
    raise AttributeError(f"module 'audit' has no attribute '{name}'")
