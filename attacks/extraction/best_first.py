"""Best-first extraction: the k most likely values of a secret's space, found without listing it."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from attacks.base import Attack
from attacks.extraction.task import Task, record_score, tasks
from attacks.view import Access, TextView, View
from canaries.base import CanarySet
from canaries.errors import InputError

Path = tuple[int, ...]


@dataclass(frozen=True)
class BestFirst(Attack):
    """The shortest-path search of Carlini et al. (2019), "The Secret Sharer", section 6: the guaranteed top k.

    The likeliest open branch is expanded first. Log-probabilities only fall along a path, so the first value to come up
    is the most likely one of the space, the next one the second, and so on: nothing is sampled. It uses the prefix and
    the format, and never the secret. All secrets and models are searched side by side.

    Evidence, each [models, canaries]:
        extracted, guessed: the secret is the first value.
        top_1, top_<k>: the same, and whether it is among those found.
        found: how many values were found, and so proven to be the likeliest; fewer than k where `nodes` ran out.

    The score is that of the whole record: see `record_score`.

    Attributes:
        k: how many values to find.
        nodes: branches that may be expanded for each secret and model.
        batch: branches expanded at once for each; speed only, as long as `nodes` suffices.
    """

    k: int = 100
    nodes: int = 2000
    batch: int = 8

    name: ClassVar[str] = "best-first"
    access: ClassVar[Access] = Access.TOKEN_LOG_PROBABILITIES
    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    family: ClassVar[str] = "extraction"
    evidence: ClassVar[frozenset[str]] = frozenset({"extracted", "guessed", "top_1", "top_{k}", "found"})
    needs_secrets: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for label in ("k", "nodes", "batch"):
            if getattr(self, label) < 1:
                raise InputError(f"Expected {label} >= 1, got {label} = {getattr(self, label)}.")

    def score(
        self, view: View, canaries: CanarySet, seed: int
    ) -> tuple[NDArray[np.float64], Mapping[str, NDArray[Any]]]:
        """Calibrated log-probability of each record, and the evidence; see the class.

        Raises:
            InputError: if the canaries have no secrets, or the view is of no language model that can write them.
        """
        text, groups = tasks(view, canaries, self.name)
        shape = (view.models, len(canaries))
        first, among = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
        count = np.zeros(shape, dtype=np.int64)
        for task in groups:
            for model, row in enumerate(self.search(text, task)):
                for column, truth, found in zip(task.columns, task.value, row, strict=True):
                    value = tuple(truth.tolist())
                    first[model, column] = bool(found) and found[0] == value
                    among[model, column] = value in found
                    count[model, column] = len(found)
        evidence = {"extracted": first, "guessed": first.copy(), "top_1": first.copy(), f"top_{self.k}": among}
        return record_score(view, canaries), {**evidence, "found": count}

    def search(self, view: TextView, task: Task) -> list[list[list[Path]]]:
        """For each model and secret, the likeliest values in order, as tuples of tokens."""
        models, secrets = task.pairs(view)
        searches = [_Search(self.k, self.nodes) for _ in models]
        final = task.final
        while work := [(i, entry) for i, search in enumerate(searches) for entry in search.pop(self.batch, final)]:
            for depth in sorted({len(path) for _, (_, path, _) in work}):
                level = [(i, entry) for i, entry in work if len(entry[1]) == depth]
                pairs = np.array([i for i, _ in level])
                paths = np.array([path for _, (_, path, _) in level], dtype=np.int64).reshape(len(level), depth)
                text = np.concatenate([task.prefix[secrets[pairs]], paths], axis=1)
                answer = view.next_token_of(models[pairs], text, task.symbols)
                for (i, (cost, path, state)), log_p in zip(level, answer.tolist(), strict=True):
                    searches[i].push(
                        (cost - p, (*path, int(token)), int(after))
                        for p, token, after in zip(log_p, task.symbols, task.after[state, task.symbols], strict=True)
                        if after >= 0
                    )
        n = len(task)
        return [[search.found for search in searches[m * n : (m + 1) * n]] for m in range(view.models)]


Entry = tuple[float, Path, int]


@dataclass
class _Search:
    """The search for one pair: open branches (cost, path, state), cheapest first, and the values found."""

    k: int
    nodes: int
    open: list[Entry] = field(default_factory=lambda: [(0.0, (), 0)])
    found: list[Path] = field(default_factory=list)

    def pop(self, batch: int, final: NDArray[np.bool_]) -> list[Entry]:
        """Up to `batch` branches to expand; none when the search is over.

        A complete value is found when nothing cheaper is open, so the batch ends where the next is complete.
        """
        branches: list[Entry] = []
        while self.open and len(branches) < min(batch, self.nodes) and len(self.found) < self.k:
            complete = final[self.open[0][2]]
            if complete and branches:
                break
            entry = heapq.heappop(self.open)
            if complete:
                self.found.append(entry[1])
            else:
                branches.append(entry)
        self.nodes -= len(branches)
        return branches

    def push(self, entries: Any) -> None:
        for entry in entries:
            heapq.heappush(self.open, entry)
