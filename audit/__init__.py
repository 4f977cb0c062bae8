"""Firedamp: how much does a training pipeline that claims differential privacy really leak, at least?

The public names are below. Each is imported when it is first asked for, so that what needs none of them, as a test run
in which the pytest plugin is merely installed, pays for none; only `sweep` needs torch, for it trains.
"""

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audit.api import AuditResult, bound, run
    from audit.bounds import Bound
    from audit.claim import Claim
    from audit.claim_test import p_value
    from audit.mechanism import DPSGD
    from audit.policy import Policy
    from audit.results import Outcome, Verdict
    from audit.runs import load_result
    from audit.score_files import read_scores
    from audit.sweeping import sweep
    from canaries.errors import InputError

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

_HOME = {
    "AuditResult": "audit.api",
    "Bound": "audit.bounds",
    "Claim": "audit.claim",
    "DPSGD": "audit.mechanism",
    "InputError": "canaries.errors",
    "Outcome": "audit.results",
    "Policy": "audit.policy",
    "Verdict": "audit.results",
    "bound": "audit.api",
    "load_result": "audit.runs",
    "p_value": "audit.claim_test",
    "read_scores": "audit.score_files",
    "run": "audit.api",
    "sweep": "audit.sweeping",
}


def __getattr__(name: str) -> Any:
    """A public name, or a module of the package, imported now."""
    if name in _HOME:
        found = getattr(importlib.import_module(_HOME[name]), name)
        globals()[name] = found
        return found
    if not name.startswith("_") and importlib.util.find_spec(f"audit.{name}") is not None:
        return importlib.import_module(f"audit.{name}")
    raise AttributeError(f"module 'audit' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
