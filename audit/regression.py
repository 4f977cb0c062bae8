"""Does an attack do better than it did in an earlier run? A test, so that noise fails nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from attacks.scores import Scores
from audit.combine import holm
from audit.estimators.base import LEAVE_ONE_OUT
from audit.results import RunResult
from canaries.errors import InputError


@dataclass(frozen=True)
class Change:
    """One attack on one claim, now and before.

    Attributes:
        audit: the pipeline's name.
        epsilon: what it claims.
        attack: the attack's name.
        auc: membership AUC now.
        before: membership AUC in the baseline.
        p_value: of "it is not larger now", adjusted for all changes looked at (Holm).
        least_p: the smaller p-value of two, times the changes looked at: that of a membership AUC of 1 now; and, for
            attacks that hardly have room to do better, the larger one of "no better than chance" of the AUC before, and
            of an AUC of 1 now. Where both are large, there are too few scores to tell anything.
    """

    audit: str
    epsilon: float
    attack: str
    auc: float
    before: float
    p_value: float
    least_p: float

    @property
    def key(self) -> Key:
        """What it is of: pipeline, epsilon and attack."""
        return self.audit, self.epsilon, self.attack


Key = tuple[str, float, str]


def changes(now: RunResult, before: RunResult) -> tuple[Change, ...]:
    """Every attack that both runs hold on a claim of the same pipeline and epsilon; controls are left out.

    Each difference of AUCs is held against its standard error (`auc_with_error`), normally distributed. AUCs are of the
    scores that may prove something: for attacks that compare models, of the half that was held out, so they differ from
    those that a report describes. Runs are taken for independent; runs of the same seeds share noise, and their
    difference then varies less than is allowed for.
    """
    earlier, later = _scores(before), _scores(now)
    found = []
    for key in (key for key in later if key in earlier):
        (area, error), (old, old_error) = auc_with_error(later[key]), auc_with_error(earlier[key])
        most, most_error = auc_with_error(_perfect(later[key]))
        p_now = float(norm.sf((area - old) / math.hypot(error, old_error)))
        strong = min((old - 0.5) / old_error, (most - 0.5) / most_error)
        furthest = max((most - old) / math.hypot(most_error, old_error), strong)
        found.append(Change(*key, area, old, p_now, float(norm.sf(furthest))))
    adjusted = holm([change.p_value for change in found])
    return tuple(
        replace(change, p_value=float(p), least_p=min(1.0, len(found) * change.least_p))
        for change, p in zip(found, adjusted, strict=True)
    )


def unmatched(now: RunResult, before: RunResult) -> tuple[tuple[Key, ...], tuple[Key, ...]]:
    """What only the run now holds, and what only the earlier one did; controls left out."""
    earlier, later = _scores(before), _scores(now)
    return tuple(key for key in later if key not in earlier), tuple(key for key in earlier if key not in later)


def auc_with_error(scores: Scores) -> tuple[float, float]:
    """Membership AUC with its standard error; references left out; 0.5 and infinity where one side is empty.

    Components of DeLong, DeLong, Clarke-Pearson (1988), summed over the canaries of a model, which depend on each
    other (Obuchowski 1997); where there is one model only, each canary stands for itself. A floor keeps the error from
    vanishing where the two sides are apart: half the variance under location shifts of no size (Hanley, McNeil 1982),
    in proportion to AUC (1 - AUC), half a pair short of 1.

    Raises:
        InputError: for scores that were made from each other's coins: their AUC varies by more than this error.
    """
    if scores.calibrated == "leave-one-out":
        raise InputError(LEAVE_ONE_OUT)
    scores = scores.select(~scores.reference).centred()
    score, member = scores.score.ravel(), scores.member.ravel()
    n_in, n_out = int(member.sum()), int((~member).sum())
    if not n_in or not n_out:
        return 0.5, math.inf
    place = _placements(score, member, n_in, n_out)
    area = float(place[member].mean())
    part = (place - area) / np.where(member, n_in, n_out)
    units = scores.models if scores.models > 1 else score.size
    sums = part.reshape(units, -1).sum(axis=1)
    shy = (area * n_in * n_out + 0.5) / (n_in * n_out + 1)
    floor = shy * (1 - shy) * (n_in + n_out + 1) / (6 * n_in * n_out)
    return area, math.sqrt(max(float((sums**2).sum()) * units / max(1, units - 1), floor))


def _placements(score: NDArray[np.float64], member: NDArray[np.bool_], n_in: int, n_out: int) -> NDArray[np.float64]:
    """For a member the share of non-members below it, for a non-member the share of members above it; ties half."""
    place = np.empty(score.size)
    overall = rankdata(score)
    place[member] = (overall[member] - rankdata(score[member])) / n_out
    place[~member] = 1 - (overall[~member] - rankdata(score[~member])) / n_in
    return place


def _perfect(scores: Scores) -> Scores:
    return replace(scores, score=scores.member.astype(float))


def _scores(result: RunResult) -> dict[Key, Scores]:
    return {
        (cell.audit, cell.claim.epsilon, attack.attack): attack.proving
        for cell in result.cells
        if not cell.claim.is_control
        for attack in cell.attacks
    }
