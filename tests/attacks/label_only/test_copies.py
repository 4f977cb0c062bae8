import numpy as np
import pytest
from scipy.stats import norm
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

import attacks.label_only.base
from attacks import (
    Access,
    AccessError,
    ArrayView,
    Attack,
    Augmentations,
    BoundaryDistance,
    Gap,
    HopSkipJump,
    Loss,
    NoiseRobustness,
    TextView,
)
from canaries import CanarySet, Inclusion, Mislabelled
from canaries.errors import InputError
from canaries.inclusion import training_set
from canaries.records import ArrayRecords, Dataset, TextRecords


def canary_set(x, y, classes=2) -> CanarySet:
    n = len(y)
    ids = tuple(f"c{i}" for i in range(n))
    return CanarySet("toy", ids, ArrayRecords(x, y, classes), np.ones(n, dtype=int), np.zeros(n, dtype=bool))


def half_space(*thresholds: float) -> ArrayView:
    """Model i says class 1 where the first feature is above thresholds[i]."""

    def query(x):
        above = np.stack([x[:, 0] > t for t in thresholds]).astype(float)
        return np.stack([1 - above, above], axis=2)

    return ArrayView(query, models=len(thresholds))


def test_the_score_is_the_chance_that_noise_stays_on_the_label_s_side():
    attack = NoiseRobustness(copies=20_000, scales=(0.5,))
    canaries = canary_set(np.zeros((2, 3)), [1, 0])
    score = attack.observe(half_space(-0.5, 0.25), canaries, seed=0).score
    np.testing.assert_allclose(score[:, 0], [norm.cdf(1), norm.cdf(-0.5)], atol=0.015)
    np.testing.assert_allclose(score[:, 1], [norm.cdf(-1), norm.cdf(0.5)], atol=0.015)


def test_several_scales_are_averaged_and_order_distances():
    canaries = canary_set(np.zeros((1, 3)), [1])
    score = NoiseRobustness().observe(half_space(-2, -1, -0.5, -0.2, -0.05, 0.05, 0.2, 1), canaries, seed=0).score[:, 0]
    assert (np.diff(score) < 0).all()


def test_only_labels_are_asked_for_and_queries_are_counted():
    granted = half_space(0.1).grant(Access.LABELS)
    attack = NoiseRobustness(copies=8, scales=(0.1, 0.2))
    attack.score(granted, canary_set(np.zeros((3, 2)), [0, 1, 0]), seed=0)
    assert granted.queries == 3 * 16
    with pytest.raises(AccessError):
        granted.probabilities(np.zeros((1, 2)))


def test_a_model_s_scores_do_not_depend_on_its_neighbours_nor_a_canary_s_on_its_place(monkeypatch):
    rng = np.random.default_rng(0)
    canaries = canary_set(rng.normal(size=(7, 2)), rng.integers(2, size=7))
    attack = NoiseRobustness(copies=10)
    both = attack.observe(half_space(0.3, -0.2), canaries, seed=5).score
    alone = attack.observe(half_space(-0.2), canaries, seed=5).score
    np.testing.assert_array_equal(both[1:], alone)
    monkeypatch.setattr(attacks.label_only.base, "CHUNK", 80)
    np.testing.assert_array_equal(attack.observe(half_space(0.3, -0.2), canaries, seed=5).score, both)
    last = CanarySet(
        "toy", canaries.ids[6:], canaries.records.take([6]), np.ones(1, dtype=int), np.zeros(1, dtype=bool)
    )
    np.testing.assert_array_equal(attack.observe(half_space(-0.2), last, seed=5).score[:, 0], alone[:, 6])
    assert (attack.observe(half_space(-0.2), canaries, seed=6).score != alone).any()


@pytest.mark.parametrize("bad", [{"copies": 0}, {"scales": ()}, {"scales": (0.1, -1.0)}, {"scales": (float("nan"),)}])
def test_bad_fields(bad):
    with pytest.raises(InputError, match="for attack 'noise-robustness', got"):
        NoiseRobustness(**bad)


def test_gap_is_whether_the_label_is_given():
    x = np.array([[1.0, 0.0], [-1.0, 0.0], [0.1, 0.0]])
    canaries = canary_set(x, [1, 1, 0])
    observed = Gap().observe(half_space(0.0, 0.5), canaries, seed=0)
    np.testing.assert_array_equal(observed.score, [[1, 0, 0], [1, 0, 1]])
    assert observed.queries == 3


