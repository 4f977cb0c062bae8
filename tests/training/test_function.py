"""A user's function as a trainer: what it is given, and what it must return."""

import string

import numpy as np
import pytest

from attacks.extraction import Extraction
from attacks.view import Access, ArrayView, LossView, TextView
from audit.training.base import Trainer
from audit.training.function import FunctionTrainer
from canaries import Mislabelled
from canaries.errors import InputError
from canaries.inclusion import training_set
from canaries.records import ArrayRecords, Dataset, TextRecords
from canaries.secrets import Secrets

RNG = np.random.default_rng(0)
PARTS = [ArrayRecords(RNG.normal(size=(12, 4)), RNG.integers(3, size=12), 3) for _ in range(3)]
DATA = Dataset("arrays", *PARTS)
CANARIES = Mislabelled().make(DATA, 4, np.random.default_rng(1))
ROWS = np.array([[True, False, True, True], [False, False, True, False]])
TEXTS = Dataset("texts", *(TextRecords(tuple(f"text {part} {i}" for i in range(9))) for part in range(3)))
SECRETS = Secrets(repetitions=(1, 3)).make(TEXTS, 4, np.random.default_rng(1))


def constant(p):
    return lambda x: np.tile(p, (len(x), 1))


def test_it_is_a_trainer():
    assert isinstance(FunctionTrainer(lambda x, y, seed: constant([1.0])), Trainer)


def test_the_function_is_given_records_labels_and_a_small_seed():
    calls = []

    def train(x, y, seed):
        calls.append((x, y, seed))
        return constant([0.2, 0.3, 0.5])

    view = FunctionTrainer(train).train(DATA, CANARIES, ROWS, [2**40 + 5, 9])
    assert [seed for _, _, seed in calls] == [5, 9]
    for (x, y, _), row in zip(calls, ROWS, strict=True):
        wanted = training_set(DATA.train, CANARIES, row)
        np.testing.assert_array_equal(x, wanted.x)
        np.testing.assert_array_equal(y, wanted.y)
    assert isinstance(view, ArrayView)
    assert (view.models, view.access) == (2, Access.PROBABILITIES)
    np.testing.assert_allclose(view.probabilities(DATA.test.x), np.tile([0.2, 0.3, 0.5], (2, 12, 1)))


def test_labels_are_the_user_s_own():
    seen = []

    def train(x, y, seed):
        seen.append(y)
        return constant([1.0, 0.0, 0.0])

    names = np.array(["ant", "bee", "cat"])
    FunctionTrainer(train, names).train(DATA, CANARIES, ROWS[:1], [1])
    np.testing.assert_array_equal(seen[0], names[training_set(DATA.train, CANARIES, ROWS[0]).y])


def test_texts_come_as_a_list_and_go_as_losses():
    calls = []

    def train(texts, seed):
        calls.append(texts)
        return lambda asked: [float(len(text)) for text in asked]

    view = FunctionTrainer(train).train(TEXTS, SECRETS, ROWS, [1, 2])
    assert isinstance(view, LossView)
    assert calls[0] == list(training_set(TEXTS.train, SECRETS, ROWS[0]).texts)
    assert calls[0].count(SECRETS.records.texts[3]) == 3
    np.testing.assert_array_equal(view.loss(TEXTS.test), np.full((2, 9), 8.0))


def answering(level):
    """A model of texts that says "b" after anything with probability `level`, and else any of the other letters."""
    row = np.log([1e-300, *(level if c == "b" else (1 - level) / 25 for c in string.ascii_lowercase)])
    return TextView(
        lambda prefixes: np.tile(row, (1, len(prefixes), 1)),
        lambda tokens: row[tokens][None],
        1,
        string.ascii_lowercase,
    )


