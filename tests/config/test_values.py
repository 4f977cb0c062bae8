"""Values of the experiment file: wrong types and impossible ones are one sentence."""

import copy
import math

import pytest

from tests.config.mistakes import changed, refusal
from tests.tiny_experiment import TINY


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("name", 3, "a valid string, got 3"),
        ("delta", "x", "a valid number, got 'x'"),
        ("seed", 1.0, "a valid integer, got 1.0"),
        ("seed", True, "a valid integer, got True"),
        ("epsilons", 4.0, "a list, got 4.0"),
        ("epsilons.0", "1", "a valid number, got '1'"),
        ("epsilons.0", True, "a valid number, got True"),
        ("audits", {}, "a list, got {}"),
        ("audits.0", 3, "a table, got 3"),
        ("audits.0.models", "4", "a valid integer, got '4'"),
        ("audits.0.models", 2.5, "a valid integer, got 2.5"),
        ("audits.0.attacks", "loss", "a list, got 'loss'"),
        ("audits.0.canaries", "mislabelled", "a table, got 'mislabelled'"),
        ("gate", 3, "a table, got 3"),
        ("gate.refute_claims", "yes", "True, False, 'error' or 'warning', got 'yes'"),
        ("name", "", "a string that is not empty, got ''"),
        ("name", "../x", "a string that matches ^[A-Za-z0-9][A-Za-z0-9._-]*$, got '../x'"),
        ("audits.0.name", "a/b", "a string that matches ^[A-Za-z0-9][A-Za-z0-9._-]*$, got 'a/b'"),
        ("epsilons", [], "at least 1 entry, got []"),
        ("epsilons.0", 0.0, "greater than 0, got 0.0"),
        ("epsilons.0", -1.0, "greater than 0, got -1.0"),
        ("epsilons.0", math.nan, "greater than 0, got nan"),
        ("delta", 1.0, "less than 1, got 1.0"),
        ("delta", -0.1, "greater than or equal to 0, got -0.1"),
        ("delta", math.nan, "a finite number, got nan"),
        ("confidence", 1.0, "less than 1, got 1.0"),
        ("confidence", 0.5, "greater than 0.5, got 0.5"),
        ("confidence", math.nan, "a finite number, got nan"),
        ("seed", -1, "greater than or equal to 0, got -1"),
        ("accountant", "rdp", "'pld' or 'opacus-prv', got 'rdp'"),
        ("audits", [], "at least 1 entry, got []"),
        ("audits.0.models", 0, "greater than or equal to 1, got 0"),
        ("audits.0.attacks", [], "at least 1 entry, got []"),
        ("audits.0.estimators", [], "at least 1 entry, got []"),
        ("audits.0.canaries.count", 0, "greater than or equal to 1, got 0"),
        ("audits.0.canaries.references", -1, "greater than or equal to 0, got -1"),
        ("audits.0.canaries.randomise", "coin", "'canary' or 'model', got 'coin'"),
        ("gate.least_power", 2.0, "less than or equal to 1, got 2.0"),
        ("gate.max_lower_bound.limit", math.inf, "a finite number, got inf"),
        ("gate.max_extraction_rate.limit", math.nan, "a finite number, got nan"),
    ],
)
def test_wrong_types_and_impossible_values(path, value, expected):
    table = copy.deepcopy(TINY)
    if path == "epsilons.0":
        table["epsilons"] = [value]
    elif path == "audits.0":
        table["audits"] = [value]
    else:
        table = changed(path, value)
    assert refusal(table) == f"Key '{path}': expected {expected}."


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (
            "audits.0.trainer.steps",
            "x",
            "audits.0.trainer: Trainer 'opacus': Key 'steps': expected a valid integer, got 'x'",
        ),
        ("audits.0.trainer.steps", 0, "audits.0.trainer: Trainer 'opacus': Expected steps >= 1, got 0"),
        ("audits.0.trainer.momentum", 1.0, "audits.0.trainer: Trainer 'opacus': Expected momentum in [0, 1), got 1.0"),
        (
            "audits.0.trainer.sample_rate",
            math.nan,
            "audits.0.trainer: Trainer 'opacus': Expected sample_rate in (0, 1], got nan",
        ),
        (
            "audits.0.trainer.model",
            {"name": "mlp", "hidden": [0]},
            "audits.0.trainer: Trainer 'opacus': Model 'mlp': Expected hidden to be one or more widths >= 1, got [0]",
        ),
        (
            "audits.0.trainer",
            "opcus",
            "audits.0.trainer: Unknown trainer 'opcus' (did you mean 'opacus'?); allowed: ",
        ),
        (
            "audits.0.attacks",
            ["los"],
            "audits.0.attacks.0: Unknown attack 'los' (did you mean 'loss'?); allowed: ",
        ),
        (
            "audits.0.estimators",
            ["onerun"],
            "audits.0.estimators.0: Unknown estimator 'onerun' (did you mean 'one-run'?)",
        ),
        (
            "audits.0.data",
            "digit",
            "audits.0.data: Unknown data set 'digit' (did you mean 'digits'?); allowed: ",
        ),
        (
            "audits.0.canaries.design",
            "blnk",
            "audits.0.canaries.design: Unknown canary design 'blnk' (did you mean 'blank'",
        ),
        ("audits.0.data", {"name": "csv", "path": "x"}, "audits.0.data: Data set 'csv': Key 'label' is missing"),
        (
            "audits.0.trainer",
            3,
            "audits.0.trainer: Expected the name of a trainer, or a table with its name and fields, go",
        ),
        (
            "audits.0.attacks",
            ["nowhere:X"],
            "audits.0.attacks.0: Cannot load attack 'nowhere:X': No module named 'nowhere'",
        ),
    ],
)
def test_plugins_are_checked(path, value, sentence):
    assert refusal(changed(path, value)).startswith(sentence)
