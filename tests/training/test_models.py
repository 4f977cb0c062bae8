"""Architectures: their shapes, their seeds, and the views of them."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from attacks.view import Access
from audit.training.models import CNN, MLP, Softmax
from audit.training.text_models import CharacterNGram
from canaries.errors import InputError
from canaries.records import ArrayRecords, TextRecords

RNG = np.random.default_rng(0)
ROWS = ArrayRecords(RNG.normal(size=(7, 5)), RNG.integers(3, size=7), 3)
IMAGES = ArrayRecords(RNG.normal(size=(7, 2, 8, 8)), RNG.integers(4, size=7), 4)
TEXTS = TextRecords(("abc", "the access code", ""))


def parameters(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("model", "records", "count"),
    [
        (Softmax(), ROWS, 5 * 3 + 3),
        (Softmax(), IMAGES, 128 * 4 + 4),
        (MLP((6,)), ROWS, 5 * 6 + 6 + 6 * 3 + 3),
        (MLP((6, 4)), ROWS, 5 * 6 + 6 + 6 * 4 + 4 + 4 * 3 + 3),
        (CNN((4,), groups=2), IMAGES, 4 * 2 * 9 + 4 + 2 * 4 + 4 * 16 * 4 + 4),
        (CNN((4, 8)), IMAGES, 4 * 2 * 9 + 4 + 2 * 4 + 8 * 4 * 9 + 8 + 2 * 8 + 8 * 4 * 4 + 4),
    ],
    ids=repr,
)
def test_every_parameter_is_accounted_for(model, records, count):
    module = model.build(records, 0)
    assert parameters(module) == count
    inputs, targets = model.tensors(records)
    assert module(inputs).shape == (7, records.classes)
    assert targets.tolist() == records.y.tolist()


@pytest.mark.parametrize("model", [Softmax(), MLP(), CNN()], ids=repr)
def test_parameters_depend_on_the_seed_alone(model):
    torch.manual_seed(0)
    first = model.build(IMAGES, 5).state_dict()
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    second, other = model.build(IMAGES, 5).state_dict(), model.build(IMAGES, 6).state_dict()
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("model", [Softmax(), MLP(), CNN()], ids=repr)
def test_a_classifier_s_view(model):
    modules = [model.build(IMAGES, seed).eval() for seed in (1, 2)]
    view = model.view(modules, IMAGES)
    p = view.probabilities(IMAGES.x)
    assert view.access is Access.PROBABILITIES
    assert p.shape == (2, 7, 4)
    np.testing.assert_allclose(p.sum(axis=2), 1, atol=1e-12)
    with torch.no_grad():
        for i, module in enumerate(modules):
            loss = torch.nn.functional.cross_entropy(module(torch.from_numpy(IMAGES.x)), torch.from_numpy(IMAGES.y))
            assert view.loss(IMAGES)[i].mean() == pytest.approx(float(loss), rel=1e-5)
    np.testing.assert_array_equal(view.labels(IMAGES.x), p.argmax(axis=2))


def test_the_character_model_reads_and_predicts_the_same_tokens():
    model = CharacterNGram(context=3, embedding=2, hidden=5, length=20)
    inputs, targets = model.tensors(TEXTS)
    assert inputs.shape == (3, 20)
    assert torch.equal(inputs, targets)
    assert model.alphabet[inputs[0, 1] - 1] == "b"
    assert (inputs[2] == 0).all()
    tokens = len(model.alphabet) + 1
    assert parameters(model.build(TEXTS, 0)) == tokens * 2 + 6 * 5 + 5 + 5 * (tokens - 1) + tokens - 1


def test_the_criterion_of_texts_divides_by_the_fixed_length():
    model = CharacterNGram(length=20)
    targets = model.tensors(TEXTS)[1]
    criterion = model.criterion()
    criterion.reduction = "none"
    uniform = torch.zeros(3, 20, len(model.alphabet) + 1)
    one = math.log(len(model.alphabet) + 1)
    np.testing.assert_allclose(criterion(uniform, targets), [3 * one / 20, 15 * one / 20, 0], rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: MLP(()), r"hidden to be one or more widths >= 1, got \[\]"),
        (lambda: MLP((3, 0)), r"hidden to be one or more widths >= 1, got \[3, 0\]"),
        (lambda: CNN(()), r"multiples of groups \(4\), got \[\]"),
        (lambda: CNN((6,)), r"multiples of groups \(4\), got \[6\]"),
        (lambda: CNN((8,), groups=0), r"multiples of groups \(0\), got \[8\]"),
        (lambda: CharacterNGram(hidden=0), "hidden >= 1, got 0"),
        (lambda: CharacterNGram(alphabet="aba"), "distinct characters, got 'aba'"),
        (lambda: CharacterNGram(alphabet=""), "distinct characters, got ''"),
    ],
)
def test_impossible_architectures(make, sentence):
    with pytest.raises(InputError, match=sentence):
        make()


def test_threads_do_not_share_random_numbers():
    model = MLP((64,))
    alone = [model.build(ROWS, seed).state_dict() for seed in range(4)]

    def draw(seed):
        state = model.build(ROWS, seed).state_dict()
        return all(torch.equal(state[name], alone[seed][name]) for name in state)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(draw, [i % 4 for i in range(800)]))
