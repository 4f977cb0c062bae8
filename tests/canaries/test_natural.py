"""Natural canaries are the pool's own records, and their ids say which."""

import numpy as np
import pytest

from canaries.errors import InputError
from canaries.natural import Natural
from canaries.records import ArrayRecords, Dataset

RNG = np.random.default_rng(0)
PARTS = [ArrayRecords(RNG.random((n, 3)), RNG.integers(2, size=n), 2) for n in (5, 30, 5)]
DATA = Dataset("data", *PARTS)


@pytest.mark.parametrize("design", [Natural(), Natural(chosen=(7, 3, 11, 0))], ids=["drawn", "chosen"])
def test_records_are_the_pool_s_and_ids_are_positions(design):
    made = design.make(DATA, 4, np.random.default_rng(1), references=5)
    positions = [int(name.rsplit("-", 1)[1]) for name in made.ids]
    assert len(set(positions)) == 9
    np.testing.assert_array_equal(made.records.x, DATA.pool.x[positions])
    np.testing.assert_array_equal(made.records.y, DATA.pool.y[positions])
    assert [name.startswith("natural-reference-") for name in made.ids] == made.reference.tolist()
    if design.chosen:
        assert tuple(positions[:4]) == design.chosen


def test_bad_choices_are_named():
    with pytest.raises(InputError, match="distinct positions"):
        Natural(chosen=(1, 1))
    with pytest.raises(InputError, match="below 30"):
        Natural(chosen=(30,)).make(DATA, 1, np.random.default_rng(0))
    with pytest.raises(InputError, match="count = 2"):
        Natural(chosen=(1, 2)).make(DATA, 3, np.random.default_rng(0))
    with pytest.raises(InputError, match="holds 30"):
        Natural().make(DATA, 20, np.random.default_rng(0), references=11)
