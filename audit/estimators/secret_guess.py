"""Guessed secrets: epsilon from how often an attack's single guess of a random secret is right."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import binom

from attacks.scores import Scores
from audit.bounds import ADD_OR_REMOVE_ONE, REPLACE_ONE
from audit.estimators.from_secrets import FromSecrets, LogP
from audit.estimators.group import group_privacy
from canaries.errors import InputError


def success_ceiling(epsilon: float, delta: float, k: float, adjacency: str = ADD_OR_REMOVE_ONE) -> float:
    """The largest probability of guessing a secret, uniform over k values, under (epsilon, delta)-DP.

    Write D for the data without the secret, G for the guess. It may use anything but the secret itself.

    Add-or-remove-one: P[G = s | D + s] <= e^eps P[G = s | D] + delta, and the mean of P[G = s | D] over the k secrets
    is at most 1/k: hence e^eps / k + delta. Likewise P[G != s | D + s] >= e^-eps (P[G != s | D] - delta), with mean
    at least e^-eps (1 - 1/k - delta). The smaller of both is 1 - f(1/k) for the trade-off curve f of (eps, delta)-DP
    (Kairouz, Oh, Viswanath 2015; Dong, Roth, Su 2022, Proposition 2.5), and guessing at that rate, else uniformly
    wrong, attains it.

    Replace-one: P[G = s | D + s] <= e^eps P[G = s | D + t] + delta for each t; the sum over all s and t != s has
    (k - 1) p <= e^eps (1 - p) + (k - 1) delta for the mean success p: hence (e^eps + (k - 1) delta) / (e^eps + k - 1).
    It is the smaller ceiling; under add-or-remove-one the posteriors of two secrets may differ by e^(2 eps).
    """
    if not k >= 1:
        raise InputError(f"Expected k >= 1 possible secrets, got {k}.")
    if adjacency == ADD_OR_REMOVE_ONE:
        log_first = epsilon - math.log(k)
        first = math.exp(log_first) + delta if log_first < 0 else 1.0
        return min(1.0, first, math.exp(-epsilon) * (1 / k + delta) - math.expm1(-epsilon))
    if adjacency == REPLACE_ONE:
        others = math.exp(-epsilon) * (k - 1)
        return min(1.0, (1 + others * delta) / (1 + others))
    raise InputError(f"Expected adjacency '{ADD_OR_REMOVE_ONE}' or '{REPLACE_ONE}', got '{adjacency}'.")


@dataclass(frozen=True)
class SecretGuess(FromSecrets):
    """Epsilon from the share of inserted secrets that the attack's one guess gets right.

    Needs evidence "guessed", 0 or 1 for each model and canary, and secrets drawn uniformly from `space` > 1 values.
    Only pairs of a model and a secret that is in it count; which they are is decided by coins independent of the
    secrets. A pair is right with probability at most p = `success_ceiling` at group privacy for its own r copies.

    Nothing else is assumed about pairs, because they depend on each other: secrets of one model through the model, and
    models that share a secret through the secret (a model that always says 7 is right everywhere if the secret is 7).
    So models are gathered into clusters that share no secret. Clusters are independent. In each, the mean of right / p
    has expectation at most 1, and so has E = 1 - bet + bet * mean(right / p): an e-value. Their product is one too, and
    min(1, 1 / product) is a p-value (Markov; Vovk, Wang 2021, E-values: Calibration, Combination and Applications,
    section 2). A single cluster bets all. Where every cluster is one pair and all pairs have the same k and r, they
    are independent trials and the exact binomial tail is used. All of this is decided by the coins, never by guesses.

    The ceiling is the one of add-or-remove-one, which is the larger, so that the bound is true under replace-one too.
    It errs downwards. With one secret set in all models it cannot show more than ln((1 - confidence) k) / r or so:
    fresh secrets in each model show more.

    Attributes:
        bet: in (0, 1], how much each of several clusters stakes; named in advance.
    """

    name: ClassVar[str] = "secret-guess"
    needs: ClassVar[tuple[str, ...]] = ("guessed",)
    assumptions: ClassVar[tuple[str, ...]] = (
        "each secret was drawn uniformly from its space, independently of the others and of the data",
        "guesses come from the models and the secrets' contexts, never from the secrets",
        "models are trained and attacked independently of each other",
    )

    bet: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.bet <= 1:
            raise InputError(f"Expected bet in (0, 1], got {self.bet}.")

    def log_p(self, scores: Scores) -> LogP | None:
        """Of so many right guesses."""
        models, columns = np.nonzero(scores.member & (scores.space > 1))
        if not len(models):
            return None
        right = np.asarray(scores.evidence["guessed"])[models, columns].astype(np.float64)
        kinds, kind = np.unique(
            np.stack([scores.repetitions, scores.space], axis=1)[columns], axis=0, return_inverse=True
        )
        cluster = clusters(models, scores.secret_numbers[models, columns])
        size = np.bincount(cluster)
        binomial = len(kinds) == 1 and size.max() == 1
        bet = self.bet if len(size) > 1 else 1.0

        def log_p(epsilon: float, delta: float) -> float:
            ceilings = np.array([success_ceiling(*group_privacy(epsilon, delta, int(r)), k) for r, k in kinds])
            if binomial:
                return float(binom.logsf(right.sum() - 1, len(right), ceilings[0]))
            gain = np.bincount(cluster, weights=right / ceilings[kind.ravel()]) / size
            with np.errstate(divide="ignore"):
                return min(0.0, -float(np.log(1 - bet + bet * gain).sum()))

        return log_p

    def e_values(self, scores: Scores) -> NDArray[np.float64]:
        """As many as there are values for a right guess, 0 for a wrong one."""
        right = np.asarray(scores.evidence["guessed"], dtype=np.float64)
        return right * np.where(scores.space > 1, scores.space, np.nan)

    def inapplicable(self, scores: Scores) -> str | None:
        """Guesses, and something to guess."""
        if "guessed" not in scores.evidence:
            return "it needs the evidence 'guessed' of an attack that guesses secrets."
        if not (scores.space > 1).any():
            return "it needs canaries with a secret drawn from more than one value."
        if not np.isin(scores.evidence["guessed"], (0, 1)).all():
            return "it needs the evidence 'guessed' to be 0 or 1 everywhere."
        return None

    def samples(self, scores: Scores) -> dict[str, Any]:
        """The counts, of inserted secrets and of right guesses too."""
        pairs = scores.member & (scores.space > 1)
        guessed = int((np.asarray(scores.evidence["guessed"]).astype(bool) & pairs).sum())
        return super().samples(scores) | {"secrets": int(pairs.sum()), "guessed": guessed}

    def perfect(self, scores: Scores) -> Scores:
        """Every inserted secret guessed."""
        return replace(scores, evidence={**scores.evidence, "guessed": scores.member.copy()})


def clusters(models: NDArray[np.intp], secrets: NDArray[np.int64]) -> NDArray[np.intp]:
    """For each pair of a model and a secret in it, the number of its cluster, counted from 0 without gaps."""
    first = int(models.max()) + 1
    nodes = first + int(secrets.max()) + 1
    edges = csr_array((np.ones(len(models), dtype=np.int8), (models, first + secrets)), shape=(nodes, nodes))
    _, label = connected_components(edges, directed=False)
    return np.unique(np.asarray(label)[models], return_inverse=True)[1]
