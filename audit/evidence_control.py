"""The controls on what attacks say of secrets: never-inserted ones fare as chance allows, and without noise some show.

An attack that looks at the secret itself, or a prior of reconstruction that is too small, would prove any epsilon. The
scores' own negative control does not see it, because it compares references with references. Nor does their positive
control see that nothing is ever guessed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from attacks.scores import Scores
from audit.bounds import Bound
from audit.estimators.base import Estimator
from audit.estimators.exposure_rank import ExposureRank
from audit.estimators.from_secrets import FromSecrets
from audit.estimators.secret_guess import SecretGuess


def evidence_p_values(references: Scores, estimators: Iterable[Estimator]) -> dict[str, float]:
    """P-values of "secrets that were never inserted fare as chance allows", by what they are said to be.

    "guessed" and "extracted" at k values with g guesses: g / k; "extracted" takes its g from the evidence "guesses",
    one where there is none. "top_<n>": n / k. "exposure": uniform ranks. "reconstructed": the prior of each estimator
    that is used. Every test allows for models that share secrets, as the estimators do, and is valid whatever models
    have in common otherwise.

    Args:
        references: scores of canaries that no model was trained on.
        estimators: those of the audit.
    """
    evidence = references.evidence
    found: dict[str, float] = {}
    if (references.space > 1).any():
        for name in sorted(evidence):
            if (guesses := _guesses(name, references)) is not None:
                found[name] = SecretGuess().chance(_as_guessed(references, name, guesses))
        if ExposureRank().inapplicable(references) is None:
            found["exposure"] = ExposureRank().chance(references)
    for estimator in estimators:
        if isinstance(estimator, SecretGuess | ExposureRank) or not isinstance(estimator, FromSecrets):
            continue  # The first two were tested above, whether they are used or not.
        if estimator.inapplicable(references) is None:
            name = f"{estimator.name} by its prior"
            found[name] = min(found.get(name, 1.0), estimator.chance(references))
    return found


def unproven(bounds: Iterable[Bound], estimators: Iterable[Estimator]) -> frozenset[str]:
    """The estimators among these that take bounds from what an attack says of secrets, all of which are 0.

    Without noise that says that the audit could not have shown anything by them: an attack whose scores see the
    canaries need not be able to guess them.
    """
    of_secrets = {estimator.name for estimator in estimators if isinstance(estimator, FromSecrets)}
    largest: dict[str, float] = {}
    for bound in bounds:
        largest[bound.estimator] = max(bound.epsilon, largest.get(bound.estimator, 0.0))
    return frozenset(name for name, epsilon in largest.items() if name in of_secrets and epsilon == 0)


def _guesses(name: str, references: Scores) -> float | None:
    """How many guesses stand behind a piece of evidence; None where it is no guess, or not 0 or 1 everywhere."""
    if not np.isin(references.evidence[name], (0, 1)).all():
        return None
    if name.startswith("top_") and name[4:].isdecimal():
        return float(name[4:])
    if name == "guessed":
        return 1.0
    return float(np.max(references.evidence.get("guesses", 1.0))) if name == "extracted" else None


def _as_guessed(references: Scores, name: str, guesses: float) -> Scores:
    """The references as if the evidence were one guess among so many times fewer values."""
    space = np.maximum(references.space / max(guesses, 1.0), 1.0)
    return replace(references, space=space, evidence={"guessed": references.evidence[name]})
