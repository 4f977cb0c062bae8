"""Sampling from the prefix: the probability that top-k or nucleus sampling emits the secret."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from attacks.base import Attack
from attacks.extraction.task import record_score, tasks
from attacks.view import Access, View
from canaries.base import CanarySet
from canaries.errors import InputError
from canaries.randomness import generator

LEAST_TEMPERATURE = 1e-3
"""Far below it log-probabilities over the temperature are no numbers."""


@dataclass(frozen=True)
class Sampling(Attack):
    """How likely a sampler is to write the secret after its prefix, computed instead of drawn.

    Stock, Shilov, Mironov, Sablayrolles (2022), "Defending against Reconstruction Attacks with Renyi Differential
    Privacy", section 5.1: along the true value, each character's probability after the sampler's truncation is read off
    and multiplied. That takes one query a character where drawing would take one over the probability.

    Evidence, each [models, canaries]:
        emission: the probability that one draw, as long as the secret, is the secret.
        guessed: one draw was the secret: true with just that probability, by a random number of the attack's own.
        extracted: one of `draws` draws was.
        guesses: `draws`.

    The score is that of the whole record: see `record_score`.

    Attributes:
        top_k: only the k likeliest characters are drawn from; 0 for all.
        nucleus: only the likeliest characters that together have at least this probability are (Holtzman et al. 2020,
            "The Curious Case of Neural Text Degeneration"); 1 for all.
        temperature: divides log-probabilities before truncation; at least 0.001, which is all but greedy.
        draws: how many continuations the adversary looks at.
    """

    top_k: int = 40
    nucleus: float = 1.0
    temperature: float = 1.0
    draws: int = 100

    name: ClassVar[str] = "sampling"
    access: ClassVar[Access] = Access.TOKEN_LOG_PROBABILITIES
    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    family: ClassVar[str] = "extraction"
    evidence: ClassVar[frozenset[str]] = frozenset({"emission", "guesses", "guessed", "extracted"})
    needs_secrets: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.top_k < 0 or self.draws < 1:
            raise InputError(f"Expected top_k >= 0 and draws >= 1, got {self.top_k} and {self.draws}.")
        if not 0 < self.nucleus <= 1 or not LEAST_TEMPERATURE <= self.temperature < math.inf:
            raise InputError(
                f"Expected nucleus in (0, 1] and a finite temperature >= {LEAST_TEMPERATURE}, got {self.nucleus} and "
                f"{self.temperature}."
            )

    def score(
        self, view: View, canaries: CanarySet, seed: int
    ) -> tuple[NDArray[np.float64], Mapping[str, NDArray[Any]]]:
        """Calibrated log-probability of each record, and the evidence; see the class.

        Raises:
            InputError: if the canaries have no secrets, or the view is of no language model that can write them.
        """
        text, groups = tasks(view, canaries, self.name)
        emission = np.ones((view.models, len(canaries)))
        for task in groups:
            for answer, token in task.walk(text):
                chosen = self.truncated(answer)[:, np.arange(len(task)), token]
                emission[:, task.columns] *= chosen
        # A draw of each model's own: one that models shared would make their guesses right or wrong together.
        uniform = np.stack([generator(seed, "emission", key).random((2, len(canaries))) for key in view.keys], axis=1)
        with np.errstate(divide="ignore"):
            several = -np.expm1(self.draws * np.log1p(-emission))
        guesses = np.full(emission.shape, float(self.draws))
        evidence = {
            "emission": emission,
            "guesses": guesses,
            "guessed": uniform[0] < emission,
            "extracted": uniform[1] < several,
        }
        return record_score(view, canaries), evidence

    def truncated(self, log_probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sampler's probabilities for log-probabilities float64[..., tokens]; of equal ones the first are kept."""
        logits = log_probabilities / self.temperature
        p = np.exp(logits - logits.max(axis=-1, keepdims=True))
        p /= p.sum(axis=-1, keepdims=True)
        order = np.argsort(-p, axis=-1, kind="stable")
        descending = np.take_along_axis(p, order, axis=-1)
        place = np.arange(p.shape[-1])
        keep = place < self.top_k if self.top_k else place >= 0
        before = np.cumsum(descending, axis=-1) - descending
        kept = np.where(keep & (before < self.nucleus), descending, 0.0)
        kept /= kept.sum(axis=-1, keepdims=True)
        out = np.empty_like(p)
        np.put_along_axis(out, order, kept, axis=-1)
        return out
