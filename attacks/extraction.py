"""Secret extraction: exposure by exact rank, greedy decoding, and the membership of a secret."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from attacks.base import Attack
from attacks.view import Access, TextView, View
from canaries.base import CanarySet, Secret
from canaries.errors import InputError

TIE = 1e-5
"""Log-probabilities this close, in nats, are ties: more than float32 rounding, less than any real difference."""

BLOCK = 1 << 19
"""Log-probabilities that one query of the digit tree may return, over all models: 4 MB. Speed and memory only."""


@dataclass(frozen=True)
class Extraction(Attack):
    """How far a model gives its secrets away: exposure, greedy decoding and the best guess.

    A secret is ranked by the log-probability of its value given the prefix. The suffix is left out: it is the
    same after every value, so it says next to nothing, and it would make the tree of values ten times larger.

    Evidence, each [models, canaries]:
        exposure: log2 |R| - log2 rank, in bits (Carlini et al. 2019, "The Secret Sharer", Definition 4). The
            rank is exact, among all values of the secret's space R. About 1 / ln 2 = 1.44 on average where
            nothing leaked, log2 |R| at most. Ties count as more likely: exposure is never overstated.
        extracted: greedy decoding from the prefix, over the model's whole alphabet, gives the secret exactly.
        guessed: the secret is the one most likely value of its space: a right k-ary guess, k = |R|.

    The score is the log-probability of the whole record, name and secret, less the model's mean over all
    canaries, in nats. The record shows membership better than the value alone, for a model learns the name
    too; the mean makes models comparable.

    Attributes:
        exact_limit: the largest space whose rank is counted; what was not memorised is pruned little.
    """

    exact_limit: int = 2_000_000

    name: ClassVar[str] = "extraction"
    access: ClassVar[Access] = Access.TOKEN_LOG_PROBABILITIES
    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    family: ClassVar[str] = "extraction"

    def __post_init__(self) -> None:
        if self.exact_limit < 1:
            raise InputError(f"Expected exact_limit >= 1, got exact_limit = {self.exact_limit}.")

    def score(
        self, view: View, canaries: CanarySet, seed: int
    ) -> tuple[NDArray[np.float64], Mapping[str, NDArray[Any]]]:
        """Calibrated log-probability of each record, and the evidence; see the class.

        Raises:
            InputError: if the canaries have no secrets, the view is of no language model, or a space is too large.
        """
        if not isinstance(view, TextView):
            raise InputError(f"Attack '{self.name}' needs a view of language models, got {type(view).__name__}.")
        if not canaries.secrets:
            raise InputError(f"Attack '{self.name}' needs canaries with secrets; design '{canaries.design}' has none.")
        shape = (view.models, len(canaries))
        exposure = np.zeros(shape)
        extracted, guessed = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
        for (_, digits, alphabet), columns in _groups(canaries.secrets).items():
            space = len(alphabet) ** digits
            if space > self.exact_limit:
                raise InputError(
                    f"Expected at most exact_limit = {self.exact_limit} possible secrets for an exact rank, got "
                    f"{len(alphabet)}**{digits} = {space}; make the secrets shorter, or raise the limit."
                )
            task = _Task.of([canaries.secrets[c] for c in columns], view)
            truth, greedy = task.walk(view)
            rivals = task.rivals(view, truth)
            exposure[:, columns] = np.log2(space) - np.log2(1 + rivals)
            extracted[:, columns], guessed[:, columns] = greedy, rivals == 0
        record = -view.loss(canaries.records)
        score = record - record.mean(axis=1, keepdims=True)
        return score, {"exposure": exposure, "extracted": extracted, "guessed": guessed}


def _groups(secrets: tuple[Secret, ...]) -> dict[tuple[int, int, str], list[int]]:
    """Columns of the secrets with prefixes and values of one length and one alphabet: one batch each."""
    groups: dict[tuple[int, int, str], list[int]] = {}
    for column, s in enumerate(secrets):
        groups.setdefault((len(s.prefix), len(s.value), s.alphabet), []).append(column)
    return groups


@dataclass(frozen=True, eq=False)
class _Task:
    """n secrets of one shape, as tokens.

    Attributes:
        prefix: int64[n, length].
        value: int64[n, digits], the true secrets.
        symbols: int64[k], the tokens that a secret is made of.
    """

    prefix: NDArray[np.int64]
    value: NDArray[np.int64]
    symbols: NDArray[np.int64]

    @classmethod
    def of(cls, secrets: list[Secret], view: TextView) -> _Task:
        symbols = view.encode([secrets[0].alphabet])[0]
        return cls(view.encode([s.prefix for s in secrets]), view.encode([s.value for s in secrets]), symbols)

    def walk(self, view: TextView) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """float64[models, n]: log-probability of the true values; bool[models, n]: greedy decoding finds them.

        Greedy decoding gives the secret exactly if, and only if, each of its characters is the most likely one
        after those before it, so nothing has to be decoded. A tie is no extraction.
        """
        text = np.concatenate([self.prefix, self.value], axis=1)
        n, digits = self.value.shape
        total, greedy = np.zeros((view.models, n)), np.ones((view.models, n), dtype=bool)
        for level in range(digits):
            answer = view.next_token_log_probabilities(text[:, : self.prefix.shape[1] + level])
            here = np.arange(n), self.value[:, level]
            chosen = answer[:, *here]
            total += chosen
            answer[:, *here] = -np.inf
            greedy &= chosen > answer.max(axis=2)
        return total, greedy

    def rivals(self, view: TextView, truth: NDArray[np.float64]) -> NDArray[np.int64]:
        """int64[models, n]: how many other values are as likely as the true one, or likelier.

        Expands the tree of values, all secrets and models in shared batches, depth first in blocks (so memory
        is bounded), and drops a branch once no model can find a rival below it: log-probabilities only fall.
        """
        n, digits = self.value.shape
        floor = truth - TIE
        rivals = np.zeros((view.models, n), dtype=np.int64)
        size = max(1, BLOCK // (view.models * (len(view.alphabet) + 1)))
        stack = [(np.arange(n), np.empty((n, 0), dtype=np.int64), np.zeros((view.models, n)))]
        while stack:
            owner, path, so_far = stack.pop()
            if len(owner) > size:
                stack += [
                    (owner[i : i + size], path[i : i + size], so_far[:, i : i + size])
                    for i in range(0, len(owner), size)
                ]
                continue
            answer = view.next_token_log_probabilities(np.concatenate([self.prefix[owner], path], axis=1))
            answer = answer[:, :, self.symbols]
            alive = answer >= (floor[:, owner] - so_far)[:, :, None]
            if path.shape[1] < digits - 1:
                row, symbol = np.nonzero(alive.any(axis=0))
                below = so_far[:, row] + answer[:, row, symbol]
                stack.append((owner[row], np.column_stack([path[row], self.symbols[symbol]]), below))
                continue
            own = np.flatnonzero((path == self.value[owner, :-1]).all(axis=1))  # the true value is no rival
            alive[:, own] &= self.symbols != self.value[owner[own], -1:]
            for model, count in enumerate(alive.sum(axis=2)):
                rivals[model] += np.bincount(owner, count, minlength=n).astype(np.int64)
        return rivals
