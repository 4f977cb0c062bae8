"""Decoding from the prefix without knowing the secret's format: greedy, and by beam search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from attacks.base import Attack
from attacks.extraction.task import Task, record_score, tasks
from attacks.view import BLOCK, PAD, Access, TextView, View
from canaries.base import CanarySet
from canaries.errors import InputError


@dataclass(frozen=True)
class Decoding(Attack):
    """Continue the prefix over the model's whole alphabet, and look whether the secret stands there.

    What whoever holds the model, but not the format, would do. Beam search keeps the `beams` likeliest continuations of
    each length; width 1 is greedy decoding.

    Evidence, each [models, canaries]:
        extracted: the greedy continuation begins with the secret.
        beam: one of the `beams` continuations does.

    The score is that of the whole record: see `record_score`.

    Attributes:
        beams: width of the beam.
    """

    beams: int = 10

    name: ClassVar[str] = "decoding"
    access: ClassVar[Access] = Access.TOKEN_LOG_PROBABILITIES
    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    family: ClassVar[str] = "extraction"
    evidence: ClassVar[frozenset[str]] = frozenset({"extracted", "beam"})
    rates: ClassVar[Mapping[str, str]] = {"beam": "in a beam of {beams}"}
    needs_secrets: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.beams < 1:
            raise InputError(f"Expected beams >= 1, got beams = {self.beams}.")

    def score(
        self, view: View, canaries: CanarySet, seed: int
    ) -> tuple[NDArray[np.float64], Mapping[str, NDArray[Any]]]:
        """Calibrated log-probability of each record, and the evidence; see the class.

        Raises:
            InputError: if the canaries have no secrets, or the view is of no language model that can write them.
        """
        text, groups = tasks(view, canaries, self.name)
        greedy, beam = (np.zeros((view.models, len(canaries)), dtype=bool) for _ in range(2))
        for task in groups:
            _, greedy[:, task.columns] = task.truth(text)
            decoded = beam_search(text, task, self.beams)
            beam[:, task.columns] = (decoded == task.value[None, :, None]).all(axis=3).any(axis=2)
        return record_score(view, canaries), {"extracted": greedy, "beam": beam | greedy}


def beam_search(view: TextView, task: Task, beams: int) -> NDArray[np.int64]:
    """int64[models, n, beams, characters]: the continuations kept, as long as the values; PAD where there are fewer."""
    models, secrets = task.pairs(view)
    characters = task.value.shape[1]
    out = np.full((len(models), beams, characters), PAD, dtype=np.int64)
    tokens = np.arange(1, len(view.alphabet) + 1)
    portion = max(1, BLOCK // (beams * len(tokens)))
    for start in range(0, len(models), portion):
        chosen = np.arange(start, min(start + portion, len(models)))
        path = np.empty((len(chosen), 1, 0), dtype=np.int64)
        so_far = np.zeros((len(chosen), 1))
        for _ in range(characters):
            kept = path.shape[1]
            prefix = np.repeat(task.prefix[secrets[chosen]], kept, axis=0)
            text = np.concatenate([prefix, path.reshape(len(prefix), -1)], axis=1)
            answer = view.next_token_of(np.repeat(models[chosen], kept), text, tokens)
            below = (so_far[:, :, None] + answer.reshape(len(chosen), kept, -1)).reshape(len(chosen), -1)
            best = np.argsort(-below, axis=1, kind="stable")[:, :beams]
            row = np.arange(len(chosen))[:, None]
            path = np.concatenate([path[row, best // len(tokens)], tokens[best % len(tokens)][..., None]], axis=2)
            so_far = below[row, best]
        out[chosen, : path.shape[1]] = path
    return out.reshape(view.models, len(task), beams, characters)
