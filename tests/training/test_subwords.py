"""Byte-pair tokens: a tiny tokeniser made here, the same secrets as by characters, and what cannot be right refused."""

from __future__ import annotations

import importlib.util
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from attacks.extraction.best_first import BestFirst
from attacks.extraction.exposure import Extraction
from attacks.extraction.prefix_suffix import PrefixSuffix
from attacks.extraction.task import tasks
from attacks.view import PAD, TextView
from audit.training.ensemble import Ensemble
from audit.training.subwords import PREFIX, Subwords, load_subwords
from audit.training.text_models import CharacterNGram
from canaries.errors import InputError
from canaries.records import Dataset, TextRecords
from canaries.secrets import Secrets
from canaries.spaces import space_of

tokenizers = pytest.importorskip("tokenizers")

TEXTS = [
    "the access code of the door is 12 34",
    "the code of the access door, the code 56.",
    "codes: 1 2 3 4 5 6 7 8 9 0",
]


def make(path: Path, single_digits: bool = True, kind: str = "BPE") -> str:
    """A byte-level tokeniser with some sixty merges; digits apart, or merged like everything else."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    steps = [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    if single_digits:
        steps.insert(0, pre_tokenizers.Digits(individual_digits=True))
    if kind == "BPE":
        tokenizer = Tokenizer(models.BPE())
        trainer = trainers.BpeTrainer(
            vocab_size=320, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
        )
    else:
        tokenizer = Tokenizer(models.Unigram())
        trainer = trainers.UnigramTrainer(vocab_size=320, show_progress=False)
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Sequence(steps), decoders.ByteLevel()
    tokenizer.train_from_iterator([t + f" {n}" for t in TEXTS for n in range(1000, 1100)], trainer)
    tokenizer.save(str(path))
    return str(path)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make(tmp_path_factory.mktemp("bpe") / "tokenizer.json")


@pytest.fixture(scope="module")
def canaries():
    dataset = Dataset("d", TextRecords(tuple(TEXTS)), TextRecords(()), TextRecords(()))
    return Secrets(digits=3, repetitions=(1,)).make(dataset, 6, np.random.default_rng(0), 2)


def view_of(path: str, canaries, models: int = 2) -> TextView:
    model = CharacterNGram(length=60, tokens=PREFIX + path, context=4, hidden=8)
    modules = [model.build(canaries.records, seed) for seed in range(models)]
    with torch.no_grad():
        for module in modules:
            for parameter in module.parameters():
                parameter.mul_(4)  # so that the values differ in probability
    return model.view(modules, canaries.records)  # type: ignore[return-value]


def test_tokens_are_the_tokenisers_and_shorter_than_characters(path: str) -> None:
    model = CharacterNGram(length=40, tokens=PREFIX + path)
    inputs, _ = model.tensors(TextRecords(tuple(TEXTS)))
    raw = tokenizers.Tokenizer.from_file(path)
    for row, text in zip(inputs.numpy(), TEXTS, strict=True):
        ids = row[row != PAD] - 1
        assert ids.tolist() == raw.encode(text, add_special_tokens=False).ids
        assert raw.decode(ids.tolist()) == text
        assert len(ids) < len(text)
    with pytest.raises(InputError, match="reads 5 tokens a record"):
        CharacterNGram(length=5, tokens=PREFIX + path).tensors(TextRecords(tuple(TEXTS)))
    folder = CharacterNGram(tokens=PREFIX + str(Path(path).parent))
    assert folder.outside() == model.outside() != ""


def test_ranks_and_best_guesses_equal_brute_force_over_whole_texts(path: str, canaries) -> None:
    view = view_of(path, canaries)
    evidence = Extraction().observe(view, canaries, 0).evidence
    best = BestFirst(k=10).observe(view, canaries, 0).evidence
    for column, secret in enumerate(canaries.secrets):
        values = ["".join(d) for d in itertools.product("0123456789", repeat=3)]
        prefix = view.encode([secret.prefix])[0]
        tokens = view.encode([secret.prefix + value for value in values])  # the tokeniser's own spelling
        assert (tokens[:, : len(prefix)] == prefix).all()
        assert tokens.shape[1] == len(prefix) + 3
        total = view.token_log_probabilities(tokens)[:, :, len(prefix) :].sum(axis=2)
        own = total[:, values.index(secret.value)]
        rank = (total >= own[:, None] - 1e-5).sum(axis=1)
        np.testing.assert_allclose(evidence["exposure"][:, column], np.log2(1000) - np.log2(rank))
        np.testing.assert_array_equal(best["top_10"][:, column], rank <= 10)
    assert evidence["exact"].all()


def test_prefixes_of_different_lengths_in_tokens_are_grouped(path: str, canaries) -> None:
    view = view_of(path, canaries)
    _, groups = tasks(view, canaries, "extraction")
    columns = np.concatenate([task.columns for task in groups])
    assert sorted(columns) == list(range(len(canaries)))
    for task in groups:
        assert (task.prefix != PAD).all()
    assert PrefixSuffix(prefix=3).observe(view, canaries, 0).score.shape == (2, 8)


def test_what_byte_pairs_cannot_search_is_refused(tmp_path: Path, path: str, canaries) -> None:
    dataset = Dataset("d", TextRecords(tuple(TEXTS)), TextRecords(()), TextRecords(()))
    merged = make(tmp_path / "merged.json", single_digits=False)
    with pytest.raises(InputError, match=r"each of their characters has to be one token, but in merged\.json '.*"):
        Extraction().observe(view_of(merged, canaries), canaries, 0)
    words = Secrets("{name} {words:2}", repetitions=(1,)).make(dataset, 4, np.random.default_rng(0), 2)
    with pytest.raises(InputError, match="one token"):
        Extraction().observe(view_of(path, words), words, 0)
    unigram = load_subwords(make(tmp_path / "unigram.json", kind="unigram"))
    assert unigram.encode(["the code"]).any()  # it may be learnt, and not searched
    with pytest.raises(InputError, match=r"byte-pair tokens \(BPE\), got Unigram in unigram\.json"):
        unigram.letters(canaries.secrets[0].space, [("the code", ".")])
    with pytest.raises(InputError, match=r"Cannot write a text in the tokens of unigram\.json: .* unknown token"):
        unigram.encode(["\u2603"])


def test_a_tokeniser_is_read_again_when_its_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    before = load_subwords(make(path))
    assert load_subwords(str(path)) is before
    make(path, single_digits=False)
    after = load_subwords(str(path))
    assert len(after.ids(" 1000")) < len(before.ids(" 1000")) == 5


def test_equal_tokenisers_are_equal(tmp_path: Path) -> None:
    one, other = (
        Subwords(tokenizers.Tokenizer.from_file(make(tmp_path / name)), name) for name in ("a.json", "b.json")
    )
    assert one == other
    assert hash(one) == hash(other)
    assert one != Subwords(tokenizers.Tokenizer.from_file(make(tmp_path / "c.json", single_digits=False)), "c")


def test_gaps_between_ids_count() -> None:
    gaps = Subwords(tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0, "b": 7}, [])), "made")
    assert len(gaps) == 8
    assert gaps.ids("ab") == [1, 8]


def test_special_tokens_in_a_text_are_text() -> None:
    made = tokenizers.Tokenizer(tokenizers.models.BPE({c: i for i, c in enumerate("ab</s>")}, []))
    made.add_special_tokens(["</s>"])
    subwords = Subwords(made, "made")
    assert len(subwords) == 7
    assert subwords.ids("ab</s>") == [1, 2, 3, 4, 5, 6]


def test_what_is_missing_is_named(tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="No such file"):
        load_subwords(str(tmp_path / "none"))
    pytest.importorskip("gguf")
    (tmp_path / "bad.gguf").write_bytes(b"GGUF damaged")
    with pytest.raises(InputError, match=r"Cannot read a tokeniser from .*bad.gguf"):
        load_subwords(str(tmp_path / "bad.gguf"))
    (tmp_path / "bad.json").write_text("{}", "utf-8")
    with pytest.raises(InputError, match="Cannot read a tokeniser from"):
        load_subwords(str(tmp_path / "bad.json"))
    with pytest.raises(InputError, match="'huggingface:PATH', got 'words'"):
        CharacterNGram(tokens="words")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"install it with: firedamp\[hf\]"):
        load_subwords(str(tmp_path / "other.json"))


def test_the_ensemble_trains_on_byte_pairs_and_its_key_holds_the_tokeniser(path: str, canaries, tmp_path: Path) -> None:
    dataset = Dataset("d", TextRecords(tuple(TEXTS)), TextRecords(()), TextRecords(()))
    trainer = Ensemble(
        model=CharacterNGram(length=48, tokens=PREFIX + path, context=8, hidden=32),
        noise_multiplier=0.0,
        sample_rate=1.0,
        steps=100,
        learning_rate=0.1,
        momentum=0.9,
    )
    trainer.check(dataset, canaries)
    inserted = np.ones((1, len(canaries)), dtype=bool) & ~canaries.reference
    seen = Extraction().observe(trainer.train(dataset, canaries, inserted, [0]), canaries, 0).evidence
    assert seen["guessed"][0, ~canaries.reference].mean() > 0.6 > seen["guessed"][0, canaries.reference].mean()
    other = tmp_path / "tokenizer.json"
    other.write_text(Path(path).read_text("utf-8") + "\n", "utf-8")
    assert replace(trainer, model=CharacterNGram(tokens=PREFIX + str(other))).outside() != trainer.outside() != ""


@pytest.mark.parametrize("form", ["{digits:1}", "{digits:2}", "{letters:1}{digits:1}", "{letters:2}-{digits:1}"])
def test_a_last_character_that_merges_with_the_suffix_is_refused(form: str) -> None:
    letters = "abcdefghijklmnopqrstuvwxyz0123456789 .-"
    merges = [(digit, ".") for digit in "01234"]
    pieces = [*letters, *("".join(pair) for pair in merges)]
    model = tokenizers.models.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=merges)
    subwords = Subwords(tokenizers.Tokenizer(model), "merging.json")
    space = space_of(form)
    with pytest.raises(InputError, match=r"merging\.json '[0-4]' is not a token of its own after 'code .*' and before"):
        subwords.letters(space, [("code ", ".")])
    found = subwords.letters(space, [("code ", " ")])
    assert {c: pieces[i] for i, c in enumerate(found) if c} == {c: c for c in space.alphabet}
