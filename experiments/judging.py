"""What a sweep and its gate would say of scores that an experiment measured by itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from attacks.scores import Scores
from audit.analysis import AttackKind, CellScores, RunScores, analyse
from audit.claim import Claim
from audit.estimators.calibrated_epsilon_delta import CalibratedEpsilonDelta
from audit.gate import GateResult, check
from audit.policy import Policy
from audit.results import CellResult


def judged(
    name: str,
    kind: AttackKind,
    claim: Claim,
    found: Scores,
    control: Scores,
    confidence: float,
    seed: int = 0,
) -> tuple[CellResult, GateResult]:
    """Bound, claim test, controls, verdict and gate, by the code that judges sweeps.

    Args:
        name: the pipeline's.
        kind: the attack.
        claim: what the pipeline claims.
        found: one canary of independent models, and references.
        control: the same of the pipeline without noise.
        confidence: of the bound, the claim's test and the control's bound together.
        seed: of simulations.
    """
    policy = Policy(confidence=confidence)
    nothing = replace(claim, epsilon=float("inf"), mechanism=None)
    cells = tuple(
        CellScores(
            audit=name,
            claim=claimed,
            noise_multiplier=sigma,
            models_planned=scores.models,
            scores={kind: scores},
            queries={},
            utility={},
            estimators=(CalibratedEpsilonDelta(),),
        )
        for claimed, sigma, scores in (
            (claim, claim.mechanism.noise_multiplier if claim.mechanism else None, found),
            (nothing, 0.0, control),
        )
    )
    result = analyse(RunScores(name, cells, claim.delta, confidence, seed, policy))
    return result.cells[0], check(result, policy)


def with_reference(score: np.ndarray, member: np.ndarray, reference_coins: np.ndarray) -> Scores:
    """float[models, 2], of a canary and of one that is never inserted, whose coins tell nothing of the models."""
    both = Scores.from_matrix(score, np.column_stack([member, reference_coins]), randomised="model")
    return replace(both, reference=np.array([False, True]))
