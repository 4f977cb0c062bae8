"""What stands in for a canary that is out, and users who own several records."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest

from attacks import Observations, Scores
from canaries import Blank, Dirac, Inclusion, Mislabelled
from canaries.errors import InputError
from canaries.inclusion import all_records, members, training_set
from canaries.natural import Natural
from canaries.neighbours import NEIGHBOURS, as_neighbours, owned
from canaries.records import ArrayRecords, Dataset, TextRecords
from canaries.secrets import Secrets

RNG = np.random.default_rng(3)
DATA = Dataset("toy", *(ArrayRecords(RNG.normal(size=(n, 3)), RNG.integers(4, size=n), 4) for n in (10, 30, 5)))
TEXTS = Dataset("texts", *(TextRecords(tuple(f"{part} {i}" for i in range(20))) for part in ("train", "pool", "test")))


def rng():
    return np.random.default_rng(0)


def made(count: int = 4, references: int = 2):
    return Mislabelled().make(DATA, count, rng(), references)


def rows_of(records: ArrayRecords) -> list[bytes]:
    return [x.tobytes() + bytes([y]) for x, y in zip(records.x, records.y, strict=True)]


def test_adding_or_removing_leaves_the_place_empty():
    canaries = as_neighbours(made(), "add-or-remove-one", DATA, rng())
    assert canaries.substitutes is None
    assert canaries.digest() == made().digest()
    assert len(training_set(DATA.train, canaries, np.zeros(6, dtype=bool))) == 10


@pytest.mark.parametrize("neighbours", ["replace-one", "replace-label"])
def test_replacing_keeps_the_size_and_changes_the_places_alone(neighbours):
    canaries = as_neighbours(made(), neighbours, DATA, rng())
    assert canaries.digest() != made().digest()
    sets = [
        rows_of(training_set(DATA.train, canaries, np.array([*bits, False, False])))
        for bits in ([False] * 4, [True, False, False, False], [True] * 4)
    ]
    assert [len(one) for one in sets] == [14, 14, 14]  # no place for the two references
    assert all(one[:10] == rows_of(DATA.train) for one in sets)
    assert [a == b for a, b in zip(sets[0], sets[1], strict=True)] == [True] * 10 + [False] + [True] * 3
    assert sets[2][10:] == rows_of(canaries.records)[:4]
    assert sets[0][10:] == rows_of(canaries.substitutes)[:4]


def test_another_record_is_of_the_pool_and_another_label_of_the_canary():
    canaries = made()
    other = as_neighbours(canaries, "replace-one", DATA, rng()).substitutes
    assert set(rows_of(other)) <= set(rows_of(DATA.pool))
    assert len(set(rows_of(other))) == 6
    relabelled = as_neighbours(canaries, "replace-label", DATA, rng()).substitutes
    np.testing.assert_array_equal(relabelled.x, canaries.records.x)
    assert (relabelled.y != canaries.records.y).all()
    many = Blank(label=1).make(DATA, 3000, rng())
    counts = np.bincount(as_neighbours(many, "replace-label", DATA, rng()).substitutes.y, minlength=4)
    assert counts[1] == 0
    np.testing.assert_allclose(counts[[0, 2, 3]] / 3000, 1 / 3, atol=0.04)


@pytest.mark.parametrize("design", [Mislabelled(), Natural()])
def test_what_stands_in_is_no_canary_and_no_reference(design):
    for seed in range(20):
        canaries = design.make(DATA, 10, np.random.default_rng(seed), 5)
        other = as_neighbours(canaries, "replace-one", DATA, np.random.default_rng(seed)).substitutes
        features = [{x.tobytes() for x in records.x} for records in (canaries.records, other)]
        assert len(features[1]) == 15
        assert not features[0] & features[1]


def test_a_pool_with_too_few_other_records_is_refused():
    with pytest.raises(InputError, match="that of 'toy' holds 14 that are no canaries themselves; make it"):
        as_neighbours(made(12, 4), "replace-one", DATA, rng())
    with pytest.raises(InputError, match="in the place of 31 canaries, references included, come from the"):
        as_neighbours(Blank(label=1).make(DATA, 31, rng()), "replace-one", DATA, rng())


def test_copies_are_replaced_by_as_many_copies():
    canaries = replace(made(2, 0), repetitions=np.array([1, 3]))
    canaries = as_neighbours(canaries, "replace-one", DATA, rng())
    np.testing.assert_array_equal(members(10, canaries, np.array([True, False])), [*range(10), 10, 13, 13, 13])
    assert len(all_records(DATA.train, canaries)) == 14


def test_texts_are_replaced_by_texts():
    secrets = Secrets(repetitions=(2,)).make(TEXTS, 2, rng())
    canaries = as_neighbours(secrets, "replace-one", TEXTS, rng())
    texts = training_set(TEXTS.train, canaries, np.array([False, True])).texts
    assert texts[:20] == TEXTS.train.texts
    assert texts[20] == texts[21]
    assert texts[20] in TEXTS.pool.texts
    assert texts[22:] == (secrets.records.texts[1],) * 2


def test_what_cannot_be_replaced():
    assert len(NEIGHBOURS) == 3
    with pytest.raises(InputError, match=r"'add-or-remove-one', 'replace-one', 'replace-label', got 'edit'"):
        as_neighbours(made(), "edit", DATA, rng())
    with pytest.raises(InputError, match="comes from the pool, but 'toy' has none"):
        as_neighbours(made(), "replace-one", replace(DATA, pool=DATA.pool.take(slice(0))), rng())
    with pytest.raises(InputError, match="Gradients are added or removed"):
        as_neighbours(Dirac().make(DATA, 2, rng()), "replace-one", DATA, rng())
    with pytest.raises(InputError, match="Texts have no label"):
        as_neighbours(Secrets().make(TEXTS, 1, rng()), "replace-label", TEXTS, rng())
    with pytest.raises(InputError, match="Expected 6 substitutes, one per canary, got 30"):
        replace(made(), substitutes=DATA.pool)


@pytest.mark.parametrize("randomised", ["canary", "model"])
def test_a_user_is_in_with_all_records_or_out_with_all(randomised):
    canaries = owned(made(12, 6), 3)
    assert canaries.users[:4] == ("mislabelled-user-0000",) * 3 + ("mislabelled-user-0001",)
    assert canaries.users[12] == "mislabelled-user-reference-0000"
    inclusion = Inclusion.draw(canaries, 400, randomised, seed=1)
    member = inclusion.member.reshape(400, 6, 3)
    assert (member == member[:, :, :1]).all()
    assert binomtest(int(member[:, :, 0].sum()), 2400).pvalue > 0.001
    assert not inclusion.inserted[:, 12:].any()
    if randomised == "canary":
        signs = 2.0 * member[:, :, 0] - 1
        assert abs((signs[:, 1:] * signs[:, :-1]).mean()) < 4 / np.sqrt(2000)


@pytest.mark.parametrize(("protected", "copies"), [("record", 2), ("user", 1)])
def test_scores_of_a_user_are_the_means_of_the_records(protected, copies):
    canaries = owned(made(4, 2), 2, protected)
    inclusion = Inclusion.draw(canaries, 5, "canary", seed=0)
    score = np.arange(30.0).reshape(5, 6)
    score[0, :4] = [-np.inf, np.inf, np.inf, 1.0]
    found = Scores.join(Observations(canaries.ids, score, {"distance": score[::-1].copy()}), canaries, inclusion)
    assert found.ids == ("mislabelled-user-0000", "mislabelled-user-0001", "mislabelled-user-reference-0000")
    np.testing.assert_allclose(found.score[1:], (score[1:, ::2] + score[1:, 1::2]) / 2)
    assert list(found.score[0, [0, 2]]) == [0.0, 4.5]
    assert found.score[0, 1] > 1e300
    assert found.evidence["distance"].shape == (5, 3)
    np.testing.assert_array_equal(found.member, inclusion.member[:, ::2])
    np.testing.assert_array_equal(found.reference, [False, False, True])
    np.testing.assert_array_equal(found.repetitions, [copies] * 3)


def test_a_protected_user_is_another_unit_of_work():
    digests = {owned(made(), 2).digest(), owned(made(), 2, "user").digest(), owned(made(), 1).digest(), made().digest()}
    assert len(digests) == 4


def test_users_that_cannot_be():
    with pytest.raises(InputError, match="divides 4 canaries and 2 references, got 3"):
        owned(made(), 3)
    with pytest.raises(InputError, match="secrets or repetitions"):
        owned(Secrets().make(TEXTS, 2, rng()), 2)
    with pytest.raises(InputError, match="'record' or 'user', got 'group'"):
        owned(made(), 2, "group")
    with pytest.raises(InputError, match="an owner for each of 6 canaries or for none, got 1"):
        replace(made(), users=("somebody",))
