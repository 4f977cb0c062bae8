"""Attacks that use other models: a signal from each model, then a comparison with models of known membership.

Which calibration is valid for which number
-------------------------------------------

A bound, a claim's test and a control's p-value rest on one of two facts. One-run estimators: each coin is fair, and
private, *given what the guess is made from*. Many-run estimators: scores of models with the canary, and of models
without, are two independent samples. A score that is made from the coins of other models can break both.

Leave-one-out (`leave_one_out`): model i is held against all others, whose coins are known. For one model alone, named
in advance, this is valid: condition on the other models and their coins, and the score is a fixed function of model i.
For several models together it is not. The guess for model 1 depends on model 2's coin and the other way round, so with
the coins revealed one after another, as in the proofs, the guess for the first is not settled before the second. And
it goes wrong: let models know nothing, x_i be model i's signal for a canary and its score x_i less the mean of the
*other* models without it. Among n models without it, that is n / (n - 1) times x_i's distance from their mean; for
models with it, the distance itself. With n = 2 of 4, scores at either end belong to models without the canary two times
in three, and a bound that looks for the best threshold at either end finds "leakage" in pure noise; many canaries make
that as sure as one likes. So leave-one-out scores describe an attack (AUC, TPR at fixed FPR, where the same effect is
a bias of the order of one over the number of models); they never reach an estimator. `Scores.calibrated` marks them,
and estimators, claims' tests and files of scores refuse what is so marked.

Held-out (`held_out`): the models are cut in two by position, which is settled before anything is scored. The first
half, with its coins, is the adversary's; the second half is scored. Given the first half, the scoring rule is fixed
and the second half's coins are as fair and independent as before, for rows of models are drawn independently (in pairs,
where whole models are randomised in balanced pairs: then the cut falls between pairs). So every estimator that is valid
for scores that never saw a coin is valid here: pooled guesses of one run, ranks of independent models, permutations,
and the choice of the best among attacks that are all calibrated on the same first half, once it is paid for as ever.
The price is half of the models. Where there are too few to cut, the signals themselves are used, which see no coin.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from attacks.base import Attack
from attacks.scores import Scores
from canaries.errors import InputError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

LEAST_MODELS = 4
"""With fewer models nothing is cut: the half that fits would be one model."""


@dataclass(frozen=True, eq=False)
class KnownModels:
    """Models whose membership the adversary knows: its own, trained on the same population.

    Attributes:
        signal: float64[models, canaries].
        member: bool[models, canaries].
        population: bool[canaries], records that no model trained on, whatever their coin says.
    """

    signal: Floats
    member: Bools
    population: Bools

    def arm(self, inside: bool) -> Arm:
        """The models with each canary, or those without."""
        return Arm.of(self.signal, self.member if inside else ~self.member)

    def at_most(self, count: int) -> KnownModels:
        """The first `count` models with each canary and the first `count` without, the others as if never seen.

        A model that is not used for one canary may be used for another; where it is not, its signal becomes NaN.
        """
        keep = np.zeros_like(self.member)
        for side in (self.member, ~self.member):
            keep |= side & (np.cumsum(side, axis=0) <= count)
        used = keep.any(axis=1)
        signal = np.where(keep, self.signal, np.nan)[used]
        return KnownModels(signal, self.member[used], self.population)


@dataclass(frozen=True, eq=False)
class Arm:
    """The models on one side of every canary, as counts, means and sums of squares; each float64[canaries].

    Attributes:
        count: how many models.
        mean: of the signal; NaN where there is no model.
        squares: sum of squared distances from the mean.
    """

    count: Floats
    mean: Floats
    squares: Floats

    @classmethod
    def of(cls, signal: Floats, chosen: Bools) -> Arm:
        """Of the signals [models, canaries] that are chosen and not NaN."""
        chosen = chosen & ~np.isnan(signal)
        x = np.where(chosen, signal, 0.0)
        count = chosen.sum(axis=0).astype(np.float64)
        with np.errstate(invalid="ignore"):
            mean = np.where(count > 0, x.sum(axis=0) / count, np.nan)
        squares = np.where(chosen, (x - np.nan_to_num(mean)) ** 2, 0.0).sum(axis=0)
        return cls(count, mean, squares)

    def pooled_variance(self) -> float:
        """Within canaries, all together; of the means where no canary has two models; 1 where that says nothing."""
        freedom = float((self.count - 1).clip(0).sum())
        value = float(self.squares.sum()) / freedom if freedom else float(np.nanvar(self.mean)) if self.any else 0.0
        return value if value > 0 else 1.0

    @property
    def any(self) -> bool:
        """Whether any canary has a model on this side."""
        return bool((self.count > 0).any())


@dataclass(frozen=True)
class CrossModel(Attack):
    """An attack in two stages: `score` gives each model's signal, `compare` holds it against known models.

    Attributes:
        models: how many known models to use for each canary, at most, on either side; 0 uses all.
    """

    models: int = 0

    def __post_init__(self) -> None:
        if self.models < 0:
            raise InputError(f"Expected models >= 0 for attack '{self.name}', got {self.models}.")

    @abstractmethod
    def compare(self, signal: Floats, known: KnownModels) -> Floats:
        """float64[targets, canaries], higher = more likely a member: `signal` of the same shape, held against `known`.

        Row i must depend on signal[i] and `known` alone. A NaN among known signals is a model that is not to be used.
        """


def leave_one_out(attack: Attack, scores: Scores, targets: Sequence[int] | None = None) -> Scores:
    """Every model's scores with all others as known models; `scores` itself for attacks that use no other model.

    For describing an attack; no bound may be taken from it (see the module). The known models of model i stand in the
    order i + 1, i + 2, ... and round, so attacks that use a few of them do not all use the same. `targets` names the
    models that are scored; None scores all.
    """
    chosen = scores if targets is None else scores.take_models(list(targets))
    if not isinstance(attack, CrossModel) or scores.models < 2:
        return chosen
    found = np.empty_like(chosen.score)
    for row, i in enumerate(range(scores.models) if targets is None else targets):
        others = (i + 1 + np.arange(scores.models - 1)) % scores.models
        found[row] = _compared(attack, scores.score[i : i + 1], scores, others)[0]
    return replace(chosen, score=found, calibrated="leave-one-out")


def held_out(attack: Attack, scores: Scores) -> Scores:
    """The second half of the models, held against the first; valid for bounds (see the module).

    `scores` itself for attacks that use no other model, and where there are fewer than four models: those signals have
    seen no coin either.
    """
    if not isinstance(attack, CrossModel) or scores.models < LEAST_MODELS:
        return scores
    cut = scores.models // 2
    cut -= cut % 2 if scores.randomised == "model" else 0  # Between balanced pairs.
    second = scores.take_models(slice(cut, None))
    return replace(second, score=_compared(attack, second.score, scores, np.arange(cut)), calibrated="held-out")


def _compared(attack: CrossModel, signal: Floats, scores: Scores, rows: NDArray[np.intp]) -> Floats:
    known = KnownModels(scores.score[rows], scores.member[rows], scores.reference)
    found = attack.compare(signal, known.at_most(attack.models) if attack.models else known)
    if found.shape != signal.shape or np.isnan(found).any():
        raise InputError(f"Attack '{attack.name}' returned scores of shape {found.shape} or NaN, from {signal.shape}.")
    return found
