"""Memorised training text: does the beginning of a record bring back the rest?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from attacks.base import Attack
from attacks.extraction.task import language
from attacks.view import PAD, Access, TextView, View
from canaries.base import CanarySet
from canaries.errors import InputError
from canaries.records import TextRecords


@dataclass(frozen=True)
class PrefixSuffix(Attack):
    """Greedy decoding of the rest of a record from its beginning, exactly and approximately.

    Carlini, Ippolito, Jagielski, Lee, Tramer, Zhang (2023), "Quantifying Memorization Across Neural Language Models":
    prompted with `prefix` tokens of a training record, does the model write the next `suffix` tokens? There both are 50
    tokens; here they are as long as the model's records allow.

    Evidence, each [models, canaries]:
        reconstructed: every token is right.
        similarity: the share of places where the continuation has the right token.
        approximate: that share is `near` or more.

    The score is the mean log-probability of the suffix's tokens given all before them, in nats.

    Attributes:
        prefix: tokens of the prompt.
        suffix: tokens to be written; 0 for all that follow. Shorter records are prompted with the half.
        near: in (0, 1].
    """

    prefix: int = 20
    suffix: int = 0
    near: float = 0.8

    name: ClassVar[str] = "prefix-suffix"
    access: ClassVar[Access] = Access.TOKEN_LOG_PROBABILITIES
    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    family: ClassVar[str] = "extraction"
    evidence: ClassVar[frozenset[str]] = frozenset({"reconstructed", "approximate", "similarity"})
    rates: ClassVar[Mapping[str, str]] = {
        "reconstructed": "every token right",
        "approximate": "at least {near:.4g} of tokens right",
    }

    def __post_init__(self) -> None:
        if self.prefix < 1 or self.suffix < 0 or not 0 < self.near <= 1:
            raise InputError(
                f"Expected prefix >= 1, suffix >= 0 and near in (0, 1], got {self.prefix}, {self.suffix}, {self.near}."
            )

    def score(
        self, view: View, canaries: CanarySet, seed: int
    ) -> tuple[NDArray[np.float64], Mapping[str, NDArray[Any]]]:
        """Mean log-probability of the suffix, and the evidence; see the class.

        Raises:
            InputError: if the view is of no language model, or a record has fewer than two tokens.
        """
        text = language(view, self.name)
        assert isinstance(canaries.records, TextRecords)
        tokens = text.encode(canaries.records.texts)
        lengths = (tokens != PAD).sum(axis=1)
        if lengths.min() < 2:
            short = int(lengths.argmin())
            raise InputError(
                f"Attack '{self.name}' needs records of two tokens or more, got {lengths[short]} in "
                f"'{canaries.ids[short]}'."
            )
        start = np.minimum(self.prefix, lengths // 2)
        end = np.minimum(lengths, start + self.suffix) if self.suffix else lengths
        log_p = text.token_log_probabilities(tokens)
        similarity, score = np.zeros(log_p.shape[:2]), np.zeros(log_p.shape[:2])
        for first, last in sorted(set(zip(start.tolist(), end.tolist(), strict=True))):
            rows = np.flatnonzero((start == first) & (end == last))
            written = greedy(text, tokens[rows, :first], last - first)
            similarity[:, rows] = (written == tokens[rows, first:last]).mean(axis=2)
            score[:, rows] = log_p[:, rows, first:last].mean(axis=2)
        return score, {
            "reconstructed": similarity == 1,
            "approximate": similarity >= self.near - 1e-9,
            "similarity": similarity,
        }


def greedy(view: TextView, prefix: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """int64[models, n, length]: what each model writes after prefixes int64[n, m]."""
    n = len(prefix)
    models = np.repeat(np.arange(view.models), n)
    text = np.tile(prefix, (view.models, 1))
    for _ in range(length):
        answer = view.next_token_of(models, text)
        answer[:, PAD] = -np.inf
        text = np.column_stack([text, answer.argmax(axis=1)])
    return text[:, prefix.shape[1] :].reshape(view.models, n, length)
