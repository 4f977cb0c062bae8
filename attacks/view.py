"""What an adversary may query: a view of one or many models that refuses what was not granted."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from attacks.record import GradientRecord
from attacks.vocabulary import Vocabulary
from canaries.errors import InputError
from canaries.records import ArrayRecords, Records, TextRecords
from canaries.spaces import Space


class Access(enum.StrEnum):
    """Kinds of answer. Each grants what can be computed from it, and nothing else."""

    LABELS = "labels"
    LOSS = "loss"
    PROBABILITIES = "probabilities"
    TOKEN_LOG_PROBABILITIES = "token-log-probabilities"
    WEIGHTS = "weights"
    CHECKPOINTS = "checkpoints"
    GRADIENTS = "gradients"


ANSWERS = frozenset({Access.LABELS, Access.LOSS, Access.PROBABILITIES, Access.TOKEN_LOG_PROBABILITIES})
"""What can be asked of a final model from outside."""

WHITE_BOX = frozenset({Access.WEIGHTS, Access.CHECKPOINTS, Access.GRADIENTS})
"""What must be released or recorded besides: the trainer's configuration decides."""

GRANTS: dict[Access, frozenset[Access]] = {
    Access.LABELS: frozenset({Access.LABELS}),
    Access.LOSS: frozenset({Access.LOSS}),
    Access.PROBABILITIES: frozenset({Access.PROBABILITIES, Access.LOSS, Access.LABELS}),
    Access.TOKEN_LOG_PROBABILITIES: frozenset({Access.TOKEN_LOG_PROBABILITIES, Access.LOSS}),
    Access.WEIGHTS: ANSWERS | {Access.WEIGHTS},
    Access.CHECKPOINTS: ANSWERS | {Access.WEIGHTS, Access.CHECKPOINTS},
    Access.GRADIENTS: ANSWERS | WHITE_BOX,
}


class AccessError(PermissionError):
    """An attack asked a view for more than its access level grants."""


@dataclass(frozen=True, eq=False)
class WhiteBox:
    """What training leaves beside the final models' answers.

    Attributes:
        parameters: float[models, size], the final parameters, in the module's order.
        initial: float[models, size], those that training began with, where an adversary knows them: shared by all
            models or public. None where each model drew its own in secret.
        movement: records -> float64[models, n]; see `View.movement`.
        checkpoints: views of the models after some of the steps (1, 2, ...), by step.
        record: the gradient record, where one was kept.
    """

    parameters: NDArray[np.floating]
    initial: NDArray[np.floating] | None
    movement: Callable[[Records], NDArray[np.floating]]
    checkpoints: Mapping[int, View] = field(default_factory=dict)
    record: GradientRecord | None = None

    @property
    def grants(self) -> frozenset[Access]:
        """The kinds of answer that this can give."""
        kept = {Access.CHECKPOINTS: bool(self.checkpoints), Access.GRADIENTS: self.record is not None}
        return frozenset({Access.WEIGHTS, *(access for access, there in kept.items() if there)})

    @property
    def access(self) -> Access:
        """The level that grants all of it."""
        order = (Access.GRADIENTS, Access.CHECKPOINTS, Access.WEIGHTS)
        return next(access for access in order if access in self.grants)

    def limited(self, access: Access) -> WhiteBox | None:
        """What of it a lower access level may hold."""
        granted = GRANTS[access]
        if Access.WEIGHTS not in granted:
            return None
        return replace(
            self,
            checkpoints=self.checkpoints if Access.CHECKPOINTS in granted else {},
            record=self.record if Access.GRADIENTS in granted else None,
        )


