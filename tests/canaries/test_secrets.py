"""Secret sequences: names distinct, values uniform, bad templates named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from canaries.errors import InputError
from canaries.records import ArrayRecords, Dataset, TextRecords
from canaries.secrets import Secrets, _people

TEXT = Dataset("text", TextRecords(("abc",)), TextRecords(()), TextRecords(()))


def test_texts_hold_their_secrets_and_repetitions_follow_ids() -> None:
    canaries = Secrets().make(TEXT, 5, np.random.default_rng(0), references=3)
    assert len(canaries.secrets) == len(canaries) == 8
    for text, secret in zip(canaries.records.texts, canaries.secrets, strict=True):  # type: ignore[union-attr]
        assert text == secret.prefix + secret.value + secret.suffix
        assert len(secret.value) == 6
        assert secret.value.isdigit()
        assert secret.space_size == 10**6
    assert len({s.prefix for s in canaries.secrets}) == 8
    assert canaries.repetitions.tolist() == [1, 16, 1, 16, 1, 1, 16, 1]
    assert canaries.reference.tolist() == [False] * 5 + [True] * 3


def test_names_are_distinct_even_when_every_name_is_needed() -> None:
    canaries = Secrets(name_letters=1).make(TEXT, 26, np.random.default_rng(0))
    assert len({s.prefix for s in canaries.secrets}) == 26
    with pytest.raises(InputError, match="26 different names, fewer than 27"):
        Secrets(name_letters=1).make(TEXT, 27, np.random.default_rng(0))


def test_values_are_uniform_over_digits() -> None:
    canaries = Secrets(digits=2).make(TEXT, 5000, np.random.default_rng(1))
    counts = np.bincount([int(s.value) for s in canaries.secrets], minlength=100)
    assert ((counts - 50) ** 2 / 50).sum() < 149  # chi-squared, 99 degrees of freedom, p = .001
    assert any(s.value.startswith("0") for s in canaries.secrets)


def test_the_same_generator_makes_the_same_canaries() -> None:
    one, two = (Secrets().make(TEXT, 4, np.random.default_rng(3)) for _ in range(2))
    assert one.digest() == two.digest()


def test_other_templates() -> None:
    canaries = Secrets(template="{name}: {secret}", digits=3, repetitions=(2,)).make(TEXT, 2, np.random.default_rng(0))
    assert all(s.suffix == "" and len(s.prefix) == 8 for s in canaries.secrets)
    assert canaries.repetitions.tolist() == [2, 2]


@pytest.mark.parametrize(
    "template",
    ["no fields", "{secret} of {name}", "{name} {name} {secret}", "{name} {secret} {}", "{name} {secret:>8}",
     "{name} {secret!r}", "{name} {secret", "{{{name}}} {secret}", "{name} {secret} {other}"],
)  # fmt: skip
def test_bad_templates_are_named(template: str) -> None:
    with pytest.raises(InputError, match=r"Expected a template with \{name\} once"):
        Secrets(template=template)


def test_bad_values_are_named() -> None:
    with pytest.raises(InputError, match=r"digits in \[1, 18\], got digits = 0"):
        Secrets(digits=0)
    with pytest.raises(InputError, match=r"name_letters in \[1, 64\]"):
        Secrets(name_letters=0)
    with pytest.raises(InputError, match=r"repetitions = \(1, 0\)"):
        Secrets(repetitions=(1, 0))
    with pytest.raises(InputError, match=r"repetitions = \(\)"):
        Secrets(repetitions=())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"repetitions": 4}, "whole numbers >= 1, got repetitions = 4"),
        ({"repetitions": (1.5,)}, r"whole numbers >= 1, got repetitions = \(1.5,\)"),
        ({"repetitions": "16"}, "got repetitions = '16'"),
        ({"digits": "8"}, r"whole numbers of digits in \[1, 18\], got digits = '8'"),
        ({"digits": 8.0}, "got digits = 8.0"),
        ({"digits": ()}, r"got digits = \(\)"),
        ({"template": 5}, "Expected a template, a text, got template = 5"),
        ({"template": "{name} {digits:3}", "digits": (2, 4)}, r"got digits = \(2, 4\) and template"),
        ({"name_letters": "a"}, "whole number, got name_letters = 'a'"),
        ({"per_record": 1.5}, "whole number, got per_record = 1.5"),
    ],
)
def test_values_of_another_kind_are_named(values: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Secrets(**values)


def test_lists_are_taken_for_tuples() -> None:
    assert Secrets(digits=[2, 4], repetitions=[1, 2]) == Secrets(digits=(2, 4), repetitions=(1, 2))  # type: ignore[arg-type]


def test_too_few_different_people_are_named() -> None:
    pytest.importorskip("faker")
    with pytest.raises(InputError, match="different names, fewer than"):
        _people(2, np.random.default_rng(0), tries=0)


def test_array_data_is_refused() -> None:
    none = ArrayRecords(np.zeros((1, 2), np.float32), np.zeros(1, np.int64), 2)
    with pytest.raises(InputError, match="makes text records"):
        Secrets().make(Dataset("digits", none, none, none), 2, np.random.default_rng(0))
