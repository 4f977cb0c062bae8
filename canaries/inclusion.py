"""Who trained on what: fair coins over models and canaries, and the training sets that follow from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from canaries.base import CanarySet
from canaries.errors import InputError
from canaries.randomness import generator
from canaries.records import Records, join_records

Randomised = Literal["model", "canary"]


@dataclass(frozen=True, eq=False)
class Inclusion:
    """The coins of an audit.

    Attributes:
        ids: canary ids, in the order of the columns.
        member: bool[models, canaries], what the coin said. References keep their coin and are never inserted.
        reference: bool[canaries].
        randomised: "canary" if every (model, canary) has a fair coin of its own; "model" if each model has
            all canaries or none, in a balanced random order.
    """

    ids: tuple[str, ...]
    member: NDArray[np.bool_]
    reference: NDArray[np.bool_]
    randomised: Randomised

    def __post_init__(self) -> None:
        if self.member.ndim != 2 or self.member.shape[1] != len(self.ids) or self.reference.shape != (len(self.ids),):
            raise InputError(
                f"Expected member of shape [models, {len(self.ids)}] and as many references, "
                f"got {self.member.shape} and {self.reference.shape}."
            )

    @property
    def inserted(self) -> NDArray[np.bool_]:
        """bool[models, canaries]: what is really in each training set."""
        return self.member & ~self.reference

    @classmethod
    def draw(cls, canaries: CanarySet, models: int, randomised: Randomised, seed: int) -> Inclusion:
        """Coins for `models` models. Row i depends on `seed` and i alone, so models can be added later.

        Raises:
            InputError: if `models` is below 1, or below 2 or odd when models are randomised.
        """
        if models < 1:
            raise InputError(f"Expected models >= 1, got {models}.")
        if randomised == "canary":
            rows = [generator(seed, "coins", i).random(len(canaries)) < 0.5 for i in range(models)]
            member = np.array(rows)
        elif randomised == "model":
            if models % 2:
                raise InputError(
                    f"Expected an even number of models where each model has the canary or not, got {models}."
                )
            first = [bool(generator(seed, "coins", pair).random() < 0.5) for pair in range(models // 2)]
            arm = np.array([coin ^ bool(j) for coin in first for j in (0, 1)])
            member = np.repeat(arm[:, None], len(canaries), axis=1)
            # A reference's coin must not be the model's own: it would then tell the arms apart.
            coins = np.array([generator(seed, "reference coins", i).random(len(canaries)) < 0.5 for i in range(models)])
            member[:, canaries.reference] = coins[:, canaries.reference]
        else:
            raise InputError(f"Expected randomised to be 'model' or 'canary', got {randomised!r}.")
        return cls(canaries.ids, member, canaries.reference, randomised)


def training_set(base: Records, canaries: CanarySet, inserted: NDArray[np.bool_]) -> Records:
    """`base` followed by each inserted canary as often as it repeats; `inserted` is bool[canaries]."""
    return join_records(base, canaries.records.repeat(canaries.repetitions * inserted))
