"""Calibration onto the boundary of pilots whose boundary is known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from attacks import ArrayView
from attacks.label_only.calibration import blend, calibrate
from canaries import CanarySet
from canaries.errors import InputError
from canaries.records import ArrayRecords, TextRecords

SHIFT, PILOTS = 0.3, 300


def one(x, y=1):
    return CanarySet("toy", ("c",), ArrayRecords(x, [y], 2), np.ones(1, dtype=int), np.zeros(1, dtype=bool))


UNIT = one(np.array([[1.0, 0.0]]))
asked = []


def pilot(canaries, number, boundary=5.0, share=0.5, label=1):
    """Models that say `label` above their boundary in the first feature; canaries that they saw lower it by SHIFT."""
    asked.append(canaries.records.x[0, 0])
    rng = np.random.default_rng(number)
    member = np.arange(PILOTS) < share * PILOTS
    at = boundary + rng.normal(0, 0.2, PILOTS) - SHIFT * member

    def query(x):
        above = (x[:, 0] > at[:, None]).astype(float)
        return np.stack([1 - above, above][:: 1 if label else -1], axis=2)

    def query_each(x):
        above = (x[:, :, 0] > at[:, None]).astype(float)
        return np.stack([1 - above, above][:: 1 if label else -1], axis=2)

    return ArrayView(query, PILOTS, query_each=query_each), member


@pytest.mark.parametrize("label", [1, 0], ids=["label above", "label below"])
@pytest.mark.parametrize("share", [0.5, 0.2])
def test_the_canary_comes_to_where_with_and_without_split_evenly(share, label):
    asked.clear()
    found = calibrate(blend(UNIT), lambda c, n: pilot(c, n, share=share, label=label), 0.0, 10.0, 3.0, rounds=2)
    # Halfway between 5 - SHIFT and 5, whatever the share of pilots with the canary.
    assert found.position == pytest.approx(5 - SHIFT / 2, abs=0.05)
    assert found.canaries.records.x[0, 0] == pytest.approx(found.position)
    assert asked == pytest.approx([3.0, found.rounds[0].found])
    last = found.rounds[1]
    assert 0.5 < (last.label_with if label else last.label_without)
    assert (last.label_with + last.label_without) / 2 == pytest.approx(0.5, abs=0.1)
    assert last.queries == 14 + 1
    assert last.unmoved == 0
    right = norm.cdf(SHIFT / 0.2 / 2**0.5)  # Where the label is below, training moves the boundary away from it.
    assert last.auc == pytest.approx(right if label else 1 - right, abs=0.06)


def test_it_is_deterministic():
    first, again = (calibrate(blend(UNIT), pilot, 0.0, 10.0, 3.0) for _ in range(2))
    assert first.rounds == again.rounds
    assert first.canaries.digest() == again.canaries.digest()


def test_pilots_whose_change_lies_beyond_an_end_count_on_that_side():
    # A third of the pilots change below the low end.
    found = calibrate(blend(UNIT), pilot, 4.75, 10.0, 5.0, rounds=1)
    assert found.rounds[0].unmoved > 0.2
    assert found.position == pytest.approx(5 - SHIFT / 2, abs=0.06)


def test_a_blend_moves_canaries_and_leaves_references():
    two = CanarySet(
        "toy",
        ("c", "ref"),
        ArrayRecords([[1.0, 2.0], [7.0, 7.0]], [1, 0], 2),
        np.ones(2, dtype=int),
        np.array([False, True]),
    )
    moved = blend(two, np.array([3.0, 0.0]))(0.25)
    np.testing.assert_allclose(moved.records.x, [[2.5, 0.5], [7, 7]])
    assert moved.ids == two.ids
    assert calibrate(blend(two), pilot, 0.0, 10.0, 3.0, rounds=1).position == pytest.approx(4.85, abs=0.05)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"low": 11.0}, "Expected low <= start <= high"),
        ({"start": 20.0}, "Expected low <= start <= high"),
        ({"rounds": 0}, "Expected rounds >= 1"),
        ({"queries": 2}, "queries >= 3"),
        ({"high": 3.5, "start": 1.0}, "Pilots cannot be split: 100% of them answer alike at positions 0.0 and 3.5"),
        ({"pilot": lambda c, n: pilot(c, n, share=1.0)}, "300 with it of 300"),
        ({"family": lambda p: replace(UNIT, records=TextRecords(("a",)))}, "canaries that are arrays"),
        ({"family": lambda p: replace(UNIT, reference=np.ones(1, dtype=bool))}, "one canary to calibrate"),
    ],
)
def test_bad_input(changes, message):
    options = {"family": blend(UNIT), "pilot": pilot, "low": 0.0, "high": 10.0, "start": 3.0, "rounds": 1}
    with pytest.raises(InputError, match=message):
        calibrate(**options | changes)
