"""Secret extraction against brute force over small spaces, with models that are random tables."""

from __future__ import annotations

import itertools
import string

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import attacks.extraction.rank
import attacks.extraction.task
import attacks.view.texts
from attacks.extraction import Extraction
from attacks.view import Access, AccessError, ArrayView, TextView
from canaries.base import CanarySet, Secret
from canaries.errors import InputError
from canaries.records import Dataset, TextRecords
from canaries.secrets import Secrets

ALPHABET = string.ascii_lowercase + string.digits + " .:"
TEXT = Dataset("text", TextRecords(("abc",)), TextRecords(()), TextRecords(()))


def table(seed: int, spread: float = 1.0, step: float = 0.0) -> Table:
    return Table(seed, spread, step)


class Table:
    """A next-character distribution that is a fixed random function of the last few tokens.

    A `step` above 0 rounds the logits to it, which makes many ties.
    """

    def __init__(self, seed: int, spread: float, step: float) -> None:
        rng = np.random.default_rng(seed)
        logits = rng.normal(size=(997, len(ALPHABET) + 1)) * spread
        logits = np.round(logits / step) * step if step else logits
        logits[:, 0] = -np.inf
        self.rows = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        self.memory: dict[bytes, int] = {}

    def memorise(self, secret: Secret, tokens: NDArray[np.int64]) -> None:
        """From now on every character of `tokens` is the sure one after those before it."""
        for i in range(len(secret.prefix), len(tokens)):
            self.memory[tokens[:i].tobytes()] = tokens[i]

    def next_token(self, prefixes: NDArray[np.int64]) -> NDArray[np.float64]:
        weights = 3 ** np.arange(prefixes.shape[1], dtype=np.int64)[::-1] % 997
        answer = self.rows[(prefixes * weights).sum(axis=1) % 997].copy()
        for row, prefix in zip(answer, prefixes, strict=True):
            if self.memory and (known := self.memory.get(prefix.tobytes())) is not None:
                row[1:] = -20.0
                row[known] = -1e-6
        return answer

    def score(self, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
        columns = [self.next_token(tokens[:, :t])[np.arange(len(tokens)), tokens[:, t]] for t in range(tokens.shape[1])]
        return np.stack(columns, axis=1)


def view_of(*tables: Table) -> TextView:
    return TextView(
        lambda x: np.stack([t.next_token(x) for t in tables]),
        lambda x: np.stack([t.score(x) for t in tables]),
        len(tables),
        ALPHABET,
    )


def brute_force(model: Table, view: TextView, secret: Secret) -> tuple[int, float, str]:
    """Rank of the secret with ties against it, its log-probability, and what greedy decoding gives."""
    values = ["".join(v) for v in itertools.product(secret.alphabet, repeat=len(secret.value))]
    texts = view.encode([secret.prefix + v for v in values])
    each = model.score(texts)[:, len(secret.prefix) :].sum(axis=1)
    own = each[values.index(secret.value)]
    decoded = ""
    for _ in secret.value:
        decoded += ALPHABET[int(model.next_token(view.encode([secret.prefix + decoded]))[0].argmax()) - 1]
    return int((each >= own - view.tie).sum()), own, decoded


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    digits=st.integers(1, 3),
    spread=st.sampled_from([0.0, 0.3, 2.0]),
    step=st.sampled_from([0.0, 0.5]),
    block=st.sampled_from([1, 200, 1 << 19]),
)
def test_rank_and_decoding_are_those_of_brute_force(
    seed: int, digits: int, spread: float, step: float, block: int
) -> None:
    canaries = Secrets(digits=digits).make(TEXT, 3, np.random.default_rng(seed), references=1)
    tables = [table(seed, spread, step), table(seed + 1, spread, step)]
    view = view_of(*tables)
    with pytest.MonkeyPatch.context() as patch:
        for module in (attacks.view.texts, attacks.extraction.rank):
            patch.setattr(module, "BLOCK", block)
        _, evidence = Extraction().score(view, canaries, seed=0)
    for (m, model), (c, secret) in itertools.product(enumerate(tables), enumerate(canaries.secrets)):
        rank, _, decoded = brute_force(model, view, secret)
        assert evidence["exposure"][m, c] == pytest.approx(digits * np.log2(10) - np.log2(rank), abs=1e-9)
        assert evidence["exposure_cap"][m, c] == evidence["exposure"][m, c]
        assert evidence["exact"][m, c]
        assert evidence["guessed"][m, c] == (rank == 1)
        assert evidence["top_100"][m, c] == (rank <= 100)
        if not step and spread:
            assert evidence["extracted"][m, c] == (decoded == secret.value)


