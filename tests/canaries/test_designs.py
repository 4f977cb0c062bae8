import numpy as np
import pytest
from sklearn.datasets import load_digits

from canaries import Blank, LowVariance, Mislabelled, UniformNoise
from canaries.errors import InputError
from canaries.low_variance import least_likely, lowest_directions
from canaries.records import ArrayRecords, Dataset


def dataset(train: int = 60, pool: int = 20, shape: tuple[int, ...] = (5,), classes: int = 4) -> Dataset:
    rng = np.random.default_rng(7)

    def part(n: int) -> ArrayRecords:
        return ArrayRecords(rng.normal(size=(n, *shape)).astype(np.float32), rng.integers(classes, size=n), classes)

    return Dataset("toy", part(train), part(pool), part(10))


def craft(design, data, count, seed=0):
    records, secrets = design.craft(data, count, np.random.default_rng(seed))
    assert secrets == ()
    return records


def test_blank_is_all_zero_and_uses_each_label_before_any_comes_twice():
    records = craft(Blank(), dataset(shape=(1, 2, 3)), 6)
    assert records.x.shape == (6, 1, 2, 3)
    assert not records.x.any()
    assert sorted(records.y[:4]) == [0, 1, 2, 3]
    assert list(records.y[4:]) == list(records.y[:2])


def test_blank_with_a_label():
    assert list(craft(Blank(label=2), dataset(), 3).y) == [2, 2, 2]
    with pytest.raises(InputError, match=r"label in \[0, 4\) for blank canaries, got 4"):
        craft(Blank(label=4), dataset(), 1)


def test_noise_fills_the_range_of_each_feature():
    data = dataset()
    records = craft(UniformNoise(), data, 2000)
    low, high = data.train.x.min(axis=0), data.train.x.max(axis=0)
    assert (records.x >= low).all()
    assert (records.x <= high).all()
    np.testing.assert_allclose(records.x.mean(axis=0), (low + high) / 2, atol=0.15)
    np.testing.assert_allclose(np.bincount(records.y, minlength=4) / 2000, 0.25, atol=0.05)


def test_noise_needs_training_data():
    with pytest.raises(InputError, match=r"'toy' has none"):
        craft(UniformNoise(), dataset(train=0), 1)


def test_mislabelled_are_different_pool_records_with_wrong_labels():
    data = dataset()
    records = craft(Mislabelled(), data, 20)
    truth = {row.tobytes(): label for row, label in zip(data.pool.x, data.pool.y, strict=True)}
    drawn = [row.tobytes() for row in records.x]
    assert sorted(drawn) == sorted(truth)
    assert all(truth[row] != label for row, label in zip(drawn, records.y, strict=True))


def test_wrong_labels_are_uniform():
    data = Dataset(
        "toy", dataset().train, ArrayRecords(np.zeros((3000, 5)), np.ones(3000, dtype=int), 4), dataset().test
    )
    counts = np.bincount(craft(Mislabelled(), data, 3000).y, minlength=4)
    assert counts[1] == 0
    np.testing.assert_allclose(counts[[0, 2, 3]] / 3000, 1 / 3, atol=0.04)


def test_mislabelled_needs_a_pool_and_two_classes():
    with pytest.raises(InputError, match=r"^21 mislabelled canaries .* the pool of 'toy' holds 20"):
        craft(Mislabelled(), dataset(), 21)
    with pytest.raises(InputError, match=r"at least 2 classes, but 'toy' has 1"):
        craft(Mislabelled(), dataset(classes=1), 1)


def test_low_variance_lies_along_the_direction_that_varies_least():
    rng = np.random.default_rng(3)
    spread = np.array([3.0, 0.1, 2.0])
    x = (rng.normal(size=(400, 3)) * spread).astype(np.float32)
    y = (x[:, 1] > 0).astype(int)  # class 0 below, class 1 above along the lowest direction
    train = ArrayRecords(x, y, 2)
    records = craft(LowVariance(), Dataset("toy", train, train, train), 6)
    norm = np.linalg.norm(x, axis=1).mean()
    np.testing.assert_allclose(np.linalg.norm(records.x, axis=1), norm, rtol=1e-5)
    cosines = records.x / norm
    np.testing.assert_allclose(cosines[[0, 1, 2], [1, 2, 0]], 1, atol=0.01)  # by ascending spread
    np.testing.assert_allclose(cosines[3:], -cosines[:3], atol=1e-6)
    assert records.y[0] == 0
    assert records.y[3] == 1


def test_low_variance_on_digits_has_next_to_no_variance():
    digits = load_digits()
    train = ArrayRecords(digits.data / 16, digits.target, 10)
    records = craft(LowVariance(), Dataset("digits", train, train, train), 3)
    assert np.abs(train.x @ records.x.T).max() < 1e-5  # three pixels are never inked


def test_low_variance_has_two_signs_of_each_direction_and_no_more():
    assert len(np.unique(craft(LowVariance(), dataset(), 10).x, axis=0)) == 10
    with pytest.raises(InputError, match=r"two signs of 5 directions in 'toy', 10 in all, but 11"):
        craft(LowVariance(), dataset(), 11)
    with pytest.raises(InputError, match=r"'toy' has none"):
        craft(LowVariance(), dataset(train=0), 1)


def test_directions_are_right_singular_vectors():
    x = np.random.default_rng(1).normal(size=(30, 6))
    mine = lowest_directions(x, 6)
    theirs = np.linalg.svd(x)[2][::-1]
    np.testing.assert_allclose(np.abs((mine * theirs).sum(axis=1)), 1, atol=1e-9)


def test_the_least_likely_class_is_one_that_occurs():
    x = np.array([[0.0, 0.0], [1.0, 0.0], [5.0, 0.0]])
    points = np.array([[6.0, 0.0], [-1.0, 0.0]])
    assert list(least_likely(points, x, np.array([1, 1, 3]))) == [1, 3]
