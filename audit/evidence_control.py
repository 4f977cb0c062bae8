"""The controls on what attacks say of secrets: ones that a model never saw fare by chance, and without noise some show.

An attack that looks at the secret itself, or a prior of reconstruction that is too small, would prove any epsilon. The
scores' own negative control does not see it, because it compares references with references. Nor does their positive
control see that nothing is ever guessed. References are secrets that no model saw; and each model lacks the planted
secrets that its coins left out, or replaced.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from attacks.scores import Scores
from audit.bounds import Bound
from audit.estimators.base import Estimator
from audit.estimators.exposure_rank import ExposureRank
from audit.estimators.from_secrets import FromSecrets
from audit.estimators.secret_guess import SecretGuess

LEFT_OUT = " where left out"
"""Ends the names of tests of planted secrets in models that lack them."""


def evidence_p_values(scores: Scores, estimators: Iterable[Estimator]) -> dict[str, float]:
    """P-values of "secrets that a model never saw fare in it as chance allows", by what they are said to be.

    References are tested, which no model saw, and apart from them pairs of a planted secret and a model whose coin left
    it out; not where scores were calibrated on other models, which may have held those secrets.

    "guessed" and "extracted" at k values with g guesses: g / k; "extracted" takes its g from the evidence "guesses",
    one where there is none. "top_<n>": n / k. "exposure": uniform ranks. "reconstructed": the prior of each estimator
    that is used. Every test allows for models that share secrets (`FromSecrets.chance`), and is valid whatever models
    have in common otherwise.

    Args:
        scores: of one attack, references included.
        estimators: those of the audit.
    """
    references, planted = scores.select(scores.reference), scores.select(~scores.reference)
    estimators = tuple(estimators)
    found = _p_values(references, np.ones(references.member.shape, dtype=bool), estimators)
    if scores.calibrated == "no":
        found |= {name + LEFT_OUT: p for name, p in _p_values(planted, ~planted.member, estimators).items()}
    return found


def _p_values(scores: Scores, pairs: NDArray[np.bool_], estimators: Iterable[Estimator]) -> dict[str, float]:
    """The tests of these pairs, bool[models, canaries]; empty where there are none."""
    found: dict[str, float] = {}
    if not pairs.any():
        return found
    if (pairs & (scores.space > 1)).any():
        for name in sorted(scores.evidence):
            if (guesses := _guesses(name, scores)) is not None:
                found[name] = SecretGuess().chance(_as_guessed(scores, name, guesses), pairs)
        if ExposureRank().inapplicable(scores) is None:
            found["exposure"] = ExposureRank().chance(scores, pairs)
    for estimator in estimators:
        if isinstance(estimator, SecretGuess | ExposureRank) or not isinstance(estimator, FromSecrets):
            continue  # The first two were tested above, whether they are used or not.
        if estimator.inapplicable(scores) is None:
            name = f"{estimator.name} by its prior"
            found[name] = min(found.get(name, 1.0), estimator.chance(scores, pairs))
    return found


def guesses_prove(scores: Scores, delta: float, confidence: float) -> bool:
    """Whether the attack's right guesses of members' secrets prove an epsilon above 0 at this confidence."""
    estimator = SecretGuess()
    return estimator.inapplicable(scores) is None and estimator.epsilon(scores, delta, confidence, 0) > 0


def unproven(bounds: Iterable[Bound], estimators: Iterable[Estimator]) -> frozenset[str]:
    """The estimators among these that read what an attack says of secrets, and gave no bound above 0.

    Without noise that says that the audit could not have shown anything by them: an attack whose scores see the
    canaries need not be able to guess them.
    """
    of_secrets = {estimator.name for estimator in estimators if isinstance(estimator, FromSecrets)}
    return frozenset(of_secrets - {bound.estimator for bound in bounds if bound.epsilon > 0})


def _guesses(name: str, scores: Scores) -> float | None:
    """How many guesses stand behind a piece of evidence; None where it is no guess, or not 0 or 1 everywhere."""
    if not np.isin(scores.evidence[name], (0, 1)).all():
        return None
    if name.startswith("top_") and name[4:].isdecimal():
        return float(name[4:])
    if name == "guessed":
        return 1.0
    return float(np.max(scores.evidence.get("guesses", 1.0))) if name == "extracted" else None


def _as_guessed(scores: Scores, name: str, guesses: float) -> Scores:
    """The scores as if the evidence were one guess among so many times fewer values."""
    space = np.maximum(scores.space / max(guesses, 1.0), 1.0)
    return replace(scores, space=space, evidence={"guessed": scores.evidence[name]})
