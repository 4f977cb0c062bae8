import numpy as np
import pytest
from scipy.stats import binomtest

from attacks import Observations, Scores
from canaries import CanarySet, Inclusion
from canaries.errors import InputError
from canaries.inclusion import training_set
from canaries.records import ArrayRecords, TextRecords


def canary_set(n: int, references: int = 0, repetitions: list[int] | None = None) -> CanarySet:
    records = TextRecords(tuple(f"canary {i}" for i in range(n)))
    copies = np.array(repetitions or [1] * n, dtype=np.int64)
    return CanarySet("toy", tuple(f"c{i}" for i in range(n)), records, copies, np.arange(n) >= n - references)


def test_coins_are_fair_and_independent():
    member = Inclusion.draw(canary_set(100), 100, "canary", seed=4).member
    assert binomtest(int(member.sum()), member.size).pvalue > 0.001
    signs = 2.0 * member - 1
    for pairs in (signs[:, 1:] * signs[:, :-1], signs[1:] * signs[:-1]):
        assert abs(pairs.mean()) < 4 / np.sqrt(pairs.size)


@pytest.mark.parametrize("randomised", ["model", "canary"])
def test_more_models_leave_the_coins_of_the_first_as_they_are(randomised):
    canaries = canary_set(7, references=2)
    few, many = (Inclusion.draw(canaries, models, randomised, seed=2) for models in (4, 20))
    np.testing.assert_array_equal(few.member, many.member[:4])


def test_another_seed_gives_other_coins():
    a, b = (Inclusion.draw(canary_set(64), 1, "canary", seed) for seed in (0, 1))
    assert (a.member != b.member).any()


def test_models_have_all_canaries_or_none_in_balanced_pairs():
    member = Inclusion.draw(canary_set(3), 200, "model", seed=0).member
    assert (member == member[:, :1]).all()
    np.testing.assert_array_equal(member[0::2, 0], ~member[1::2, 0])
    assert binomtest(int(member[0::2, 0].sum()), 100).pvalue > 0.001


def test_a_reference_does_not_tell_the_arms_apart():
    inclusion = Inclusion.draw(canary_set(3, references=1), 400, "model", seed=0)
    assert not inclusion.inserted[:, 2].any()
    assert binomtest(int(inclusion.member[:, 2].sum()), 400).pvalue > 0.001
    assert abs((inclusion.member[:, 2] == inclusion.member[:, 0]).mean() - 0.5) < 0.1


def test_bad_arguments():
    with pytest.raises(InputError, match=r"models >= 1, got 0"):
        Inclusion.draw(canary_set(1), 0, "canary", 0)
    with pytest.raises(InputError, match=r"even number of models .* got 3"):
        Inclusion.draw(canary_set(1), 3, "model", 0)
    with pytest.raises(InputError, match=r"'model' or 'canary', got 'both'"):
        Inclusion.draw(canary_set(1), 2, "both", 0)


def test_a_training_set_repeats_what_is_in_and_keeps_the_base_in_front():
    base = TextRecords(("one", "two"))
    canaries = canary_set(3, repetitions=[1, 3, 2])
    texts = training_set(base, canaries, np.array([False, True, True])).texts
    assert texts == ("one", "two", "canary 1", "canary 1", "canary 1", "canary 2", "canary 2")


def test_a_training_set_of_another_kind_is_refused():
    with pytest.raises(InputError, match=r"Cannot join ArrayRecords with TextRecords"):
        training_set(ArrayRecords(np.zeros((1, 2)), np.zeros(1), 1), canary_set(1), np.array([True]))


def test_scores_are_joined_by_id_in_any_order():
    canaries = canary_set(4, references=1, repetitions=[1, 2, 3, 4])
    inclusion = Inclusion.draw(canaries, 6, "canary", seed=0)
    score = np.arange(24.0).reshape(6, 4)
    backwards = Observations(canaries.ids[::-1], score[:, ::-1], {"twice": 2 * score[:, ::-1]})
    scores = Scores.join(backwards, canaries, inclusion)
    np.testing.assert_array_equal(scores.score, score)
    np.testing.assert_array_equal(scores.evidence["twice"], 2 * score)
    np.testing.assert_array_equal(scores.member, inclusion.member)
    assert list(scores.repetitions) == [1, 2, 3, 4]


def test_scores_of_other_canaries_or_models_are_refused():
    canaries = canary_set(2)
    inclusion = Inclusion.draw(canaries, 2, "canary", seed=0)
    with pytest.raises(InputError, match=r"only one side has 'c1'"):
        Scores.join(Observations(("c0", "c9"), np.zeros((2, 2))), canaries, inclusion)
    with pytest.raises(InputError, match=r"Scores are of 3 models, coins of 2"):
        Scores.join(Observations(canaries.ids, np.zeros((3, 2))), canaries, inclusion)
