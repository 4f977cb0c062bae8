"""Scores: what an attack says about every canary of every model, beside what was true."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from canaries.base import CanarySet
from canaries.errors import InputError
from canaries.inclusion import Inclusion, Randomised


@dataclass(frozen=True, eq=False)
class Observations:
    """What an attack returns: it has not seen the coins.

    Attributes:
        ids: canary ids, in the order of the columns.
        score: float64[models, canaries]; higher = more likely a member.
        evidence: further arrays [models, canaries] by name, for instance "exposure" or "guessed".
        queries: records that the attack sent to each model.
    """

    ids: tuple[str, ...]
    score: NDArray[np.float64]
    evidence: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    queries: int = 0


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores joined to the coins. One-run audits have one model, many-run audits one canary.

    Attributes:
        ids: canary ids, in the order of the columns.
        score: float64[models, canaries]; higher = more likely a member.
        member: bool[models, canaries], what the coin said.
        reference: bool[canaries], canaries that were never inserted.
        repetitions: int64[canaries], copies inserted.
        randomised: "canary" (every coin independent) or "model" (one coin per model).
        space: float64[canaries], how many equally likely secrets there were; 1 where there is no secret.
        evidence: further arrays [models, canaries] by name.
        secret_set: int64[models]: models with equal numbers hold the same secrets; None where all do.
        calibrated: whether other models' coins are in the scores: "no"; "held-out", coins of models that are not among
            these; "leave-one-out", coins of each other, and then no bound may rest on them (`attacks.cross_model`).
    """

    ids: tuple[str, ...]
    score: NDArray[np.float64]
    member: NDArray[np.bool_]
    reference: NDArray[np.bool_]
    repetitions: NDArray[np.int64]
    randomised: Randomised
    space: NDArray[np.float64]
    evidence: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    calibrated: Literal["no", "held-out", "leave-one-out"] = "no"
    secret_set: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        shape = self.score.shape
        if len(shape) != 2 or self.member.shape != shape or len(self.ids) != shape[1]:
            raise InputError(
                f"Expected score and member of shape [models, {len(self.ids)}], got {shape} and {self.member.shape}."
            )
        if np.isnan(self.score).any():
            where = np.argwhere(np.isnan(self.score))[0]
            raise InputError(f"Scores must not be NaN: model {where[0]}, canary '{self.ids[where[1]]}' is.")
        for name, array in self.evidence.items():
            if array.shape != shape:
                raise InputError(f"Expected evidence '{name}' of shape {shape}, got {array.shape}.")
            nan = np.isnan(np.asarray(array, dtype=np.float64))
            if nan.any():
                row, column = np.argwhere(nan)[0]
                raise InputError(f"Evidence '{name}' must not be NaN: model {row}, canary '{self.ids[column]}' is.")
        if self.secret_set is not None and self.secret_set.shape != shape[:1]:
            raise InputError(f"Expected secret_set of shape [{shape[0]}], got {self.secret_set.shape}.")
        for name in ("reference", "repetitions", "space"):
            if getattr(self, name).shape != (shape[1],):
                raise InputError(f"Expected {name} of shape [{shape[1]}], got {getattr(self, name).shape}.")

    @property
    def models(self) -> int:
        """How many models were scored."""
        return self.score.shape[0]

    @classmethod
    def join(cls, observed: Observations, canaries: CanarySet, inclusion: Inclusion) -> Scores:
        """Observations joined to the coins by canary id; canaries of one user become one column, named for the user.

        A user's score and evidence are the means over the user's records. Where the claim covers one record, the
        column counts as many copies as the user has records (group privacy needs no equal records); where it covers
        users, as one.

        Raises:
            InputError: if the ids differ, or the numbers of models.
        """
        if set(observed.ids) != set(inclusion.ids) or set(canaries.ids) != set(inclusion.ids):
            odd = sorted(set(observed.ids) ^ set(inclusion.ids)) or sorted(set(canaries.ids) ^ set(inclusion.ids))
            raise InputError(f"Scores and coins are of different canaries: only one side has '{odd[0]}'.")
        if observed.score.shape[0] != inclusion.member.shape[0]:
            raise InputError(f"Scores are of {observed.score.shape[0]} models, coins of {inclusion.member.shape[0]}.")
        position = {canary: i for i, canary in enumerate(observed.ids)}
        order = np.array([position[canary] for canary in inclusion.ids], dtype=np.intp)
        row = {canary: i for i, canary in enumerate(canaries.ids)}
        mine = np.array([row[canary] for canary in inclusion.ids], dtype=np.intp)
        space = [float(s.space_size) for s in canaries.secrets] or [1.0] * len(canaries)
        joined = cls(
            ids=inclusion.ids,
            score=np.asarray(observed.score, dtype=np.float64)[:, order],
            member=inclusion.member,
            reference=inclusion.reference,
            repetitions=canaries.repetitions[mine],
            randomised=inclusion.randomised,
            space=np.array(space)[mine],
            evidence={name: np.asarray(array)[:, order] for name, array in observed.evidence.items()},
        )
        if not canaries.users:
            return joined
        return joined._by_user(tuple(canaries.users[i] for i in mine), canaries.protected == "user")

    def _by_user(self, users: tuple[str, ...], protected: bool) -> Scores:
        """One column for each user, in the order of appearance; `users` names each column's owner."""
        names, first, owner = np.unique(np.array(users), return_index=True, return_inverse=True)
        order = np.argsort(first)
        share = (owner == order[:, None]) / np.bincount(owner)[order, None]  # float64[users, columns]
        most = np.finfo(np.float64).max / max(1, len(users))

        def mean(values: NDArray[Any]) -> NDArray[np.float64]:
            return np.clip(values.astype(np.float64), -most, most) @ share.T

        return replace(
            self,
            ids=tuple(names[order].tolist()),
            score=mean(self.score),
            member=self.member[:, first[order]],
            reference=self.reference[first[order]],
            repetitions=np.ones(len(names), dtype=np.int64) if protected else np.bincount(owner)[order],
            space=self.space[first[order]],
            evidence={name: mean(array) for name, array in self.evidence.items()},
        )

    @classmethod
    def from_arms(cls, in_scores: NDArray[np.floating], out_scores: NDArray[np.floating]) -> Scores:
        """Scores of independent runs with (`in_scores`) and without (`out_scores`) one canary; both 1-D."""
        ins, outs = np.asarray(in_scores, dtype=np.float64), np.asarray(out_scores, dtype=np.float64)
        if ins.ndim != 1 or outs.ndim != 1:
            raise InputError(f"Expected two 1-D arrays of scores, got shapes {ins.shape} and {outs.shape}.")
        member = np.arange(len(ins) + len(outs)) < len(ins)
        return cls.from_matrix(np.concatenate([ins, outs])[:, None], member[:, None], randomised="model")

    @classmethod
    def from_matrix(
        cls,
        score: NDArray[np.floating],
        member: NDArray[np.bool_],
        randomised: Randomised,
        ids: tuple[str, ...] | None = None,
    ) -> Scores:
        """Scores made elsewhere: `score` and `member` are [models, canaries]; no references, no secrets."""
        if np.ndim(score) != 2:
            raise InputError(f"Expected scores of shape [models, canaries], got {np.shape(score)}.")
        n = score.shape[1]
        return cls(
            ids=ids or tuple(f"canary-{i:04d}" for i in range(n)),
            score=np.asarray(score, dtype=np.float64),
            member=np.asarray(member, dtype=bool),
            reference=np.zeros(n, dtype=bool),
            repetitions=np.ones(n, dtype=np.int64),
            randomised=randomised,
            space=np.ones(n),
        )

    @property
    def secret_numbers(self) -> NDArray[np.int64]:
        """int64[models, canaries]: equal where the secret is the same."""
        n = len(self.ids)
        sets = np.zeros(self.models, dtype=np.int64)
        if self.secret_set is not None:  # Any numbers, seeds perhaps.
            sets = np.unique(self.secret_set, return_inverse=True)[1]
        return sets[:, None] * n + np.arange(n)

    def centred(self) -> Scores:
        """Each finite score less what its canary scores in any model, as far as the scores show that.

        What makes one canary score higher than another, whether it is in or not, is estimated by the canary's mean
        over models, shrunk by the share of the means' variance that chance within canaries does not explain
        (James, Stein 1961): with two models a mean is mostly its own members' signal, with many it is not. It uses
        scores alone, never coins, so what is proven for guesses made from scores holds for guesses made from these.
        Scores that are calibrated on other models are left as they are: that has been seen to.
        Models with other secrets under the same ids are centred apart.
        """
        if self.secret_set is not None and len(sets := np.unique(self.secret_set)) > 1:
            score = self.score.copy()
            for one in sets:
                mine = self.secret_set == one
                score[mine] = self.take_models(mine).centred().score
            return replace(self, score=score)
        if self.calibrated != "no":
            return self
        finite = np.isfinite(self.score)
        scale = np.abs(self.score, where=finite, out=np.zeros_like(self.score)).max(initial=0)
        if self.models < 2 or len(self.ids) < 2 or scale == 0:
            return self
        x = np.where(finite, self.score / scale, 0.0)
        count = finite.sum(axis=0)
        mean = x.sum(axis=0) / np.maximum(count, 1)
        within = (np.where(finite, x - mean, 0.0) ** 2).sum() / max(int((count - 1).clip(0).sum()), 1)
        between = mean[count > 0].var(ddof=1) if (count > 0).sum() > 1 else 0.0
        share = max(0.0, 1 - within / self.models / between) if between > 0 else 0.0
        return replace(self, score=np.where(finite, x - share * mean, self.score))

    def select(self, canaries: NDArray[np.bool_]) -> Scores:
        """Only the canaries where bool[canaries] is true."""
        keep = np.flatnonzero(canaries)
        return replace(
            self,
            ids=tuple(self.ids[i] for i in keep),
            score=self.score[:, keep],
            member=self.member[:, keep],
            reference=self.reference[keep],
            repetitions=self.repetitions[keep],
            space=self.space[keep],
            evidence={name: array[:, keep] for name, array in self.evidence.items()},
        )

    def take_models(self, models: Any) -> Scores:
        """Only the models at `models` (integers, a slice or a boolean mask)."""
        return replace(
            self,
            score=self.score[models],
            member=self.member[models],
            evidence={name: array[models] for name, array in self.evidence.items()},
            secret_set=None if self.secret_set is None else self.secret_set[models],
        )

    def frame(self) -> pd.DataFrame:
        """One row per model and canary, with the columns model, canary, member, score and the rest."""
        models, n = self.score.shape
        columns: dict[str, Any] = {
            "model": np.repeat(np.arange(models), n),
            "canary": np.tile(np.array(self.ids, dtype=object), models),
            "member": self.member.ravel(),
            "score": self.score.ravel(),
            "reference": np.tile(self.reference, models),
            "repetitions": np.tile(self.repetitions, models),
            "space": np.tile(self.space, models),
        }
        columns |= {name: array.ravel() for name, array in self.evidence.items()}
        return pd.DataFrame(columns)
