"""Boundary canaries: where the initial model's label changes, and how a pilot finds the place for trained models."""

import numpy as np
import pytest

from attacks import Gap
from audit.config import parse
from audit.pilot import candidates
from canaries.boundary import Boundary
from canaries.errors import InputError
from canaries.records import ArrayRecords, Dataset

RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(12, 3))


def initial(records):
    z = records.x.reshape(len(records), -1).astype(np.float64) @ WEIGHTS
    p = np.exp(z - z.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def make(design, count=4, model=initial):
    some = ArrayRecords(RNG.random((5, 3, 4)), RNG.integers(3, size=5), 3)
    return design.make(Dataset("d", some, some, some), count, np.random.default_rng(0), 2, model)


@pytest.mark.parametrize("value", [1.0, 10.0])
def test_the_initial_model_changes_its_label_at_the_canary(value):
    made = make(Boundary(value=value)).records
    p = initial(made)
    assert (p.argmax(axis=1) == made.y).all()
    top = np.sort(p, axis=1)
    np.testing.assert_allclose(top[:, -1], top[:, -2], rtol=0.02 * value)
    assert ((made.x != 0).sum(axis=(1, 2)) == 2).all()
    np.testing.assert_allclose(made.x.sum(axis=(1, 2)), value, rtol=1e-6)


def test_a_shift_puts_it_where_the_other_label_is_given():
    here, before = make(Boundary()).records, make(Boundary(shift=0.1)).records
    np.testing.assert_array_equal(here.y, before.y)
    assert (initial(before).argmax(axis=1) != before.y).all()
    np.testing.assert_allclose(np.abs(here.x - before.x).max(axis=(1, 2)), 1.0, rtol=1e-4)


def test_a_pair_between_two_classes_alone_comes_first():
    p = np.sort(initial(make(Boundary(value=2.0), 6).records), axis=1)[:, 1:].sum(axis=1)
    assert (np.diff(p) <= 1e-9).all()


@pytest.mark.parametrize(("fields", "sentence"), [({"value": 0.0}, "other than 0"), ({"shift": 1.0}, "shift in")])
def test_values_out_of_range_are_refused(fields, sentence):
    with pytest.raises(InputError, match=sentence):
        Boundary(**fields)


def test_a_model_of_one_mind_has_no_boundary():
    with pytest.raises(InputError, match="two hot pixels of different labels, but the initial model gives none"):
        make(Boundary(), model=lambda records: np.tile([0.5, 0.3, 0.2], (len(records), 1)))


def test_a_pilot_tries_shifts_with_an_attack_on_labels():
    table = {
        "name": "labels",
        "epsilons": [8.0],
        "delta": 1e-5,
        "audits": [
            {
                "name": "digits",
                "models": 4,
                "attacks": ["gap"],
                "estimators": ["calibrated-gaussian"],
                "data": {"name": "digits", "train": 40, "pool": 40, "test": 5},
                "canaries": {"design": "boundary", "count": 1, "references": 2, "randomise": "model"},
                "trainer": {"name": "ensemble", "model": "softmax", "initial": "pretrained", "sample_rate": 1.0},
                "pilot": {"models": 4, "designs": [{"name": "boundary", "shift": s} for s in (0.0, 0.05)]},
            }
        ],
    }
    tried = candidates(parse(table))
    assert [candidate.design for candidate in tried] == [Boundary(shift=0.0), Boundary(shift=0.05)]
    assert all(candidate.work.plan.attacks == (Gap(),) for candidate in tried)
