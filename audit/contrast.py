"""The positive control held against the claim: could this audit tell the claimed pipeline from one without noise?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from scipy.stats import norm

from attacks.scores import Scores
from audit.bounds import Bound
from audit.claim import Claim
from audit.claim_test import claim_test
from audit.formatting import lower
from audit.regression import auc_with_error
from audit.results import Outcome, Verdict


@dataclass(frozen=True, eq=False)
class Seen:
    """What one attack proves in one cell.

    Attributes:
        scores: those that bounds and tests are taken from.
        bounds: of these scores.
    """

    scores: Scores
    bounds: tuple[Bound, ...]


def hold_against_control(
    verdict: Verdict,
    claim: Claim,
    found: Mapping[str, Seen],
    control: Mapping[str, Seen],
    least_power: float,
    single: float,
    level: float,
    seed: int = 0,
) -> Verdict:
    """NOT_REFUTED becomes INCONCLUSIVE where the audit cannot tell the claimed pipeline from the one without noise.

    It can if some attack, without noise, proves an epsilon of `least_power` times the claim; or has a significantly
    larger membership AUC than on the claimed pipeline; or refutes the claim by the claim's own test.

    Args:
        verdict: of the cell; any other than NOT_REFUTED stays as it is.
        claim: of the cell.
        found: by attack, in the cell.
        control: by attack, without noise; only attacks that saw the canaries there and carry something that counts
            (`Controls.able`): the AUC of an attack that could prove nothing shows nothing of what could be proven.
        least_power: share of the claimed epsilon.
        single: the level of one test of a claim.
        level: the level of all comparisons of AUCs in this cell together (Bonferroni); the cells of a run share its
            error.
        seed: of the claim's test.
    """
    if verdict.outcome is not Outcome.NOT_REFUTED:
        return verdict
    shown = max((b.epsilon for seen in control.values() for b in seen.bounds if not b.parametric), default=0.0)
    both = [(found[name], control[name]) for name in control if name in found]
    if (
        shown >= least_power * claim.epsilon
        or any(_p_larger(mine, bare) <= level / len(both) for mine, bare in both)
        or any(_refutes(bare.scores, claim, single, seed) for bare in control.values())
    ):
        return replace(
            verdict, reason=f"{verdict.reason} Without noise the same attacks show epsilon {lower(shown)} at least."
        )
    reason = (
        f"Epsilon is at least {lower(verdict.lower_bound)}; but even without noise these attacks show epsilon "
        f"{lower(shown)} only, where {claim.epsilon:g} is claimed, and no larger AUC: this audit cannot tell the "
        "claimed pipeline from one without noise."
    )
    return replace(verdict, outcome=Outcome.INCONCLUSIVE, reason=reason)


def _p_larger(found: Seen, control: Seen) -> float:
    """P-value of "the AUC without noise is no larger", by normal approximation."""
    (area, error), (bare, bare_error) = auc_with_error(found.scores), auc_with_error(control.scores)
    return float(norm.sf((bare - area) / math.hypot(error, bare_error)))


def _refutes(scores: Scores, claim: Claim, level: float, seed: int) -> bool:
    test = claim_test(scores, claim, seed=seed, level=level)
    return test is not None and test.p_value <= level
