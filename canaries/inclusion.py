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

    Canaries of one user share the user's coin.
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
        owners = canaries.owners()
        units = int(owners.max(initial=-1)) + 1
        if randomised == "canary":
            rows = [generator(seed, "coins", i).random(units) < 0.5 for i in range(models)]
            member = np.array(rows)[:, owners]
        elif randomised == "model":
            if models % 2:
                raise InputError(
                    f"Expected an even number of models where each model has the canary or not, got {models}."
                )
            first = [bool(generator(seed, "coins", pair).random() < 0.5) for pair in range(models // 2)]
            arm = np.array([coin ^ bool(j) for coin in first for j in (0, 1)])
            member = np.repeat(arm[:, None], len(canaries), axis=1)
            # A reference's coin must not be the model's own: it would then tell the arms apart.
            coins = np.array([generator(seed, "reference coins", i).random(units) < 0.5 for i in range(models)])
            member[:, canaries.reference] = coins[:, owners[canaries.reference]]
        else:
            raise InputError(f"Expected randomised to be 'model' or 'canary', got {randomised!r}.")
        return cls(canaries.ids, member, canaries.reference, randomised)


def all_records(base: Records, canaries: CanarySet) -> Records:
    """`base`, then every canary, then what stands in for each, where there is such a thing."""
    joined = join_records(base, canaries.records)
    return joined if canaries.substitutes is None else join_records(joined, canaries.substitutes)


def members(base: int, canaries: CanarySet, inserted: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Positions in `all_records` of one model's training set, for every trainer; `inserted` is bool[canaries].

    The `base` first records, then the place of each canary in turn: the canary where it is in, as often as it repeats;
    where it is out, what stands in for it as often; a reference's place is empty.
    """
    n = len(canaries)
    place = base + np.arange(n) + np.where(inserted, 0, n)
    filled = inserted if canaries.substitutes is None else inserted | ~canaries.reference
    return np.concatenate([np.arange(base), np.repeat(place, canaries.repetitions * filled)])


def training_set(base: Records, canaries: CanarySet, inserted: NDArray[np.bool_]) -> Records:
    """The records that one model trains on; see `members`."""
    return all_records(base, canaries).take(members(len(base), canaries, inserted))
