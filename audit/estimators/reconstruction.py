"""Reconstruction: epsilon from how often an attack rebuilds a target that it could have guessed with a known chance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from attacks.scores import Scores
from audit.estimators.from_secrets import FromSecrets, LogP
from audit.estimators.secret_guess import SecretGuess
from canaries.errors import InputError


@dataclass(frozen=True)
class Reconstruction(FromSecrets):
    """Epsilon from the share of inserted targets that are reconstructed, given what could be done without the model.

    Balle, Cherubin, Hayes (2022), Reconstructing Training Data with Informed Adversaries, and Hayes, Mahloujifar, Balle
    (2023): whoever rebuilds a random target, to within an error that is named in advance, with probability at most
    kappa knowing everything but the model, does so with probability at most e^eps kappa + delta, and at most
    1 - e^-eps (1 - kappa - delta), knowing the model: the trade-off curve of (eps, delta)-DP at kappa. Guessing one of
    k secrets is the case kappa = 1/k, and dependence between targets is handled as in `SecretGuess`: models that share
    no target are independent trials (Clopper-Pearson), all else is one e-value for each cluster.

    Needs evidence "reconstructed", 0 or 1 for each model and canary. The bound is true if `prior` is: a prior that is
    too small gives a bound that is too large, so it belongs to the assumptions.

    Attributes:
        prior: kappa in (0, 1), the same for all targets; has to be named, for no default is true of all of them.
        bet: in (0, 1], how much each of several clusters stakes; named in advance.
    """

    name: ClassVar[str] = "reconstruction"
    needs: ClassVar[tuple[str, ...]] = ("reconstructed",)
    assumptions: ClassVar[tuple[str, ...]] = (
        "without the model nobody reconstructs a target with probability above the stated prior",
        "targets were drawn independently of each other and of the data",
        "models are trained and attacked independently of each other",
    )

    prior: float | None = None
    bet: float = 0.5

    def __post_init__(self) -> None:
        if self.prior is not None and not 0 < self.prior < 1:
            raise InputError(f"Expected prior in (0, 1), got {self.prior}.")
        SecretGuess(self.bet)

    def log_p(self, scores: Scores) -> LogP | None:
        """Of so many reconstructions."""
        return SecretGuess(self.bet).log_p(self._guesses(scores))

    def e_values(self, scores: Scores) -> NDArray[np.float64]:
        """1 / prior for a target that was rebuilt, 0 for another."""
        return SecretGuess(self.bet).e_values(self._guesses(scores))

    def inapplicable(self, scores: Scores) -> str | None:
        """Reconstructions, and a prior."""
        if self.prior is None:
            return "it needs a prior: how likely a target is rebuilt without the model; set its field 'prior'."
        if "reconstructed" not in scores.evidence:
            return "it needs the evidence 'reconstructed' of an attack that reconstructs records."
        if not np.isin(scores.evidence["reconstructed"], (0, 1)).all():
            return "it needs the evidence 'reconstructed' to be 0 or 1 everywhere."
        return None

    def samples(self, scores: Scores) -> dict[str, Any]:
        """The counts, of inserted targets and of reconstructions too."""
        done = int((np.asarray(scores.evidence["reconstructed"]).astype(bool) & scores.member).sum())
        return super().samples(scores) | {"targets": int(scores.member.sum()), "reconstructed": done}

    def perfect(self, scores: Scores) -> Scores:
        """Every inserted target reconstructed."""
        return replace(scores, evidence={**scores.evidence, "reconstructed": scores.member.copy()})

    def _guesses(self, scores: Scores) -> Scores:
        assert self.prior is not None
        space = np.full(len(scores.ids), 1 / self.prior)
        return replace(scores, space=space, evidence={"guessed": scores.evidence["reconstructed"]})