class View:
    """What one adversary may ask of `models` models, and how many queries it has made of each.

    Attributes:
        models: how many models answer; every answer has them as its leading axis.
        access: what was granted.
        queries: records sent to each model so far, checkpoints included.

    Class attributes:
        answers: what models of this kind can answer at all.
        keys: a number for each model. What an attack draws for one model alone it derives from that model's number, so
            that it depends on no other model; views that are scored together must not share numbers.
    """

    answers: ClassVar[frozenset[Access]] = ANSWERS

    def __init__(self, models: int, access: Access) -> None:
        self.models = models
        self.access = access
        self.queries = 0
        self.keys: tuple[int, ...] = tuple(range(models))
        self._white_box: WhiteBox | None = None
        self._counts_for: View | None = None

    def opened(self, white_box: WhiteBox) -> Self:
        """A fresh view of the same models that grants what `white_box` holds as well."""
        opened = self._fresh()
        opened._white_box = white_box
        opened.access = white_box.access
        return opened

    def grant(self, access: Access) -> Self:
        """A fresh view of the same models at a lower access level, with its own count of queries.

        Raises:
            AccessError: if this view does not itself hold `access`.
        """
        self._require(access)
        granted = self._fresh()
        granted.access = access
        granted._white_box = self._white_box and self._white_box.limited(access)
        return granted

    def _fresh(self) -> Self:
        fresh = object.__new__(type(self))
        fresh.__dict__.update(self.__dict__, queries=0)
        return fresh

    def loss(self, records: Records) -> NDArray[np.float64]:
        """float64[models, n]: the loss of each record, in nats. Needs LOSS."""
        raise NotImplementedError

    def parameters(self) -> NDArray[np.floating]:
        """float[models, size]: the final parameters, in the module's order. Needs WEIGHTS."""
        return self._opened(Access.WEIGHTS).parameters

    def initial_parameters(self) -> NDArray[np.floating]:
        """float[models, size]: those that training began with, where they are known. Needs WEIGHTS.

        Raises:
            AccessError: where each model drew its own in secret; no level of access releases them.
        """
        initial = self._opened(Access.WEIGHTS).initial
        if initial is None:
            raise AccessError(
                "This view holds no initial parameters, because each model drew its own in secret; a trainer with "
                "initial = 'shared', 'pretrained' or 'given' lets the adversary know them."
            )
        return initial

    def movement(self, records: Records) -> NDArray[np.float64]:
        """float64[models, n]: how far training moved the parameters against each record's gradient. Needs WEIGHTS.

        The inner product of initial less final parameters with the record's clipped gradient at the final parameters.
        Where the initial parameters are not known, zero stands for them.
        """
        white_box = self._opened(Access.WEIGHTS, len(records))
        return np.asarray(white_box.movement(records), dtype=np.float64)

    def checkpoints(self) -> dict[int, View]:
        """Views of the models after some of the steps (1, 2, ...), by step. Needs CHECKPOINTS.

        Each grants what the final model answers, and its weights; its queries count for this view as well.
        """
        found = {step: view._fresh() for step, view in self._opened(Access.CHECKPOINTS).checkpoints.items()}
        for view in found.values():
            view._counts_for = self
        return found

    def gradient_record(self) -> GradientRecord:
        """The gradient record. Needs GRADIENTS."""
        record = self._opened(Access.GRADIENTS).record
        assert record is not None
        return record

    def _opened(self, access: Access, queries: int = 0) -> WhiteBox:
        self._require(access, queries)
        assert self._white_box is not None
        return self._white_box

    def _require(self, access: Access, queries: int = 0) -> None:
        held = self.answers | (self._white_box.grants if self._white_box else frozenset())
        if access not in GRANTS[self.access] & held:
            allowed = ", ".join(sorted(GRANTS[self.access] & held))
            raise AccessError(f"This view grants {allowed}; the attack asked for {access}.")
        self._count(queries)

    def _count(self, queries: int) -> None:
        self.queries += queries
        if self._counts_for is not None:
            self._counts_for._count(queries)