def test_where_all_values_tie_nothing_is_exposed() -> None:
    canaries = Secrets(digits=3).make(TEXT, 4, np.random.default_rng(0))
    score, evidence = Extraction().score(view_of(table(0, spread=0.0)), canaries, seed=0)
    assert (evidence["exposure"] == 0).all()
    assert not evidence["extracted"].any()
    assert not evidence["guessed"].any()
    np.testing.assert_allclose(score, 0, atol=1e-9)


def test_a_memorised_secret_is_found_with_few_queries() -> None:
    canaries = Secrets().make(TEXT, 6, np.random.default_rng(0))
    model = table(0)
    view = view_of(model, table(0))
    for secret in canaries.secrets[:3]:
        model.memorise(secret, view.encode([secret.prefix + secret.value])[0])
    alone = view_of(model)
    few = CanarySet(
        canaries.design,
        canaries.ids[:3],
        canaries.records.take(slice(3)),
        canaries.repetitions[:3],
        canaries.reference[:3],
        canaries.secrets[:3],
    )
    score, evidence = Extraction().score(alone, few, seed=0)
    assert alone.queries < 3 * 6 + 3 * 6 + 3 + 1
    assert evidence["extracted"].all()
    assert evidence["guessed"].all()
    np.testing.assert_allclose(evidence["exposure"], np.log2(10**6))
    both, beside = Extraction().score(view, few, seed=0)
    np.testing.assert_array_equal(both[:1], score)
    assert not beside["extracted"][1].any()
    assert (beside["exposure"][0] > beside["exposure"][1]).all()


def test_secrets_never_inserted_are_at_chance() -> None:
    canaries = Secrets(digits=3).make(TEXT, 1000, np.random.default_rng(5))
    _, evidence = Extraction().score(view_of(table(3)), canaries, seed=0)
    exposure = evidence["exposure"][0]
    assert exposure.mean() == pytest.approx(1 / np.log(2), abs=0.2)  # standard error 1.44 / sqrt(1000) = .046
    assert evidence["guessed"].mean() < 0.01


def test_canaries_of_different_lengths_are_scored_as_if_alone() -> None:
    made = [Secrets(digits=d, name_letters=d).make(TEXT, 2, np.random.default_rng(d)) for d in (1, 2)]
    texts = tuple(t for m in made for t in m.records.texts)  # type: ignore[union-attr]
    mixed = CanarySet(
        "secrets",
        ("a", "b", "c", "d"),
        TextRecords(texts),
        np.ones(4, np.int64),
        np.zeros(4, bool),
        made[0].secrets + made[1].secrets,
    )
    view = view_of(table(1))
    _, evidence = Extraction().score(view, mixed, seed=0)
    for i, m in enumerate(made):
        _, alone = Extraction().score(view, m, seed=0)
        for name, array in alone.items():
            np.testing.assert_array_equal(evidence[name][:, 2 * i : 2 * i + 2], array)


def test_the_score_is_the_record_standardised_by_the_models_own_canaries() -> None:
    model = table(4)
    view = view_of(model, table(5))
    canaries = Secrets(digits=1).make(TEXT, 3, np.random.default_rng(0), references=2)
    score, _ = Extraction().score(view, canaries, seed=7)
    record = model.score(view.encode(canaries.records.texts)).sum(axis=1)  # type: ignore[union-attr]
    middle = np.median(record)
    np.testing.assert_allclose(score[0], (record - middle) / (middle - np.percentile(record, 16)))


def test_what_it_cannot_attack_is_named() -> None:
    canaries = Secrets().make(TEXT, 2, np.random.default_rng(0))
    bare = CanarySet("other", canaries.ids, canaries.records, canaries.repetitions, canaries.reference)
    with pytest.raises(InputError, match="design 'other' has none"):
        Extraction().score(view_of(table(0)), bare, seed=0)
    with pytest.raises(InputError, match="got ArrayView"):
        Extraction().score(ArrayView(lambda x: np.ones((1, len(x), 1)), 1), canaries, seed=0)
    with pytest.raises(InputError, match="width >= 1, got width = 0"):
        Extraction(width=0)
    with pytest.raises(InputError, match="outside the model's alphabet"):
        Extraction().score(view_of(table(0)), Secrets("{name}={email:1}").make(TEXT, 1, np.random.default_rng(0)), 0)


def test_it_asks_for_no_more_than_token_log_probabilities() -> None:
    canaries = Secrets(digits=2).make(TEXT, 2, np.random.default_rng(0))
    view = view_of(table(0))
    observed = Extraction().observe(view, canaries, seed=0)
    assert observed.ids == canaries.ids
    with pytest.raises(AccessError):
        Extraction().observe(view.grant(Access.LOSS), canaries, seed=0)
