import numpy as np
import pytest

from attacks import Access, AccessError, ArrayView, Loss, TextView
from canaries import CanarySet
from canaries.records import ArrayRecords, TextRecords


def canary_set(records) -> CanarySet:
    n = len(records)
    return CanarySet("toy", tuple(f"c{i}" for i in range(n)), records, np.ones(n, dtype=int), np.zeros(n, dtype=bool))


def test_score_is_the_log_probability_of_the_label():
    answer = np.array([[[0.5, 0.5], [0.1, 0.9]], [[1.0, 0.0], [0.2, 0.8]]])
    view = ArrayView(lambda x: answer, models=2)
    observed = Loss().observe(view, canary_set(ArrayRecords(np.zeros((2, 3)), [0, 1], 2)), seed=0)
    np.testing.assert_allclose(observed.score, np.log([[0.5, 0.9], [1.0, 0.8]]))
    assert observed.ids == ("c0", "c1")


def test_texts_are_scored_whole():
    view = TextView(
        next_token=lambda t: np.zeros((1, len(t), 3)),
        score=lambda t: np.full((1, *t.shape), -0.5),
        models=1,
        alphabet="ab",
    )
    observed = Loss().observe(view, canary_set(TextRecords(("ab", "aab"))), seed=0)
    np.testing.assert_allclose(observed.score, [[-1.0, -1.5]])


def test_a_view_of_labels_does_not_grant_the_loss():
    view = ArrayView(lambda x: np.full((1, len(x), 2), 0.5), models=1, access=Access.LABELS)
    with pytest.raises(AccessError, match="grants labels; the attack asked for loss"):
        Loss().observe(view, canary_set(ArrayRecords(np.zeros((1, 3)), [0], 2)), seed=0)