class ArrayView(View):
    """A view of classifiers.

    Args:
        query: float32[n, ...] -> float64[models, n, classes], rows summing to one.
        models: how many models answer.
        access: what is granted, at most PROBABILITIES.
        query_each: float32[models, n, ...] -> float64[models, n, classes], where model i answers x[i] alone; None asks
            `query` and throws the other models' answers away.
    """

    answers: ClassVar[frozenset[Access]] = GRANTS[Access.PROBABILITIES]

    def __init__(
        self,
        query: Callable[[NDArray[np.float32]], NDArray[np.floating]],
        models: int,
        access: Access = Access.PROBABILITIES,
        query_each: Callable[[NDArray[np.float32]], NDArray[np.floating]] | None = None,
    ) -> None:
        super().__init__(models, access)
        self._query = query
        self._query_each = query_each

    def probabilities(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """float64[models, n, classes]. Needs PROBABILITIES.

        Raises:
            InputError: where the model's answer has another shape, or is not a distribution.
        """
        self._require(Access.PROBABILITIES, len(x))
        return self._ask(x)

    def labels(self, x: NDArray[np.float32]) -> NDArray[np.int64]:
        """int64[models, n]: the most probable class. Needs LABELS."""
        self._require(Access.LABELS, len(x))
        return self._ask(x).argmax(axis=2)

    def labels_each(self, x: NDArray[np.float32]) -> NDArray[np.int64]:
        """int64[models, n]: model i's labels of its own records x[i]; n queries of each. Needs LABELS.

        Args:
            x: float32[models, n, ...].

        Raises:
            InputError: where x holds records for another number of models.
        """
        self._require(Access.LABELS)
        if x.ndim < 3 or len(x) != self.models:
            raise InputError(f"Expected records of shape [{self.models}, n, ...], got {x.shape}.")
        self._count(x.shape[1])
        if self._query_each is None:
            return np.stack([self._ask(own)[i].argmax(axis=1) for i, own in enumerate(x)])
        return self._checked(self._query_each(x), x.shape[1]).argmax(axis=2)

    def loss(self, records: Records) -> NDArray[np.float64]:
        """float64[models, n]: cross-entropy in nats. Needs LOSS."""
        self._require(Access.LOSS, len(records))
        if not isinstance(records, ArrayRecords):
            raise InputError("A view of classifiers can only score array records.")
        answer = self._ask(records.x)
        if answer.shape[2] < records.classes:
            raise InputError(
                f"Expected probabilities of {records.classes} classes, got {answer.shape[2]} classes: every model must "
                "answer for all classes of the data, in sorted order, whether or not it has seen them."
            )
        p = np.take_along_axis(answer, records.y[None, :, None], axis=2)[..., 0]
        return -np.log(np.maximum(p, 1e-300))

    def _ask(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        return self._checked(self._query(x), len(x))

    def _checked(self, given: NDArray[np.floating], records: int) -> NDArray[np.float64]:
        answer = np.asarray(given, dtype=np.float64)
        if answer.ndim != 3 or answer.shape[:2] != (self.models, records):
            raise InputError(
                f"Expected class probabilities of shape [{self.models}, {records}, classes], got {answer.shape}."
            )
        if not np.all(answer >= 0) or not np.allclose(answer.sum(axis=2), 1, atol=1e-3):
            raise InputError("Expected class probabilities that are at least 0 and sum to 1 for every record.")
        return answer


class LossView(View):
    """A view of models of any kind that answers one loss per record, and nothing else.

    Args:
        query: records -> float64[models, n], losses in nats.
        models: how many models answer.
    """

    answers: ClassVar[frozenset[Access]] = GRANTS[Access.LOSS]

    def __init__(self, query: Callable[[Records], NDArray[np.floating]], models: int) -> None:
        super().__init__(models, Access.LOSS)
        self._query = query

    def loss(self, records: Records) -> NDArray[np.float64]:
        """float64[models, n]. Needs LOSS.

        Raises:
            InputError: where the answer has another shape.
        """
        self._require(Access.LOSS, len(records))
        answer = np.asarray(self._query(records), dtype=np.float64)
        if answer.shape != (self.models, len(records)):
            raise InputError(f"Expected losses of shape [{self.models}, {len(records)}], got {answer.shape}.")
        return answer


PAD = 0
"""The token in front of every text, and behind the shorter ones."""

BLOCK = 1 << 19
"""Log-probabilities that one query may return: 4 MB. Speed and memory only."""

NextTokenOf = Callable[[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64] | None], NDArray[np.floating]]
"""See `TextView`."""


class TextView(View):
    """A view of autoregressive language models. Token t >= 1 is `alphabet[t - 1]`; token 0 is PAD.

    Args:
        next_token: int64[n, length] -> float64[models, n, tokens], log-probabilities of what follows each prefix.
        score: int64[n, length] -> float64[models, n, length], log-probability of each token given those before it.
        models: how many models answer.
        alphabet: one character per token, PAD excluded; or a tokeniser.
        access: what is granted, at most TOKEN_LOG_PROBABILITIES.
        next_token_of: (int64[n] models, int64[n, length], int64[k] tokens or None for all) -> float64[n, k], one model
            asked about each prefix, in portions that fit the memory. Speed only: without it all models are asked about
            all prefixes.
    """

    answers: ClassVar[frozenset[Access]] = GRANTS[Access.TOKEN_LOG_PROBABILITIES]

    def __init__(
        self,
        next_token: Callable[[NDArray[np.int64]], NDArray[np.floating]],
        score: Callable[[NDArray[np.int64]], NDArray[np.floating]],
        models: int,
        alphabet: str | Vocabulary,
        access: Access = Access.TOKEN_LOG_PROBABILITIES,
        next_token_of: NextTokenOf | None = None,
    ) -> None:
        super().__init__(models, access)
        self._next_token = next_token
        self._next_token_of = next_token_of
        self._score = score
        self.alphabet = alphabet

    def encode(self, texts: tuple[str, ...] | list[str]) -> NDArray[np.int64]:
        """int64[n, longest]: tokens, PAD behind the shorter texts.

        Raises:
            InputError: for a character outside the alphabet.
        """
        return tokens_of(texts, self.alphabet)

    def letters(self, space: Space, contexts: Sequence[tuple[str, str]]) -> Sequence[str]:
        """For each token, PAD excluded, the character that it writes in secrets of a space; see `Vocabulary.letters`.

        Raises:
            InputError: where the characters of secrets are not tokens of their own.
        """
        return letters_of(self.alphabet, space, contexts)

    def next_token_log_probabilities(self, prefixes: NDArray[np.int64]) -> NDArray[np.float64]:
        """float64[models, n, tokens] for prefixes int64[n, length]. Needs TOKEN_LOG_PROBABILITIES."""
        self._require(Access.TOKEN_LOG_PROBABILITIES, len(prefixes))
        return np.asarray(self._next_token(prefixes), dtype=np.float64)

    def next_token_of(
        self, models: NDArray[np.int64], prefixes: NDArray[np.int64], tokens: NDArray[np.int64] | None = None
    ) -> NDArray[np.float64]:
        """float64[n, k]: what model models[i] says after prefixes[i] (int64[n, length]) of tokens int64[k], or of all.

        Counts the largest number of prefixes that one model was asked about. Needs TOKEN_LOG_PROBABILITIES.
        """
        if self._next_token_of is not None:
            self._require(Access.TOKEN_LOG_PROBABILITIES, int(np.bincount(models, minlength=1).max()))
            return np.asarray(self._next_token_of(models, prefixes, tokens), dtype=np.float64)
        self._require(Access.TOKEN_LOG_PROBABILITIES, len(prefixes))
        every = len(self.alphabet) + 1
        chosen = np.arange(every) if tokens is None else tokens
        answers = np.empty((len(prefixes), len(chosen)))
        portion = max(1, BLOCK // (self.models * every))
        for i in range(0, len(prefixes), portion):
            mine = models[i : i + portion]
            answer = np.asarray(self._next_token(prefixes[i : i + portion]))
            answers[i : i + portion] = answer[mine, np.arange(len(mine))][:, chosen]
        return answers

    def token_log_probabilities(self, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
        """float64[models, n, length], zero at PAD. Needs TOKEN_LOG_PROBABILITIES."""
        self._require(Access.TOKEN_LOG_PROBABILITIES, len(tokens))
        return np.where(tokens != PAD, np.asarray(self._score(tokens), dtype=np.float64), 0)

    def loss(self, records: Records) -> NDArray[np.float64]:
        """float64[models, n]: minus the log-probability of the whole text, in nats. Needs LOSS."""
        self._require(Access.LOSS, len(records))
        if not isinstance(records, TextRecords):
            raise InputError("A view of language models can only score text records.")
        tokens = self.encode(records.texts)
        return -np.where(tokens != PAD, np.asarray(self._score(tokens), dtype=np.float64), 0).sum(axis=2)


BYTES = "".join(map(chr, range(256)))
"""The alphabet of byte tokens: texts are written in UTF-8, and token b + 1 is byte b."""


def tokens_of(texts: tuple[str, ...] | list[str], alphabet: str | Vocabulary) -> NDArray[np.int64]:
    """int64[n, longest]: tokens of an alphabet or a tokeniser, PAD behind the shorter texts.

    Raises:
        InputError: for a character outside the alphabet.
    """
    return encode(texts, alphabet) if isinstance(alphabet, str) else alphabet.encode(texts)


def letters_of(alphabet: str | Vocabulary, space: Space, contexts: Sequence[tuple[str, str]]) -> Sequence[str]:
    """As `TextView.letters`, of a view with this alphabet.

    Raises:
        InputError: where the characters of secrets are not tokens of their own.
    """
    if not isinstance(alphabet, str):
        return alphabet.letters(space, contexts)
    if alphabet == BYTES and not space.alphabet.isascii():
        raise InputError(f"With byte tokens secrets may hold ASCII characters alone, got {space.alphabet!r}.")
    return alphabet


def in_bytes(text: str) -> str:
    """The text's UTF-8 bytes as characters of BYTES."""
    return text.encode("utf-8").decode("latin-1")


def encode(texts: tuple[str, ...] | list[str], alphabet: str, length: int | None = None) -> NDArray[np.int64]:
    """int64[n, length]: character tokens (position in `alphabet` plus one), PAD behind the shorter texts.

    With the alphabet BYTES a token is a byte of the text in UTF-8.

    `length` defaults to the longest text's; longer texts are cut to it.

    Raises:
        InputError: for a character outside the alphabet, or a lone surrogate where bytes are asked for.
    """
    if alphabet == BYTES:
        try:
            texts = [in_bytes(text) for text in texts]
        except UnicodeEncodeError:
            raise InputError("A text holds a lone surrogate, half a character that no bytes of UTF-8 write.") from None
    index = {c: i + 1 for i, c in enumerate(alphabet)}
    width = max((len(t) for t in texts), default=0) if length is None else length
    tokens = np.full((len(texts), width), PAD, dtype=np.int64)
    for i, (row, text) in enumerate(zip(tokens, texts, strict=True)):
        try:
            row[: len(text)] = [index[c] for c in text[:width]]
        except KeyError as error:  # The text itself may be private: it is not printed.
            character = error.args[0]
            raise InputError(
                f"Character {character!r} at place {text.index(character)} of text {i} is outside the model's alphabet "
                f"{alphabet!r}."
            ) from None
    return tokens
