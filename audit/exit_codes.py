"""Exit codes of the command line."""

from __future__ import annotations

from audit.results import Outcome

NOT_REFUTED = 0
REFUTED = 1
BAD_INPUT = 2
INCONCLUSIVE = 3
UNITS_FAILED = 4
INTERRUPTED = 130
CRASHED = 70
"""A fault of Firedamp itself; never to be taken for a verdict."""

BY_OUTCOME = {
    Outcome.NOT_REFUTED: NOT_REFUTED,
    Outcome.REFUTED: REFUTED,
    Outcome.INCONCLUSIVE: INCONCLUSIVE,
}
