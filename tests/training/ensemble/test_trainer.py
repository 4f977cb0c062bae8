"""The trainer: a model depends on its configuration, row and seed; the mechanism is what the accountant needs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from attacks.view import ArrayView, TextView
from audit.mechanism import DPSGD
from audit.training.base import Trainer
from audit.training.ensemble import Ensemble, Speed
from audit.training.models import MLP
from audit.training.text_models import CharacterGRU, CharacterLSTM, CharacterModel, CharacterNGram, CharacterTransformer
from canaries.base import CanarySet
from canaries.errors import InputError
from canaries.records import ArrayRecords, Dataset, TextRecords


def records(n: int, seed: int) -> ArrayRecords:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    return ArrayRecords(rng.normal(size=(n, 1, 4, 4)) + y[:, None, None, None], y, 3)


def data(pool: int = 30) -> tuple[Dataset, CanarySet]:
    dataset = Dataset("blobs", records(40, 0), records(pool, 1), records(20, 2))
    canaries = CanarySet(
        "made", ("a", "b"), records(2, 3), np.array([1, 3], dtype=np.int64), np.zeros(2, dtype=np.bool_)
    )
    return dataset, canaries


TRAINER = Ensemble(model=MLP(hidden=(8,)), steps=8, sample_rate=0.5, learning_rate=0.5, noise_multiplier=0.3)
ROWS = np.array([[True, False], [False, True], [True, True], [False, False]])


def test_a_model_depends_on_its_row_and_seed_alone() -> None:
    dataset, canaries = data()
    view = TRAINER.train(dataset, canaries, ROWS, [1, 2, 3, 4])
    assert isinstance(view, ArrayView)
    together = view.probabilities(dataset.test.x)
    for i in range(4):
        alone = TRAINER.train(dataset, canaries, ROWS[i : i + 1], [i + 1], Speed(rows=3))
        np.testing.assert_allclose(alone.probabilities(dataset.test.x)[0], together[i], rtol=1e-3, atol=1e-5)
    other = TRAINER.train(dataset, canaries, ROWS[:1], [2])
    assert not np.allclose(other.probabilities(dataset.test.x)[0], together[0], atol=1e-3)


@pytest.mark.parametrize("initial", ["shared", "pretrained"])
def test_initial_parameters(initial) -> None:  # type: ignore[no-untyped-def]
    dataset, canaries = data()
    trainer = replace(TRAINER, initial=initial, pretrain_steps=1000, learning_rate=1e-12)
    p = trainer.train(dataset, canaries, ROWS[:2], [1, 2]).probabilities(dataset.test.x)
    np.testing.assert_allclose(p[0], p[1], rtol=1e-4, atol=1e-6)
    accuracy = (p[0].argmax(1) == dataset.test.y).mean()
    assert (accuracy > 0.7) == (initial == "pretrained")


def test_it_is_a_trainer() -> None:
    assert isinstance(TRAINER, Trainer)
    assert TRAINER.with_noise(2.0) == replace(TRAINER, noise_multiplier=2.0)


def test_mechanism() -> None:
    assert TRAINER.mechanism == DPSGD(0.5, 8, 0.3)
    assert replace(TRAINER, sampling="shuffled", sample_rate=0.25, steps=6).mechanism == DPSGD(1.0, 2, 0.3)
    rates = replace(TRAINER, rates=((3, 0.75), (5, 0.25)))
    assert rates.mechanism == DPSGD(0.5, 3, 0.3, ((2, 0.75), (3, 0.25)))


@pytest.mark.parametrize("model", [CharacterNGram, CharacterGRU, CharacterLSTM, CharacterTransformer])
def test_text_models(model: type[CharacterModel]) -> None:
    """Each learns a text that is one character over and over, and its view answers like its scores."""
    texts = TextRecords(("aaaaaaaaaa",) * 30)
    dataset = Dataset("text", texts, texts, texts)
    canaries = CanarySet("made", ("a",), TextRecords(("ab",)), np.ones(1, dtype=np.int64), np.zeros(1, dtype=np.bool_))
    trainer = Ensemble(model=model(length=10, alphabet="ab"), steps=40, learning_rate=0.05, optimizer="adam")
    trainer = replace(trainer, max_grad_norm=10.0, noise_multiplier=0.01)
    trainer.check(dataset, canaries)
    view = trainer.train(dataset, canaries, np.ones((2, 1), dtype=np.bool_), [1, 2])
    assert isinstance(view, TextView)
    assert (view.loss(dataset.test)[:, 0] < 0.5).all()
    prefix = view.encode(["aaa"])
    following = view.next_token_log_probabilities(prefix)[:, 0]
    scored = view.token_log_probabilities(view.encode(["aaab"]))[:, 0, 3]
    np.testing.assert_allclose(following[:, 2], scored, rtol=1e-4)


def test_checkpoints_and_gradient_record() -> None:
    dataset, canaries = data()
    found = TRAINER.fit(dataset, canaries, ROWS, [1, 2, 3, 4], every=4, watch_canaries=True)
    assert sorted(found.checkpoints) == [4, 8]
    assert found.products.shape == (4, 8, 2)
    final = TRAINER.model.view(TRAINER.modules(dataset, found.checkpoints[8]), dataset.train)
    view = TRAINER.train(dataset, canaries, ROWS, [1, 2, 3, 4])
    np.testing.assert_array_equal(final.loss(dataset.test), view.loss(dataset.test))


def test_bad_input() -> None:
    dataset, canaries = data(pool=0)
    with pytest.raises(InputError, match="as many seeds"):
        TRAINER.train(dataset, canaries, ROWS, [1])
    with pytest.raises(InputError, match="no pool"):
        replace(TRAINER, initial="pretrained").train(dataset, canaries, ROWS[:1], [1])
    with pytest.raises(InputError, match="initial"):
        replace(TRAINER, initial="random")  # type: ignore[arg-type]
