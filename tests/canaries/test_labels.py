"""Labels by the initial model, and the hot pixel that carries them."""

import numpy as np
import pytest

from canaries import Blank, HotPixel, LowVariance, Mislabelled, Natural, UniformNoise
from canaries.errors import InputError
from canaries.labels import least_likely_under
from canaries.records import ArrayRecords, Dataset

RNG = np.random.default_rng(2)
DATA = Dataset("toy", *(ArrayRecords(RNG.normal(size=(n, 1, 2, 3)), RNG.integers(4, size=n), 4) for n in (40, 20, 10)))
ASKING = [design(label="least-likely") for design in (Blank, HotPixel, Mislabelled, LowVariance)]


def initial(records: ArrayRecords) -> np.ndarray:
    """Some distribution over the four classes that depends on the features."""
    score = records.x.reshape(len(records), -1)[:, :4].astype(np.float64)
    p = np.exp(score + np.array([0.0, 0.1, 0.2, 0.3]))
    return p / p.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("design", ASKING, ids=lambda design: design.name)
def test_the_least_likely_label_is_that_of_the_initial_model(design):
    made = design.make(DATA, 5, np.random.default_rng(0), references=2, initial=initial)
    np.testing.assert_array_equal(made.records.y, initial(made.records).argmin(axis=1))
    drawn = type(design)().make(DATA, 5, np.random.default_rng(0), references=2)
    np.testing.assert_array_equal(made.records.x, drawn.records.x)
    assert made.digest() != drawn.digest() or (made.records.y == drawn.records.y).all()


@pytest.mark.parametrize("design", ASKING, ids=lambda design: design.name)
def test_without_an_initial_model_it_is_refused(design):
    with pytest.raises(
        InputError, match=f"'{design.name}' asks the model that training starts from, .* initial = 'shared'"
    ):
        design.make(DATA, 1, np.random.default_rng(0))


def test_designs_that_do_not_ask_ignore_the_initial_model():
    for design in (Blank(), HotPixel(label=2), UniformNoise(), Natural()):
        made = (design.make(DATA, 3, np.random.default_rng(0), initial=model) for model in (None, initial))
        assert len({one.digest() for one in made}) == 1


def test_ties_go_to_the_lowest_class():
    flat = least_likely_under(lambda records: np.full((len(records), 4), 0.25), DATA.test)
    assert not flat.y.any()
    np.testing.assert_array_equal(flat.x, DATA.test.x)


def test_a_hot_pixel_is_the_smallest_feature_of_the_data():
    x = np.ones((30, 4)) * [2.0, 0.0, -3.0, 0.5]
    train = ArrayRecords(x, np.zeros(30, dtype=int), 2)
    records, secrets = HotPixel(value=-7.0).craft(Dataset("toy", train, train, train), 5, np.random.default_rng(0))
    assert secrets == ()
    wanted = np.zeros((5, 4))
    wanted[np.arange(5), [1, 3, 0, 2, 1]] = -7.0
    np.testing.assert_array_equal(records.x, wanted)


def test_a_hot_pixel_can_be_where_its_least_likely_label_is_least_likely(monkeypatch):
    design = HotPixel(value=3.0, pixel="least-likely", label="least-likely")
    made = design.make(DATA, 7, np.random.default_rng(0), initial=initial)
    alone = ArrayRecords(3.0 * np.eye(6).reshape(6, 1, 2, 3), np.zeros(6, dtype=int), 4)
    ranked = sorted(range(6), key=lambda feature: initial(alone)[feature].min())
    assert made.records.x.reshape(7, 6).argmax(axis=1).tolist() == [*ranked, ranked[0]]
    np.testing.assert_array_equal(made.records.x.reshape(7, 6).sum(axis=1), np.full(7, 3.0))
    np.testing.assert_array_equal(made.records.y, initial(made.records).argmin(axis=1))
    monkeypatch.setattr("canaries.hot_pixel.PORTION", 15)  # Two records at a time.
    assert design.make(DATA, 7, np.random.default_rng(0), initial=initial).digest() == made.digest()


def test_bad_hot_pixels():
    with pytest.raises(InputError, match="'darkest' or 'least-likely' for hot-pixel canaries, got 'brightest'"):
        HotPixel(pixel="brightest", label="least-likely")
    with pytest.raises(InputError, match="need label = 'least-likely', got 3"):
        HotPixel(pixel="least-likely", label=3)
    for value in (0.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="finite value other than 0"):
            HotPixel(value=value)
    for label in (-1, "likely"):
        with pytest.raises(InputError, match="label to be a class, or 'least-likely', for hot-pixel"):
            HotPixel(label=label)
    with pytest.raises(InputError, match=r"label in \[0, 4\) for hot-pixel canaries, got 4"):
        HotPixel(label=4).make(DATA, 1, np.random.default_rng(0))
    with pytest.raises(InputError, match="'least-likely' or none for mislabelled"):
        Mislabelled(label="most-likely")
    empty = Dataset("toy", DATA.train.take(slice(0)), DATA.pool, DATA.test)
    with pytest.raises(InputError, match="'toy' has none"):
        HotPixel().make(empty, 1, np.random.default_rng(0))
