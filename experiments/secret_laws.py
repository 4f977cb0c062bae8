"""Models that give away random secrets as far as a known epsilon allows, to measure bounds from secrets on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from attacks.scores import Scores
from audit.estimators.group import group_privacy
from audit.estimators.secret_guess import success_ceiling
from experiments.laws import DELTA

SECRETS = 100
"""A guess, or a rank among the best, has a chance of 1 / SECRETS without the model."""


@dataclass(frozen=True)
class SecretLaw:
    """A model that ranks its own secret among the best `top` of `space` values, as often as epsilon allows.

    Attributes:
        name: its name.
        epsilon: of one copy; 0 is null data.
        space: equally likely values of a secret; each model has one of its own.
        top: values among which the secret is put, uniformly; 1 names it.
        copies: how often the secret is in the data.
    """

    name: str
    epsilon: float
    space: int = SECRETS
    top: int = 1
    copies: int = 1

    @property
    def truth(self) -> float:
        """Epsilon at DELTA for one copy."""
        return self.epsilon

    @property
    def success(self) -> float:
        """How often the secret is among the best."""
        return success_ceiling(*group_privacy(self.epsilon, DELTA, self.copies), self.space / self.top)

    def draw(self, rng: np.random.Generator, models: int) -> Scores:
        """Guesses, reconstructions and exposures of models with a secret each."""
        own = np.eye(models, dtype=bool)
        high = rng.random((models, models)) < self.success
        evidence: dict[str, np.ndarray] = {}
        if self.top == 1:
            evidence = {"guessed": own & high, "reconstructed": own & high}
        low = rng.integers(self.top, self.space, own.shape)
        rank = 1 + np.where(high, rng.integers(0, self.top, own.shape), low)
        evidence["exposure"] = np.log2(self.space) - np.log2(rank)
        return replace(
            Scores.from_matrix(np.zeros(own.shape), own, randomised="model"),
            space=np.full(models, float(self.space)),
            repetitions=np.full(models, self.copies, dtype=np.int64),
            evidence=evidence,
        )


def secret_laws(epsilons: tuple[float, ...], copies: int = 1) -> list[SecretLaw]:
    """Null data, and the best that can be done with one guess, at each epsilon."""
    name, null = _named("k-ary response", copies), _named("null data", copies)
    return [SecretLaw(null, 0.0, copies=copies), *(SecretLaw(name, epsilon, copies=copies) for epsilon in epsilons)]


def rank_laws(epsilons: tuple[float, ...], copies: int = 1) -> list[SecretLaw]:
    """The same, and models that never name a secret of a million values but rank it among the best ten thousand."""
    name = _named("high ranks", copies)
    high = (SecretLaw(name, epsilon, 100 * 10**4, 10**4, copies) for epsilon in epsilons)
    return [*secret_laws(epsilons, copies), *high]


def _named(name: str, copies: int) -> str:
    return name if copies == 1 else f"{name}, {copies} copies"
