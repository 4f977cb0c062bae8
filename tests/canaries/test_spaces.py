"""Spaces of secrets: counted, listed and drawn alike."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canaries.base import Secret
from canaries.errors import InputError
from canaries.records import Dataset, TextRecords
from canaries.secrets import Secrets
from canaries.spaces import WORDS, chain, luhn, one_of, space_of, transitions, uniform

TEXT = Dataset("text", TextRecords(("abc",)), TextRecords(()), TextRecords(()))
FORMS = ["{digits:3}", "{letters:2}", "{letters:1}-{digits:2}", "{words:1}", "{card:4}", "{email:1}", "{digits:1}x"]


@pytest.mark.parametrize("form", FORMS)
def test_every_value_is_listed_once_and_nothing_else_is_in(form: str) -> None:
    space = space_of(form)
    values = [space.value(rank) for rank in range(space.size)]
    assert len(set(values)) == space.size == space.completions[0]
    assert all(value in space for value in values)
    assert max(map(len, values)) == space.longest
    assert not any(values[0][:i] in space for i in range(len(values[0])))
    assert values[0] + "0" not in space
    assert {c for value in values for c in value} == set(space.alphabet)


def test_sizes_are_those_of_the_formats() -> None:
    assert len(set(WORDS)) == 64
    assert space_of("{digits:8}").size == 10**8
    assert space_of("{words:4}").size == 64**4
    assert space_of("{card:16}").size == 10**15
    assert space_of("{email:6}").size == 3 * 26**6
    assert space_of("{letters:3}-{digits:4}").size == 26**3 * 10**4


@given(st.integers(2, 8), st.data())
def test_the_check_digit_is_luhns(digits: int, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, 10**digits - 1).map(lambda n: f"{n:0{digits}d}"))
    doubled = [int(d) * (1 + i % 2) for i, d in enumerate(reversed(number))]
    assert (number in luhn(digits)) == (sum(d // 10 + d % 10 for d in doubled) % 10 == 0)


@given(st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=6, unique=True))
def test_lists_of_values_are_refused_where_one_begins_another(values: list[str]) -> None:
    clash = any(a != b and b.startswith(a) for a, b in itertools.product(values, values))
    if clash:
        with pytest.raises(InputError, match="none begins another"):
            one_of(values)
        return
    both = chain([one_of(values), uniform("01", 2)])
    assert sorted(both.value(i) for i in range(both.size)) == sorted(
        v + a + b for v in values for a in "01" for b in "01"
    )


@pytest.mark.parametrize("form", ["{digits:2}", "{words:1}", "{card:3}"])
def test_draws_are_uniform(form: str) -> None:
    space = space_of(form)
    draws = 100 * space.size
    place = {space.value(i): i for i in range(space.size)}
    counts = np.bincount([place[v] for v in space.draw(draws, np.random.default_rng(0))], minlength=space.size)
    freedom = space.size - 1
    assert ((counts - 100) ** 2 / 100).sum() < freedom + 4 * math.sqrt(2 * freedom)


def test_transitions_allow_what_the_space_allows() -> None:
    space = space_of("{card:3}")
    table = transitions(space, "0123456789x")
    assert table.shape == (len(space.moves), 12)
    assert (table[:, 0] == -1).all()
    assert (table[:, -1] == -1).all()
    assert [int((row >= 0).sum()) for row in table] == [len(moves) for moves in space.moves]
    with pytest.raises(InputError, match="Secrets may hold '9'"):
        transitions(space, "012345678")


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("{digits:0}", r"size in \[1, 64\]"),
        ("{digits}", "with a size"),
        ("{pin:4}", "Unknown slot"),
        ("{card:1}", "2 digits or more"),
        ("plain", "one slot or more"),
        ("{digits:2", "balanced"),
    ],
)
def test_bad_formats_are_named(form: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        space_of(form)


def test_a_rank_outside_is_named() -> None:
    with pytest.raises(InputError, match=r"rank in \[0, 100\), got 100"):
        space_of("{digits:2}").value(100)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(FORMS[:6]), st.integers(1, 3))
def test_templates_with_typed_slots_make_secrets_of_that_space(form: str, per_record: int) -> None:
    design = Secrets(template="dear {name}, " + form + "!", per_record=per_record, repetitions=(2,))
    made = design.make(TEXT, 3, np.random.default_rng(1), references=1)
    for text, secret in zip(made.records.texts, made.secrets, strict=True):  # type: ignore[union-attr]
        assert secret.value in secret.space
        assert secret.space_size == design.space.size == space_of(form).size
        assert text == " ".join([secret.text] * per_record)
        assert secret.suffix == "!"
    assert made.repetitions.tolist() == [2] * 4


def test_people_have_synthetic_names() -> None:
    pytest.importorskip("faker")
    made = Secrets(template="{person} lives at {email:3}.").make(TEXT, 4, np.random.default_rng(0))
    names = [s.prefix.removesuffix(" lives at ") for s in made.secrets]
    assert len(set(names)) == 4
    assert all(name.replace(" ", "").isalpha() and name.islower() for name in names)
    again = Secrets(template="{person} lives at {email:3}.").make(TEXT, 4, np.random.default_rng(0))
    assert made.digest() == again.digest()


def test_spaces_beyond_a_thousand_bits_are_refused() -> None:
    largest = space_of("{digits:64}" * 4 + "{digits:45}")
    assert float(largest.size) == 1e301
    with pytest.raises(InputError, match=r"secrets of 1,000 bits or less, got 1,003 bits in up to 302 characters"):
        space_of("{digits:64}" * 4 + "{digits:46}")
    with pytest.raises(InputError, match=r"got template = .*1,000 bits or less, got 1,063 bits"):
        Secrets("{name} " + "{digits:64}" * 5)
    with pytest.raises(InputError, match="1,000 bits or less, got 1,329 bits"):
        _ = Secret("code ", "0" * 400, "", "0123456789").space_size


def test_sizes_of_slots_are_ascii_digits() -> None:
    with pytest.raises(InputError, match=r"size in \[1, 64\], got \{digits:\u0663\}"):
        space_of("{digits:\u0663}")
