"""Dirac canaries, and gradients in place of records."""

import numpy as np
import pytest

from canaries import Dirac
from canaries.errors import InputError
from canaries.records import ArrayRecords, Dataset, GradientRecords, TextRecords

TEXTS = Dataset("texts", *(TextRecords(("a", "b")) for _ in range(3)))
ARRAYS = Dataset("arrays", *(ArrayRecords(np.ones((2, 3)), np.zeros(2), 1) for _ in range(3)))


@pytest.mark.parametrize("dataset", [TEXTS, ARRAYS])
def test_any_data_will_do(dataset):
    made = Dirac(norm=2.0).make(dataset, 400, np.random.default_rng(0), references=5).records
    assert made.place.tolist() == list(range(405))
    assert set(np.abs(made.length)) == {2.0}
    assert abs((made.length > 0).mean() - 0.5) < 0.15  # six standard deviations


@pytest.mark.parametrize("norm", [0.0, -1.0, float("inf"), float("nan")])
def test_norms(norm):
    with pytest.raises(InputError, match="finite norm > 0"):
        Dirac(norm=norm)


def test_records_keep_their_places():
    records = GradientRecords(np.array([1.0, -2.0, 3.0]), np.array([4, 0, 2]), 5)
    again = records.repeat(np.array([2, 0, 1]))
    assert again.length.tolist() == [1.0, 1.0, 3.0]
    assert again.place.tolist() == [4, 4, 2]
    assert again.places == 5
    assert records.digest() != again.digest() == records.take([0, 0, 2]).digest()


@pytest.mark.parametrize(
    ("length", "place", "message"),
    [
        ([1.0], [5], r"places in \[0, 5\), got 5 to 5"),
        ([0.0], [0], "other than 0"),
        ([np.nan], [0], "finite lengths"),
        ([1.0, 2.0], [0], r"shape \[n\]"),
    ],
)
def test_bad_gradients(length, place, message):
    with pytest.raises(InputError, match=message):
        GradientRecords(np.array(length), np.array(place), 5)
