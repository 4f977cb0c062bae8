"""Exposure ranks: epsilon from how high the model ranks inserted secrets, without asking for the first place."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from attacks.scores import Scores
from audit.estimators.from_secrets import FromSecrets, LogP
from audit.estimators.group import group_privacy
from audit.estimators.secret_guess import SecretGuess, clusters, success_ceiling


@dataclass(frozen=True)
class ExposureRank(FromSecrets):
    """Epsilon from the exposures of inserted secrets: a weak leak lifts a secret's rank long before it is guessed.

    Without the secret in the data its rank among the k values of its space is uniform, so it is t or better with
    probability t / k; with it, under (epsilon, delta)-DP, with probability at most p_t = `success_ceiling` at k / t
    values and the group guarantee of its own copies. So the mean over t = 1, 2, 4, 8, ... < k of [rank <= t] / p_t has
    expectation at most 1 for each pair of a model and a secret in it: an e-value, which pays for all thresholds.
    Dependence between pairs is handled as in `SecretGuess`, by clusters that share neither model nor secret.

    Needs evidence "exposure", and counts an estimated rank only as what is proven of it: with evidence
    "exposure_floor" that is used instead. Carlini et al. (2019) define exposure; the bound is made for this project.

    Attributes:
        bet: in (0, 1], how much each of several clusters stakes; named in advance.
    """

    name: ClassVar[str] = "exposure-rank"
    needs: ClassVar[tuple[str, ...]] = ("exposure",)
    assumptions: ClassVar[tuple[str, ...]] = (
        "each secret was drawn uniformly from its space, independently of the others and of the data",
        "ranks come from the models and the secrets' contexts alone, with ties against the secret",
        "models are trained and attacked independently of each other",
    )

    bet: float = 0.5

    def __post_init__(self) -> None:
        SecretGuess(self.bet)

    def log_p(self, scores: Scores) -> LogP | None:
        """Of ranks so high."""
        models, columns = np.nonzero(scores.member & (scores.space > 1))
        if not len(models):
            return None
        bits = _proven(scores)[models, columns]
        kinds, kind = np.unique(
            np.stack([scores.repetitions, scores.space], axis=1)[columns], axis=0, return_inverse=True
        )
        kind = kind.ravel()
        cluster = clusters(models, scores.secret_numbers[models, columns])
        size = np.bincount(cluster)
        bet = self.bet if len(size) > 1 else 1.0
        # Thresholds t = 2^j with t < k; a rank is t or better where exposure >= log2(k) - j.
        counts = [max(1, math.ceil(math.log2(k))) for _, k in kinds]
        level = np.ceil(np.log2(kinds[kind, 1]) - bits - 1e-9).clip(0).astype(np.int64)

        def log_p(epsilon: float, delta: float) -> float:
            value = np.zeros(len(models))
            for i, ((r, k), count) in enumerate(zip(kinds, counts, strict=True)):
                group = group_privacy(epsilon, delta, int(r))
                inverse = [1 / success_ceiling(*group, k / 2**j) for j in range(count)]
                passed = np.append(np.cumsum(inverse[::-1])[::-1], 0.0) / count
                mine = kind == i
                value[mine] = passed[np.minimum(level[mine], count)]
            gain = np.bincount(cluster, weights=value) / size
            with np.errstate(divide="ignore"):
                return min(0.0, -float(np.log(1 - bet + bet * gain).sum()))

        return log_p

    def e_values(self, scores: Scores) -> NDArray[np.float64]:
        """The mean over thresholds t of k / t where the rank is t or better."""
        k = np.where(scores.space > 1, scores.space, np.nan)
        count = np.ceil(np.log2(k)).clip(1)
        level = np.ceil(np.log2(k) - _proven(scores) - 1e-9).clip(0)
        # The sum of k / 2^j over j = level, ..., count - 1.
        return np.where(level < count, 2 * k * (0.5**level - 0.5**count), 0.0) / count + 0 * k

    def inapplicable(self, scores: Scores) -> str | None:
        """Exposures that are proven, and something to guess."""
        if "exposure" not in scores.evidence:
            return "it needs the evidence 'exposure' of an attack that ranks secrets."
        if not (scores.space > 1).any():
            return "it needs canaries with a secret drawn from more than one value."
        if "exposure_floor" not in scores.evidence and (np.asarray(scores.evidence.get("exact", 1)) != 1).any():
            return (
                "some exposures are estimates, by the evidence 'exact', and it counts only what is proven of them: it "
                "needs the evidence 'exposure_floor'."
            )
        return None

    def corrected_for(self, scores: Scores) -> tuple[str, ...]:
        """The thresholds."""
        return ("all thresholds of the rank, by their mean",)

    def samples(self, scores: Scores) -> dict[str, Any]:
        """The counts, of inserted secrets too."""
        return super().samples(scores) | {"secrets": int((scores.member & (scores.space > 1)).sum())}

    def perfect(self, scores: Scores) -> Scores:
        """Every inserted secret ranked first."""
        first = np.where(scores.member, np.log2(np.maximum(scores.space, 1)), 0.0)
        return replace(scores, evidence={"exposure": first})


def _proven(scores: Scores) -> NDArray[np.float64]:
    return np.asarray(scores.evidence.get("exposure_floor", scores.evidence["exposure"]), dtype=np.float64)
