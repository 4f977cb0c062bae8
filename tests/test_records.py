import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from canaries.errors import InputError
from canaries.records import ArrayRecords, Dataset, TextRecords, join_records


def records(n: int = 4) -> ArrayRecords:
    return ArrayRecords(np.arange(n * 2).reshape(n, 2), np.arange(n) % 3, 3)


def test_arrays_are_single_precision_and_labels_integers():
    made = records()
    assert made.x.dtype == np.float32
    assert made.y.dtype == np.int64


def test_take_repeat_and_join():
    made = records()
    np.testing.assert_array_equal(made.take([2, 0]).x, [[4, 5], [0, 1]])
    assert list(made.take(made.y == 0).y) == [0, 0]
    np.testing.assert_array_equal(made.repeat(np.array([0, 2, 0, 1])).x[:, 0], [2, 2, 6])
    joined = join_records(made, made.take(slice(1)))
    np.testing.assert_array_equal(joined.x[:, 0], [0, 2, 4, 6, 0])
    assert joined.classes == 3


@given(st.lists(st.text("ab", max_size=5), max_size=8), st.data())
def test_texts_are_repeated_in_order(texts, data):
    times = data.draw(st.lists(st.integers(0, 3), min_size=len(texts), max_size=len(texts)))
    repeated = TextRecords(tuple(texts)).repeat(np.array(times, dtype=np.int64)).texts
    assert list(repeated) == [text for text, n in zip(texts, times, strict=True) for _ in range(n)]


@pytest.mark.parametrize(
    ("x", "y", "sentence"),
    [
        (np.zeros((2, 2)), np.zeros(3), r"got \(2, 2\) and \(3,\)"),
        (np.zeros(2), np.zeros(2), r"got \(2,\) and \(2,\)"),
        (np.full((1, 2), np.nan), np.zeros(1), "NaN or infinity"),
        (np.zeros((2, 2)), np.array([0, 3]), r"labels in \[0, 3\), got 0 to 3"),
        (np.zeros((2, 2)), np.array([-1, 0]), "got -1 to 0"),
    ],
)
def test_bad_arrays_get_a_sentence(x, y, sentence):
    with pytest.raises(InputError, match=sentence):
        ArrayRecords(x, y, 3)


def test_digests_tell_contents_labels_order_and_boundaries_apart():
    made = records()
    different = [made, made.take([1, 0, 2, 3]), made.take(slice(3)), ArrayRecords(made.x, made.y, 4)]
    different.append(ArrayRecords(made.x, (made.y + 1) % 3, 3))
    assert len({r.digest() for r in different}) == 5
    assert made.digest() == records().digest()
    assert TextRecords(("ab", "c")).digest() != TextRecords(("a", "bc")).digest()


def test_a_data_set_digest_covers_every_part():
    a, b = records(), records(3)
    sets = [Dataset("d", a, a, a), Dataset("d", b, a, a), Dataset("d", a, b, a), Dataset("d", a, a, b)]
    assert len({data.digest() for data in sets}) == 4