def test_augmentations_of_an_image_are_its_shifts_and_turns():
    image = np.zeros((1, 5, 5), dtype=np.float32)
    image[0, 1, 2] = 1
    attack = Augmentations(shifts=1, rotations=(90.0, -90.0), fill=0.0)
    made = attack.augmented(image)
    assert made.shape == (attack.copies, 1, 5, 5) == (7, 1, 5, 5)
    places = [tuple(np.argwhere(copy[0] > 0.5)[0]) for copy in made]
    assert places == [(1, 2), (0, 2), (1, 1), (1, 3), (2, 2), (2, 3), (2, 1)] or places[5:] == [(2, 1), (2, 3)]
    assert Augmentations(shifts=2, rotations=()).copies == 13


def test_the_augmentation_score_is_the_share_that_keeps_the_label():
    # Class 1 where the left half is brighter than the right: of 5 copies, the shift to the right crosses over.
    x = np.zeros((2, 16), dtype=np.float32)
    x[:, [1, 5]] = 1  # the second column of four

    def query(q):
        image = q.reshape(-1, 4, 4)
        left = (image[:, :, :2].sum(axis=(1, 2)) > image[:, :, 2:].sum(axis=(1, 2))).astype(float)
        return np.stack([1 - left, left], axis=1)[None]

    attack = Augmentations(shifts=1, rotations=(), shape=(1, 4, 4))
    observed = attack.observe(ArrayView(query, 1), canary_set(x, [1, 0]), seed=0)
    np.testing.assert_allclose(observed.score, [[4 / 5, 1 / 5]])
    assert observed.queries == 2 * 5


def test_augmentations_need_images():
    with pytest.raises(InputError, match=r"needs images: .* got records of shape \[3\] and shape None"):
        Augmentations().observe(half_space(0.0), canary_set(np.zeros((1, 3)), [0]), seed=0)
    with pytest.raises(InputError, match=r"and shape \[1, 2, 2\]"):
        Augmentations(shape=(1, 2, 2)).observe(half_space(0.0), canary_set(np.zeros((1, 3)), [0]), seed=0)


@pytest.mark.parametrize("bad", [{"shifts": -1}, {"rotations": (float("inf"),)}, {"shape": (0, 2, 2)}])
def test_bad_augmentations(bad):
    with pytest.raises(InputError, match="for attack 'augmentations'"):
        Augmentations(**bad)


def test_texts_are_refused():
    canaries = CanarySet("t", ("a",), TextRecords(("x",)), np.ones(1, dtype=int), np.zeros(1, dtype=bool))
    view = TextView(lambda t: np.zeros((1, 1, 2)), lambda t: np.zeros((1, *t.shape)), 1, "x")
    with pytest.raises((InputError, AccessError)):
        NoiseRobustness().observe(view, canaries, seed=0)
    with pytest.raises(InputError, match="is for classifiers of arrays"):
        NoiseRobustness().observe(half_space(0.0), canaries, seed=0)


@pytest.fixture(scope="module")
def overfitted():
    """Logistic regressions on 200 digits and about 16 of 32 mislabelled ones."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    x, y = digits.data[order] / 16, digits.target[order]
    parts = [ArrayRecords(x[s], y[s], 10) for s in (slice(200), slice(200, 300), slice(300, 400))]
    data = Dataset("digits", *parts)
    canaries = Mislabelled().make(data, 32, np.random.default_rng(1))
    inclusion = Inclusion.draw(canaries, 8, "canary", seed=2)

    def fit(row):
        train = training_set(data.train, canaries, row)
        return LogisticRegression(C=1.0, max_iter=300).fit(train.x, train.y).predict_proba

    models = [fit(row) for row in inclusion.inserted]
    return ArrayView(lambda q: np.stack([model(q) for model in models]), len(models)), canaries, inclusion


@pytest.mark.parametrize(
    ("attack", "least"),
    [
        (Loss(), 0.8),
        (NoiseRobustness(), 0.8),
        (Gap(), 0.56),
        (Augmentations(shape=(1, 8, 8)), 0.6),
        (BoundaryDistance(), 0.58),
        (HopSkipJump(iterations=2), 0.8),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_attacks_see_mislabelled_canaries_in_overfitted_models(overfitted, attack: Attack, least):
    view, canaries, inclusion = overfitted
    score = attack.observe(view, canaries, seed=0).score
    assert roc_auc_score(inclusion.member.ravel(), score.ravel()) > least
    other = Inclusion.draw(canaries, 8, "canary", seed=99)
    assert abs(roc_auc_score(other.member.ravel(), score.ravel()) - 0.5) < 0.12