def test_texts_may_be_answered_by_a_view_of_tokens():
    levels = iter([0.9, 0.2])
    view = FunctionTrainer(lambda texts, seed: answering(next(levels))).train(TEXTS, SECRETS, ROWS, [1, 2])
    assert isinstance(view, TextView)
    assert (view.models, view.access) == (2, Access.TOKEN_LOG_PROBABILITIES)
    np.testing.assert_allclose(view.loss(TextRecords(("bb",)))[:, 0], [-2 * np.log(0.9), -2 * np.log(0.2)])
    b, prefixes = np.array([2]), view.encode(["a", "b", "c"])
    np.testing.assert_allclose(np.exp(view.next_token_of(np.array([1, 0, 1]), prefixes, b)[:, 0]), [0.2, 0.9, 0.2])
    np.testing.assert_allclose(np.exp(view.next_token_log_probabilities(prefixes)[:, :, 2]), [[0.9] * 3, [0.2] * 3])


def test_views_of_different_alphabets_are_refused():
    views = iter([answering(0.9), TextView(lambda x: x, lambda x: x, 1, "ab")])
    with pytest.raises(InputError, match="one and the same alphabet or tokeniser from every training, got several"):
        FunctionTrainer(lambda texts, seed: next(views)).train(TEXTS, SECRETS, ROWS, [1, 2])


def test_losses_are_what_views_of_both_kinds_have():
    answers = iter([answering(0.9), lambda asked: [1.0] * len(asked)])
    view = FunctionTrainer(lambda texts, seed: next(answers)).train(TEXTS, SECRETS, ROWS, [1, 2])
    assert view.access is Access.LOSS
    np.testing.assert_allclose(view.loss(TextRecords(("b",)))[:, 0], [-np.log(0.9), 1.0])


def test_extraction_needs_tokens():
    view = FunctionTrainer(lambda texts, seed: lambda asked: [1.0] * len(asked)).train(TEXTS, SECRETS, ROWS, [1, 2])
    with pytest.raises(InputError, match="these models answer losses alone; have the training function return a TextV"):
        Extraction().score(view, SECRETS, 0)


def test_a_function_that_returns_no_function():
    with pytest.raises(InputError, match=r"may query: a function or, .*, a TextView of one model; got 3"):
        FunctionTrainer(lambda x, y, seed: 3).train(DATA, CANARIES, ROWS, [1, 2])


@pytest.mark.parametrize(
    ("predict", "sentence"),
    [
        (lambda x: np.zeros(len(x)), r"class probabilities of shape \[1, 12, classes\], got \(1, 12\)"),
        (lambda x: np.ones((len(x) - 1, 3)) / 3, r"class probabilities of shape \[1, 12, classes\], got \(1, 11, 3\)"),
        (lambda x: np.zeros((len(x), 3)), "at least 0 and sum to 1"),
        (lambda x: np.tile([1.5, -0.5, 0.0], (len(x), 1)), "at least 0 and sum to 1"),
        (lambda x: np.full((len(x), 3), np.nan), "at least 0 and sum to 1"),
    ],
)
def test_answers_that_are_no_probabilities(predict, sentence):
    view = FunctionTrainer(lambda x, y, seed: predict).train(DATA, CANARIES, ROWS[:1], [1])
    with pytest.raises(InputError, match=sentence):
        view.probabilities(DATA.test.x)


def test_too_few_classes_for_the_labels():
    view = FunctionTrainer(lambda x, y, seed: constant([0.5, 0.5])).train(DATA, CANARIES, ROWS[:1], [1])
    with pytest.raises(InputError, match="2 classes"):
        view.loss(DATA.test)


@pytest.mark.parametrize("answer", [lambda texts: 1.0, lambda texts: [1.0] * (len(texts) + 1)])
def test_losses_of_the_wrong_shape(answer):
    view = FunctionTrainer(lambda texts, seed: answer).train(TEXTS, SECRETS, ROWS[:1], [1])
    with pytest.raises(InputError, match=r"losses of shape \[1, 9\], got"):
        view.loss(TEXTS.test)
