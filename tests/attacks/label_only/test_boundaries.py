"""Distances to boundaries that are known: half-spaces, and balls."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attacks import Access, AccessError, ArrayView, BoundaryDistance, HopSkipJump
from attacks.label_only import hop_skip_jump
from canaries import CanarySet
from canaries.errors import InputError
from canaries.records import ArrayRecords

SIZE = 12


def canary_set(x, y) -> CanarySet:
    n = len(y)
    ids = tuple(f"c{i}" for i in range(n))
    return CanarySet("toy", ids, ArrayRecords(x, y, 2), np.ones(n, dtype=int), np.zeros(n, dtype=bool))


def classifiers(*margins, each=True):
    """Model i says class 1 where margins[i](x) > 0, x being [n, SIZE] in float64."""

    def answer(margin, x):
        positive = (margin(x.astype(np.float64)) > 0).astype(float)
        return np.stack([1 - positive, positive], axis=1)

    def query(x):
        return np.stack([answer(margin, x) for margin in margins])

    def query_each(x):
        return np.stack([answer(margin, own) for margin, own in zip(margins, x, strict=True)])

    return ArrayView(query, len(margins), query_each=query_each if each else None)


def half_space(normal, offset):
    return lambda x: x @ normal + offset


def ball(centre, radius):
    """A quadratic classifier: class 1 inside."""
    return lambda x: radius**2 - ((x - centre) ** 2).sum(axis=1)


RNG = np.random.default_rng(0)
NORMALS = RNG.normal(size=(4, SIZE))
OFFSETS = RNG.normal(size=4)
PLANES = [half_space(n, b) for n, b in zip(NORMALS, OFFSETS, strict=True)]
BALLS = [(RNG.normal(0, 0.3, SIZE), radius) for radius in (4.5, 6.0)]
POINTS = RNG.normal(size=(5, SIZE)).astype(np.float32)


def test_bisection_finds_where_a_line_crosses_a_plane():
    # Along the line of scales 0 to 2 of the canary, n.x s + b = 0 at s = -b / n.x; the share is on the label's side.
    x = np.concatenate([POINTS, -POINTS])
    canaries = canary_set(x, [1] * 10)
    attack = BoundaryDistance(queries=20, reference="blank", beyond=1.0)
    score = attack.observe(classifiers(*PLANES), canaries, seed=0).score
    slope = NORMALS @ x.T.astype(np.float64)
    crossing = np.clip(-OFFSETS[:, None] / slope, 0, np.inf)
    for (model, canary), found in np.ndenumerate(score):
        begins, ends = OFFSETS[model] > 0, OFFSETS[model] + 2 * slope[model, canary] > 0
        s = crossing[model, canary] / 2
        wanted = {(True, True): 1.0, (False, False): 0.0, (True, False): s, (False, True): 1 - s}[begins, ends]
        assert found == pytest.approx(wanted, abs=1e-5)
    assert len(np.unique(score)) > 15


def test_bisection_finds_where_a_line_leaves_a_ball():
    # From the other canary, outside, to the one at the centre: the share of the line that is in the ball.
    far = np.zeros((2, SIZE), dtype=np.float32)
    far[1, 0] = 4.0
    view = classifiers(ball(np.zeros(SIZE), 1.0), ball(np.zeros(SIZE), 2.5))
    observed = BoundaryDistance(queries=18, beyond=0.0).observe(view, canary_set(far, [1, 0]), seed=0)
    np.testing.assert_allclose(observed.score[:, 0], [1 / 4, 2.5 / 4], atol=2**-16)
    np.testing.assert_allclose(observed.score[:, 1], [3 / 4, 1.5 / 4], atol=2**-16)


@given(st.integers(3, 16), st.floats(-0.9, 1.9))
@settings(max_examples=40, deadline=None)
def test_bisection_is_as_exact_as_its_queries(queries, offset):
    x = np.zeros((1, SIZE), dtype=np.float32)
    x[0, 0] = 1
    view = classifiers(half_space(np.eye(SIZE)[0], -offset))
    observed = BoundaryDistance(queries=queries, reference="blank").observe(view, canary_set(x, [1]), seed=0)
    assert observed.queries == queries
    assert abs(observed.score[0, 0] - min(1.0, (2 - offset) / 2)) <= 2.0 ** (1 - queries) + 1e-6 or offset <= 0


def test_a_reference_is_the_nearest_canary_of_another_label():
    x = np.array([[0.0, 0], [5, 0], [1, 0], [2, 0]])
    records = ArrayRecords(x, np.array([0, 1, 0, 2]), 3)
    np.testing.assert_array_equal(BoundaryDistance().references(records)[:, 0], [2, 2, 2, 1])


def test_a_canary_without_a_reference_is_refused():
    with pytest.raises(InputError, match="all canaries have label 1; use reference = 'blank'"):
        BoundaryDistance().observe(classifiers(PLANES[0]), canary_set(POINTS, [1] * 5), seed=0)
    blank = canary_set(np.zeros((1, SIZE)), [1])
    with pytest.raises(InputError, match="found a blank canary"):
        BoundaryDistance(reference="blank").observe(classifiers(PLANES[0]), blank, seed=0)


def test_hop_skip_jump_finds_the_distance_to_a_plane():
    y = np.array([1, 0, 1, 0, 1])
    score = HopSkipJump(iterations=12, directions=80).observe(classifiers(*PLANES), canary_set(POINTS, y), 0).score
    margin = (NORMALS @ POINTS.T.astype(np.float64) + OFFSETS[:, None]) / np.linalg.norm(NORMALS, axis=1)[:, None]
    true = np.where(y == 1, margin, -margin)  # negative where the label is not given
    np.testing.assert_allclose(score, true, rtol=0.03, atol=1e-3)
    assert (np.abs(score) > np.abs(true) - 1e-4).all()  # a point beyond the boundary is never nearer than it


def test_hop_skip_jump_finds_the_distance_to_a_ball():
    attack = HopSkipJump(iterations=12, directions=80)
    score = attack.observe(classifiers(*[ball(*b) for b in BALLS]), canary_set(POINTS, [1] * 5), 0).score
    true = np.array([r - np.linalg.norm(POINTS - c, axis=1) for c, r in BALLS])
    assert (true > 0).all()
    np.testing.assert_allclose(score, true, rtol=0.06)


def test_more_iterations_come_nearer():
    canaries = canary_set(POINTS, [1] * 5)
    means = [
        np.abs(HopSkipJump(iterations=n).observe(classifiers(*PLANES), canaries, 0).score).mean() for n in (0, 2, 8)
    ]
    assert means[0] > 1.1 * means[1]
    assert means[1] > means[2]


def test_where_nothing_differs_the_score_is_the_radius():
    canaries = canary_set(POINTS[:2], [1, 0])
    score = HopSkipJump(iterations=1, radius=3.0).observe(classifiers(lambda x: np.ones(len(x))), canaries, 0).score
    np.testing.assert_array_equal(score, [[3.0, -3.0]])


@pytest.mark.parametrize(
    ("attack", "per_canary"),
    [
        (BoundaryDistance(reference="blank"), 12),
        (HopSkipJump(), HopSkipJump().budget),
        (HopSkipJump(iterations=0, starts=5, bisections=3), 1 + 5 + 3),
        (HopSkipJump(iterations=2, directions=10, bisections=3, halvings=4, starts=5), 9 + (10 + 15) + 2 * (4 + 3)),
    ],
)
@pytest.mark.parametrize("each", [True, False])
def test_queries_are_what_each_model_answers(attack, per_canary, each):
    answered = np.zeros(2, dtype=int)

    def counting(i):
        def margin(x):
            answered[i] += len(x)
            return PLANES[i](x)

        return margin

    view = classifiers(counting(0), counting(1))
    observed = attack.observe(view, canary_set(POINTS, [1] * 5), seed=0)
    assert observed.queries == 5 * per_canary
    np.testing.assert_array_equal(answered, 5 * per_canary)


def test_models_that_cannot_be_asked_apart_give_the_same_labels():
    canaries = canary_set(POINTS, [1] * 5)
    apart, together = classifiers(*PLANES), classifiers(*PLANES, each=False)
    for attack in (BoundaryDistance(reference="blank"), HopSkipJump(iterations=2)):
        first, second = attack.observe(apart, canaries, 3), attack.observe(together, canaries, 3)
        np.testing.assert_array_equal(first.score, second.score)
        assert first.queries == second.queries


def test_portions_change_no_score(monkeypatch):
    canaries = canary_set(POINTS, [1] * 5)
    whole = HopSkipJump(iterations=2).observe(classifiers(*PLANES), canaries, 3).score
    monkeypatch.setattr(hop_skip_jump, "ROOM", 1)
    np.testing.assert_array_equal(HopSkipJump(iterations=2).observe(classifiers(*PLANES), canaries, 3).score, whole)


def test_labels_of_each_model_are_granted_with_labels_alone():
    view = classifiers(*PLANES)
    x = np.stack([POINTS + i for i in range(4)])
    labels = view.grant(Access.LABELS).labels_each(x)
    np.testing.assert_array_equal(labels, [view.labels(own)[i] for i, own in enumerate(x)])
    with pytest.raises(AccessError, match="the attack asked for labels"):
        view.grant(Access.LOSS).labels_each(x)
    with pytest.raises(InputError, match=r"Expected records of shape \[4, n, ...\], got \(3, 5, 12\)"):
        view.labels_each(x[:3])


@pytest.mark.parametrize(
    "bad",
    [{"iterations": -1}, {"directions": 0}, {"bisections": 0}, {"halvings": 0}, {"starts": 0}, {"radius": math.inf}],
)
def test_bad_hop_skip_jump(bad):
    with pytest.raises(InputError, match=f"{next(iter(bad))} >.* for attack 'hop-skip-jump'"):
        HopSkipJump(**bad)


@pytest.mark.parametrize("bad", [{"queries": 2}, {"beyond": -1.0}, {"beyond": math.nan}, {"reference": "origin"}])
def test_bad_boundary_distance(bad):
    with pytest.raises(InputError, match="'boundary-distance', got"):
        BoundaryDistance(**bad)
