"""What does not go together in an experiment file is one sentence."""

import copy

import pytest

from audit.config import parse
from tests.config.mistakes import changed, refusal
from tests.tiny_experiment import TINY


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (
            "audits.0.data",
            "pydoc",
            "audits.0: canary design 'mislabelled' makes array records, data set 'pydoc' holds text records.",
        ),
        (
            "audits.0.canaries.design",
            "secrets",
            "audits.0: canary design 'secrets' makes text records, data set 'digits' holds array records.",
        ),
        ("audits.0.attacks", ["loss", "extraction"], "audits.0: attack 'extraction' cannot attack array canaries."),
        (
            "audits.0.attacks",
            ["loss", "loss"],
            "audits.0: Expected attacks of different names, got loss, loss; give one a label of its own.",
        ),
        ("epsilons", [1.0, 2.0, 1], "each epsilon may be named once, got [1.0, 2.0, 1.0]."),
    ],
)
def test_what_does_not_go_together(path, value, sentence):
    assert refusal(changed(path, value)) == sentence


def test_attacks_that_compare_models_need_four_of_them():
    table = changed("audits.0.attacks", ["loss", "lira"])
    table["audits"][0]["models"] = 3
    assert refusal(table) == (
        "audits.0: attack 'lira' compares each model with others, so models must be at least 4, got 3."
    )


def test_attacks_that_compare_models_need_the_same_canaries_in_all_of_them():
    table = changed("audits.0.attacks", ["loss", "lira"])
    table["audits"][0]["models"] = 4
    parse(table)
    table["audits"][0]["canaries"]["sets"] = 2
    assert refusal(table) == (
        "audits.0: attack 'lira' compares what models make of one canary, but with sets = 2 they hold different ones; "
        "set sets to 1."
    )


def test_designs_whose_ids_name_records_are_drawn_once():
    table = changed("audits.0.canaries", {"design": "natural", "count": 4, "sets": 2})
    assert refusal(table) == (
        "audits.0.canaries: sets must be 1 with design 'natural', whose ids name the records of one set, got 2."
    )
    table["audits"][0]["canaries"]["sets"] = 1
    parse(table)


def test_audits_need_names_of_their_own():
    table = copy.deepcopy(TINY)
    table["audits"] *= 2
    assert refusal(table) == "each audit needs a name of its own, got a, a."


def test_models_come_in_pairs_where_models_are_randomised():
    table = changed("audits.0.canaries.randomise", "model")
    assert parse(table).audits[0].models == 2
    table["audits"][0]["models"] = 3
    assert refusal(table) == "audits.0: models must be even where each model has the canary or not, got 3."
