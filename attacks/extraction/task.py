"""Secrets of one shape as tokens: what every attack on secrets works on, all of them and all models in one batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attacks.base import refuse_without_secrets
from attacks.view import PAD, LossView, TextView, View, letters_of, tokens_of
from attacks.vocabulary import Vocabulary
from canaries.base import CanarySet, Secret
from canaries.errors import InputError
from canaries.spaces import Space, transitions


@dataclass(frozen=True, eq=False)
class Task:
    """n secrets with prefixes of one length in tokens, values of one length and one space.

    Attributes:
        columns: int64[n], which canaries they are.
        prefix: int64[n, length].
        value: int64[n, characters], the true secrets.
        space: all values that they might have had.
        after: int64[states, tokens], the state after each token, -1 where it may not follow.
        symbols: int64[k], the tokens that may follow anywhere.
    """

    columns: NDArray[np.int64]
    prefix: NDArray[np.int64]
    value: NDArray[np.int64]
    space: Space
    after: NDArray[np.int64]
    symbols: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def final(self) -> NDArray[np.bool_]:
        """bool[states]: where a value is complete."""
        return np.asarray((self.after < 0).all(axis=1))

    def walk(self, view: TextView) -> Iterator[tuple[NDArray[np.float64], NDArray[np.int64]]]:
        """For each character of the values: what every model says there, [models, n, tokens], and the true token [n].

        The models are told the true characters before it, so whatever a decoder would do on the way to the true value
        can be read off without decoding.
        """
        text = np.concatenate([self.prefix, self.value], axis=1)
        for level in range(self.value.shape[1]):
            yield view.next_token_log_probabilities(text[:, : self.prefix.shape[1] + level]), self.value[:, level]

    def truth(self, view: TextView) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """float64[models, n]: log-probability of the true values; bool[models, n]: greedy decoding finds them.

        Greedy decoding gives a secret exactly if, and only if, each of its characters is the most likely one after
        those before it. A tie is no extraction.
        """
        total = np.zeros((view.models, len(self)))
        greedy = np.ones(total.shape, dtype=bool)
        for answer, token in self.walk(view):
            here = np.arange(len(self)), token
            chosen = answer[:, *here]
            total += chosen
            answer[:, *here] = -np.inf
            greedy &= chosen > answer.max(axis=2)
        return total, greedy

    def pairs(self, view: TextView) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """int64[models * n] twice: the model and the secret of each pair, model by model."""
        return np.repeat(np.arange(view.models), len(self)), np.tile(np.arange(len(self)), view.models)


def tasks(view: View, canaries: CanarySet, attack: str) -> tuple[TextView, list[Task]]:
    """The view, and the canaries' secrets, those of one shape together.

    Raises:
        InputError: if the canaries have no secrets, the view is of no language model, or it does not know a character.
    """
    text = language(view, attack)
    refuse_without_secrets(canaries, attack)
    return text, [_task(text, canaries, np.array(columns)) for columns in _shapes(text.alphabet, canaries.secrets)]


def check_spelling(alphabet: str | Vocabulary, canaries: CanarySet) -> None:
    """Refuse secrets that `tasks` would refuse in a view with this alphabet; asks no model.

    Raises:
        InputError: where their characters are not tokens of their own.
    """
    for columns in _shapes(alphabet, canaries.secrets):
        _spelling(alphabet, [canaries.secrets[c] for c in columns])


def language(view: View, attack: str) -> TextView:
    """The view, if it is of language models.

    Raises:
        InputError: if it is not.
    """
    if isinstance(view, LossView):
        raise InputError(
            f"Attack '{attack}' asks for the probabilities of tokens, and these models answer losses alone; have the "
            "training function return a TextView."
        )
    if not isinstance(view, TextView):
        raise InputError(f"Attack '{attack}' needs a view of language models, got {type(view).__name__}.")
    return view


def record_score(view: View, canaries: CanarySet) -> NDArray[np.float64]:
    """float64[models, canaries]: log-probability of each whole record, standardised in each model.

    The record shows membership better than the value alone, for a model learns the name too. Models differ in level and
    in spread, so each is taken from its median over all canaries, and over the distance from there down to the 16th
    percentile: one standard deviation of those that were not learnt, whatever was learnt of the others.
    """
    record = -view.loss(canaries.records)
    low, middle = np.percentile(record, [16, 50], axis=1, keepdims=True)
    return (record - middle) / np.where(middle - low > 1e-9, middle - low, 1.0)


def _shapes(alphabet: str | Vocabulary, secrets: Sequence[Secret]) -> list[list[int]]:
    """The columns of secrets of one shape: prefix of so many tokens, value of so many characters, space."""
    groups: dict[tuple[int, int, str, str], list[int]] = {}
    lengths = (tokens_of([s.prefix for s in secrets], alphabet) != PAD).sum(axis=1).tolist()
    for column, (s, length) in enumerate(zip(secrets, lengths, strict=True)):
        groups.setdefault((length, len(s.value), s.alphabet, s.form), []).append(column)
    return list(groups.values())


def _spelling(alphabet: str | Vocabulary, secrets: Sequence[Secret]) -> tuple[Sequence[str], NDArray[np.int64]]:
    """The character of each token, and `transitions`, for secrets of one shape."""
    space = secrets[0].space
    letters = letters_of(alphabet, space, sorted({(s.prefix, s.suffix) for s in secrets}))
    return letters, transitions(space, letters)


def _task(view: TextView, canaries: CanarySet, columns: NDArray[np.int64]) -> Task:
    secrets = [canaries.secrets[c] for c in columns]
    letters, after = _spelling(view.alphabet, secrets)
    token = {letter: i + 1 for i, letter in enumerate(letters) if letter}
    return Task(
        columns=columns,
        prefix=view.encode([s.prefix for s in secrets]),
        value=np.array([[token[character] for character in s.value] for s in secrets]),
        space=secrets[0].space,
        after=after,
        symbols=np.flatnonzero((after >= 0).any(axis=0)),
    )
