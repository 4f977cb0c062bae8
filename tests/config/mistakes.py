"""The tiny experiment with something changed in it, and the sentence that refuses it."""

import copy
import re

import pytest

from audit.config import parse
from canaries.errors import InputError
from tests.tiny_experiment import TINY


def changed(path, value):
    """The tiny experiment with another value at `path`, keys separated by dots."""
    table = copy.deepcopy(TINY)
    here = table
    *parents, last = path.split(".")
    for key in parents:
        here = here[int(key)] if isinstance(here, list) else here.setdefault(key, {})
    here[last] = value
    return table


def without(path):
    table = changed(path, None)
    here = table
    *parents, last = path.split(".")
    for key in parents:
        here = here[int(key)] if isinstance(here, list) else here[key]
    del here[last]
    return table


def refusal(table):
    with pytest.raises(InputError) as error:
        parse(table, "FILE")
    sentence = str(error.value)
    assert sentence.startswith("FILE: ")
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert not re.search(r"pydantic|validat|tuple|Tuple|dictionary|AuditPlan|CanaryPlan|__init__", sentence)
    return sentence.removeprefix("FILE: ")
