"""Searches and samplers against brute force over small spaces, with models that are random tables."""

from __future__ import annotations

import math
import string

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from attacks.extraction import BestFirst, Decoding, Extraction, PrefixSuffix, Sampling, SecretMembership
from attacks.extraction.decoding import beam_search
from attacks.extraction.rank import count_rivals, sample_rivals
from attacks.extraction.task import Task, tasks
from attacks.view import Access, LossView, TextView
from canaries.base import CanarySet
from canaries.errors import InputError
from canaries.passages import Passages
from canaries.records import Dataset, TextRecords
from canaries.secrets import Secrets

ALPHABET = string.ascii_lowercase + string.digits + " -"
TEXT = Dataset("text", TextRecords(("abc",)), TextRecords(tuple(f"{i} passage" for i in range(9))), TextRecords(()))
TEMPLATES = ["{name}{digits:3}", "{name}{card:4}", "{name}{letters:1}-{digits:1}", "{name}{words:1}"]


class Table:
    """A next-token distribution that is a fixed random function of the last three tokens."""

    def __init__(self, seed: int, spread: float = 1.5, digits: float = 0.0) -> None:
        rng = np.random.default_rng(seed)
        logits = rng.normal(size=(499, len(ALPHABET) + 1)) * spread
        logits[:, 27:37] += digits  # how much likelier digits are
        logits[:, 0] = -np.inf
        self.rows = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))

    def next_token(self, prefixes: NDArray[np.int64]) -> NDArray[np.float64]:
        last = np.pad(prefixes, ((0, 0), (3, 0)))[:, -3:]
        return self.rows[(last * np.array([7, 31, 1])).sum(axis=1) % 499]

    def score(self, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
        columns = [self.next_token(tokens[:, :t])[np.arange(len(tokens)), tokens[:, t]] for t in range(tokens.shape[1])]
        return np.stack(columns, axis=1)


def view_of(*models: Table, each: bool = True) -> TextView:
    def next_token_of(
        rows: NDArray[np.int64], prefixes: NDArray[np.int64], tokens: NDArray[np.int64] | None
    ) -> NDArray[np.float64]:
        answers = np.empty((len(prefixes), len(ALPHABET) + 1))
        for m, model in enumerate(models):
            answers[rows == m] = model.next_token(prefixes[rows == m])
        return answers if tokens is None else answers[:, tokens]

    return TextView(
        lambda x: np.stack([m.next_token(x) for m in models]),
        lambda x: np.stack([m.score(x) for m in models]),
        len(models),
        ALPHABET,
        next_token_of=next_token_of if each else None,
    )


def made(template: str, count: int = 2, seed: int = 0) -> CanarySet:
    return Secrets(template=template, name_letters=2).make(TEXT, count, np.random.default_rng(seed))


def one_task(view: TextView, canaries: CanarySet) -> Task:
    _, (task,) = tasks(view, canaries, "test")
    return task


def listed(model: Table, view: TextView, task: Task, row: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Every value of the space as tokens, and its log-probability after the prefix, by brute force."""
    values = [task.space.value(i) for i in range(task.space.size)]
    tokens = view.encode(values)
    prefix = np.repeat(task.prefix[row : row + 1], len(values), axis=0)
    scored = model.score(np.concatenate([prefix, tokens], axis=1))[:, prefix.shape[1] :]
    return tokens, np.where(tokens > 0, scored, 0).sum(axis=1)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(TEMPLATES), st.booleans())
def test_the_rank_is_that_of_brute_force_in_every_kind_of_space(seed: int, template: str, each: bool) -> None:
    models = Table(seed), Table(seed + 1)
    view, canaries = view_of(*models, each=each), made(template, seed=seed)
    for task in tasks(view, canaries, "test")[1]:
        truth, _ = task.truth(view)
        found = count_rivals(view, task, truth, width=10**6)
        assert found.exact.all()
        for (m, model), row in ((pair, row) for pair in enumerate(models) for row in range(len(task))):
            _, log_p = listed(model, view, task, row)
            assert found.least[m * len(task) + row] == (log_p >= truth[m, row] - 1e-5).sum() - 1


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(TEMPLATES), st.integers(1, 8))
def test_a_narrow_search_holds_the_rank_between_its_bounds_and_pairs_stay_apart(
    seed: int, template: str, width: int
) -> None:
    models = Table(seed), Table(seed + 1)
    both, canaries = view_of(*models), made(template, seed=seed)
    alone = view_of(models[1])
    for task in tasks(both, canaries, "test")[1]:
        truth, _ = task.truth(both)
        exact = count_rivals(both, task, truth, width=10**6).least
        narrow = count_rivals(both, task, truth, width)
        assert (narrow.least <= exact).all()
        assert (exact <= narrow.most).all()
        assert (narrow.exact <= (narrow.least == exact)).all()
        single = count_rivals(alone, task, truth[1:], width)
        np.testing.assert_array_equal(single.least, narrow.least[len(task) :])
        np.testing.assert_array_equal(single.most, narrow.most[len(task) :])


@pytest.mark.parametrize("template", ["{name}{digits:3}", "{name}{words:1}"])
def test_sampled_ranks_are_unbiased(template: str) -> None:
    model = Table(5)
    view, canaries = view_of(model), made(template, count=6)
    for task in tasks(view, canaries, "test")[1]:
        truth, _ = task.truth(view)
        exact = count_rivals(view, task, truth, width=10**6).least
        draws = np.array([sample_rivals(view, task, truth, np.arange(len(exact)), 400, seed) for seed in range(30)])
        error = draws.std(axis=0, ddof=1) / np.sqrt(len(draws)) + 1e-9
        assert (np.abs(draws.mean(axis=0) - exact) < 4.5 * error + 1e-6).all()
        assert (draws.std(axis=0) < 0.25 * (exact + 2)).all()


def test_estimates_are_marked_and_capped() -> None:
    view, canaries = view_of(Table(1)), made("{name}{digits:3}", count=30)
    _, exact = Extraction().score(view, canaries, seed=0)
    _, sampled = Extraction(width=5, samples=2000).score(view, canaries, seed=0)
    assert exact["exact"].all()
    assert not sampled["exact"].all()
    assert (sampled["exposure_cap"] >= exact["exposure"] - 1e-9).all()
    assert (sampled["exposure_cap"] >= sampled["exposure"] - 1e-9).all()
    np.testing.assert_allclose(sampled["exposure"], exact["exposure"], atol=0.5)
    assert (sampled["guessed"] <= exact["guessed"]).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(TEMPLATES), st.integers(1, 12), st.integers(1, 5))
def test_best_first_finds_the_true_top_k_in_order(seed: int, template: str, k: int, batch: int) -> None:
    models = Table(seed), Table(seed + 1)
    view, canaries = view_of(*models), made(template, seed=seed)
    for task in tasks(view, canaries, "test")[1]:
        found = BestFirst(k=k, nodes=10**6, batch=batch).search(view, task)
        for (m, model), row in ((pair, row) for pair in enumerate(models) for row in range(len(task))):
            tokens, log_p = listed(model, view, task, row)
            best = np.sort(log_p)[::-1][:k]
            mine = {tuple(t[t > 0].tolist()): p for t, p in zip(tokens, log_p, strict=True)}
            np.testing.assert_allclose([mine[path] for path in found[m][row]], best, atol=1e-9)


def test_best_first_proves_what_it_found_when_nodes_run_out() -> None:
    view, canaries = view_of(Table(3)), made("{name}{digits:3}", count=5)
    _, whole = BestFirst(k=50, nodes=10**5).score(view, canaries, seed=0)
    _, few = BestFirst(k=50, nodes=30).score(view, canaries, seed=0)
    assert (whole["found"] == 50).all()
    assert (few["found"] < 50).all()
    assert (few["top_50"] <= whole["top_50"]).all()
    task = one_task(view, canaries)
    (long,), (short,) = (BestFirst(k=50, nodes=n).search(view, task) for n in (10**5, 30))
    assert all(a[: len(b)] == b for a, b in zip(long, short, strict=True))


def test_a_wide_beam_is_exhaustive_and_a_narrow_one_is_greedy() -> None:
    models = Table(2), Table(4)
    view, canaries = view_of(*models), made("{name}{digits:2}", count=3)
    task = one_task(view, canaries)
    wide = beam_search(view, task, beams=len(ALPHABET) ** 2)
    for m, model in enumerate(models):
        for row in range(3):
            pairs = np.stack(np.meshgrid(np.arange(1, len(ALPHABET) + 1), np.arange(1, len(ALPHABET) + 1)), -1)
            tokens = pairs.reshape(-1, 2)
            prefix = np.repeat(task.prefix[row : row + 1], len(tokens), axis=0)
            log_p = model.score(np.concatenate([prefix, tokens], axis=1))[:, -2:].sum(axis=1)
            np.testing.assert_array_equal(wide[m, row, 0], tokens[log_p.argmax()])
    greedy = beam_search(view, task, beams=1)
    text = np.concatenate([task.prefix, greedy[0, :, 0, :1]], axis=1)
    np.testing.assert_array_equal(greedy[0, :, 0, 1], models[0].next_token(text).argmax(axis=1))
    _, evidence = Decoding(beams=len(ALPHABET) ** 2).score(view, canaries, seed=0)
    assert evidence["beam"].all()
    _, narrow = Decoding(beams=1).score(view, canaries, seed=0)
    np.testing.assert_array_equal(narrow["beam"], narrow["extracted"])


@pytest.mark.parametrize(
    "sampler", [Sampling(top_k=0), Sampling(top_k=12), Sampling(top_k=0, nucleus=0.9, temperature=1.3)]
)
def test_emission_probabilities_are_those_of_drawing(sampler: Sampling) -> None:
    model = Table(8, spread=2.5, digits=4.0)
    view = view_of(model)
    canaries = made("{name}{digits:2}", count=40)
    _, evidence = sampler.score(view, canaries, seed=0)
    emission = evidence["emission"][0]
    draws, rng = 4000, np.random.default_rng(1)
    hits = np.empty(40)
    for i, secret in enumerate(canaries.secrets):
        tokens = np.repeat(view.encode([secret.prefix]), draws, axis=0)
        for _ in range(2):
            q = sampler.truncated(model.next_token(tokens))
            np.testing.assert_allclose(q.sum(axis=1), 1)
            drawn = (rng.random((draws, 1)) > q.cumsum(axis=1)).sum(axis=1)
            tokens = np.column_stack([tokens, drawn])
        hits[i] = (tokens[:, -2:] == view.encode([secret.value])).all(axis=1).mean()
    assert (np.abs(hits - emission) < 4.5 * np.sqrt(np.maximum(emission, 1e-4) / draws) + 1e-3).all()
    assert (emission > 0.005).sum() >= 3  # not all so rare that anything agrees
    several = 1 - (1 - emission) ** sampler.draws
    assert abs(evidence["extracted"].sum() - several.sum()) < 4 * np.sqrt((several * (1 - several)).sum() + 0.1)


def test_every_model_draws_for_itself() -> None:
    """Equal models guess a secret in some of the models, not in all or none; a number decides, not a place."""
    model = Table(8, spread=2.5, digits=4.0)
    canaries = made("{name}{digits:2}", count=24)
    view = view_of(*[model] * 300)
    _, evidence = Sampling(top_k=0).score(view, canaries, seed=0)
    p, hits = evidence["emission"][0], evidence["guessed"].sum(axis=0)
    assert (np.abs(hits - 300 * p) < 4.5 * np.sqrt(300 * p * (1 - p)) + 1).all()
    assert ((hits > 0) & (hits < 300)).sum() >= 3
    alone = view_of(model)
    alone.keys = (view.keys[17],)
    _, its_own = Sampling(top_k=0).score(alone, canaries, seed=0)
    np.testing.assert_array_equal(its_own["guessed"][0], evidence["guessed"][17])


def test_truncation_keeps_the_likeliest_and_just_enough_of_them() -> None:
    p = np.log(np.array([0.0, 0.5, 0.3, 0.15, 0.05]) + 1e-300)
    np.testing.assert_allclose(Sampling(top_k=2).truncated(p), [0, 0.625, 0.375, 0, 0], atol=1e-12)
    np.testing.assert_allclose(Sampling(top_k=0, nucleus=0.79).truncated(p), [0, 0.625, 0.375, 0, 0], atol=1e-12)
    np.testing.assert_allclose(Sampling(top_k=0, nucleus=0.81).truncated(p)[3], 0.15 / 0.95)
    np.testing.assert_allclose(Sampling(top_k=1).truncated(p), [0, 1, 0, 0, 0], atol=1e-12)


def test_membership_compares_a_secret_with_random_ones() -> None:
    canaries = made("{name}={digits:3}".replace("=", "-"), count=20)
    known = set(canaries.records.texts[:10])  # type: ignore[union-attr]
    rng = np.random.default_rng(0)
    view = LossView(lambda records: rng.normal(10, 1, len(records))[None] - 8 * np.isin(records.texts, list(known)), 1)
    score, evidence = SecretMembership().score(view.grant(Access.LOSS), canaries, seed=0)
    assert score[0, :10].min() > 4 > score[0, 10:].max()
    assert not evidence


def test_memorised_passages_come_back() -> None:
    canaries = Passages().make(TEXT, 5, np.random.default_rng(0))
    tokens = view_of(Table(0)).encode(canaries.records.texts)  # type: ignore[union-attr]

    class Memory(Table):
        def next_token(self, prefixes: NDArray[np.int64]) -> NDArray[np.float64]:
            answer = super().next_token(prefixes).copy()
            for row, prefix in zip(answer, prefixes, strict=True):
                for whole in tokens[:3]:
                    if len(prefix) < len(whole) and (whole[: len(prefix)] == prefix).all():
                        row[:] = -20
                        row[whole[len(prefix)]] = -1e-9

            return answer

    score, evidence = PrefixSuffix(prefix=3).score(view_of(Memory(0), Table(1)), canaries, seed=0)
    assert evidence["reconstructed"][0, :3].all()
    assert not evidence["reconstructed"][1].any()
    assert (evidence["similarity"][0, :3] == 1).all()
    assert score[0, :3].min() > score[1].max()
    assert score.shape == (2, 5)


def test_passages_are_different_records_of_the_pool() -> None:
    made = Passages(repetitions=(1, 4)).make(TEXT, 6, np.random.default_rng(0), references=3)
    assert set(made.records.texts) == set(TEXT.pool.texts)  # type: ignore[union-attr]
    assert made.repetitions.tolist() == [1, 4, 1, 4, 1, 4, 1, 4, 1]
    with pytest.raises(InputError, match="needs 10 records of the pool"):
        Passages().make(TEXT, 10, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (BestFirst, {"k": 0}),
        (Decoding, {"beams": 0}),
        (Sampling, {"nucleus": 0.0}),
        (Sampling, {"draws": 0}),
        (Sampling, {"temperature": math.inf}),
        (Sampling, {"temperature": 1e-320}),
        (Sampling, {"temperature": math.nan}),
        (SecretMembership, {"values": 1}),
        (PrefixSuffix, {"near": 1.5}),
        (Passages, {"repetitions": ()}),
        (Secrets, {"per_record": 0}),
    ],
)
def test_bad_fields_are_named(kind: type, fields: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(fields))):
        kind(**fields)


def test_secrets_that_no_model_saw_are_at_chance_where_ranks_are_sampled() -> None:
    found = []
    for seed in range(10, 16):
        view, canaries = view_of(Table(100 + seed, spread=4.0)), made("{name}{digits:8}", count=100, seed=seed)
        _, evidence = Extraction(width=20, samples=64).score(view, canaries, seed=0)
        assert not evidence["exact"].any()
        assert not evidence["top_100"].any()
        found.append(evidence["exposure"])
    assert np.mean(found) == pytest.approx(1 / np.log(2), abs=0.25)  # standard error 1.44 / sqrt(600) = .059
