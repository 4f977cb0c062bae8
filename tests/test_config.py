"""The experiment file: what is allowed loads, and every mistake is one sentence."""

import copy
import math
import re
import sys
from pathlib import Path

import pytest

from audit.config import load, parse
from audit.training.models import MLP
from canaries.errors import InputError

TINY = {
    "name": "tiny",
    "epsilons": [4.0],
    "delta": 1e-5,
    "audits": [
        {
            "name": "a",
            "models": 2,
            "attacks": ["loss"],
            "estimators": ["one-run"],
            "data": {"name": "digits", "train": 20, "pool": 10, "test": 5},
            "canaries": {"design": "mislabelled", "count": 4, "references": 2},
            "trainer": {"name": "opacus", "model": "softmax", "steps": 2},
        }
    ],
}
EXPERIMENTS = sorted((Path(__file__).parent.parent / "experiments").rglob("*.toml"))


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


def test_the_tiny_experiment_is_fine():
    experiment = parse(TINY)
    assert experiment.all_epsilons == (4.0, math.inf)
    assert experiment.confidence == 0.95
    assert experiment.audits[0].canaries.design.name == "mislabelled"


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("delt", "Unknown key 'delt' in the file (did you mean 'delta'?); allowed: accountant, audits, confidence,"),
        ("audits.0.modles", "Unknown key 'modles' in [audits.0] (did you mean 'models'?); allowed: attacks, canaries,"),
        (
            "audits.0.data.trian",
            "audits.0.data: Unknown key 'trian' in data set 'digits' (did you mean 'train'?); allow",
        ),
        (
            "audits.0.canaries.coutn",
            "Unknown key 'coutn' in [audits.0.canaries] (did you mean 'count'?); allowed: count,",
        ),
        (
            "audits.0.trainer.stpes",
            "audits.0.trainer: Unknown key 'stpes' in trainer 'opacus' (did you mean 'steps'?);",
        ),
        (
            "gate.max_bound",
            "Unknown key 'max_bound' in [gate] (did you mean 'max_lower_bound'?); allowed: baseline,",
        ),
    ],
)
def test_unknown_keys(path, sentence):
    assert refusal(changed(path, 1)).startswith(sentence)


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (
            "audits.0.trainer.model",
            {"name": "mlp", "hiden": [3]},
            "audits.0.trainer: Trainer 'opacus': Unknown key 'hiden' in model 'mlp' (did you mean 'hidden'?); "
            "allowed: hidden.",
        ),
        (
            "audits.0.attacks",
            ["loss", {"name": "noise-robustness", "copys": 3}],
            "audits.0.attacks.1: Unknown key 'copys' in attack 'noise-robustness' (did you mean 'copies'?); "
            "allowed: copies, label, scales.",
        ),
        (
            "audits.0.estimators",
            [{"name": "one-run", "guess": 3}],
            "audits.0.estimators.0: Unknown key 'guess' in estimator 'one-run' (did you mean 'guesses'?); "
            "allowed: centre, guesses.",
        ),
        (
            "audits.0.canaries.design",
            {"name": "blank", "lable": 1},
            "audits.0.canaries.design: Unknown key 'lable' in canary design 'blank' (did you mean 'label'?); "
            "allowed: label.",
        ),
    ],
)
def test_unknown_keys_inside_plugins(path, value, sentence):
    assert refusal(changed(path, value)) == sentence


@pytest.mark.parametrize(
    "path",
    [
        *("name", "epsilons", "delta", "audits"),
        *(f"audits.0.{key}" for key in ("name", "data", "canaries", "trainer", "models", "attacks", "estimators")),
        *("audits.0.canaries.design", "audits.0.canaries.count"),
    ],
)
def test_missing_keys(path):
    assert refusal(without(path)) == f"Key '{path}' is missing."


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


@pytest.mark.parametrize(
    ("epsilons", "all_of_them"),
    [([math.inf], (math.inf,)), ([8, math.inf, 1.5], (1.5, 8.0, math.inf)), ([2.0, 1.0], (1.0, 2.0, math.inf))],
)
def test_infinity_is_allowed_and_added(epsilons, all_of_them):
    assert parse(changed("epsilons", epsilons)).all_epsilons == all_of_them


def test_plain_data_parses_to_the_same():
    table = changed("audits.0.trainer.model", {"name": "mlp", "hidden": [7, 5]})
    table["gate"] = {"max_lower_bound": 2.0}
    table["epsilons"] = [1.0, math.inf]
    experiment = parse(table)
    again = parse(experiment.plain())
    assert again == experiment
    assert again.plain() == experiment.plain()
    assert experiment.plain()["audits"][0]["trainer"]["model"] == {"name": "mlp", "hidden": [7, 5]}
    assert experiment.plain()["audits"][0]["trainer"]["learning_rate"] == 1.0


def test_plain_data_names_a_third_party_by_its_module(tmp_path, monkeypatch):
    (tmp_path / "third_party_config.py").write_text(
        "from dataclasses import dataclass\nfrom attacks.loss import Loss\n"
        "@dataclass(frozen=True)\nclass Mine(Loss):\n    name = 'mine'\n    power: float = 1.0\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        experiment = parse(changed("audits.0.attacks", ["loss", {"name": "third_party_config:Mine", "power": 2.0}]))
        assert experiment.plain()["audits"][0]["attacks"] == (
            {"name": "loss"},
            {"name": "third_party_config:Mine", "power": 2.0},
        )
        assert parse(experiment.plain()) == experiment
    finally:
        sys.modules.pop("third_party_config", None)


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.name)
def test_every_experiment_that_ships_loads(path):
    experiment = load(path)
    assert experiment.name == path.stem
    assert parse(experiment.plain()) == experiment


FILE = """
name = "tiny"
epsilons = [4.0, inf]
delta = 1e-5
[[audits]]
name = "one"
models = 2
attacks = ["loss"]
estimators = ["one-run"]
data = "digits"
canaries = { design = "blank", count = 4 }
trainer = { name = "opacus", model = "mlp" }
[[audits]]
name = "two"
models = 2
attacks = ["loss"]
estimators = ["one-run"]
data = "digits"
canaries = { design = "blank", count = 4 }
trainer = "opacus"
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(FILE)
    return path


def test_overrides_reach_every_place(file):
    experiment = load(
        file,
        [
            "seed=7",
            "name=other",
            "epsilons=[1.0, 2.0]",
            "gate.least_power=0.5",
            "audits.two.models=6",
            "audits.0.models=4",
            "audits.one.trainer.model.hidden=[3, 2]",
            "audits.two.trainer.steps=9",
            "audits.two.canaries.design.label=1",
            "audits.one.data.train=50",
            "audits.one.attacks=['loss', {name='noise-robustness', copies=2}]",
        ],
    )
    one, two = experiment.audits
    assert (experiment.seed, experiment.name, experiment.epsilons) == (7, "other", (1.0, 2.0))
    assert experiment.gate.least_power == 0.5
    assert (one.models, two.models) == (4, 6)
    assert one.trainer.model == MLP((3, 2))
    assert two.trainer.steps == 9
    assert two.canaries.design.label == 1
    assert one.data.train == 50
    assert one.attacks[1].copies == 2


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("seed", "Expected --set key=value, got 'seed'."),
        ("=3", "Expected --set key=value, got '=3'."),
        ("audits.three.models=4", "--set audits.three.models: there is no 'three'; allowed: one, two."),
        ("audits.5.models=4", "--set audits.5.models: there is no '5'; allowed: one, two."),
        ("audits.0=4", "--set audits.0: '0' stands in a list; name an entry of it first."),
        ("name.x=3", "--set name.x: 'name' is not a table."),
        ("name.x.y=3", "--set name.x.y: 'x' is not inside a table."),
        ("seed=abc", "FILE: Key 'seed': expected a valid integer, got 'abc'."),
        ("delta=nan", "FILE: Key 'delta': expected a finite number, got nan."),
        ("gate.least_power=7", "FILE: Key 'gate.least_power': expected less than or equal to 1, got 7."),
        (
            "sed=7",
            "FILE: Unknown key 'sed' in the file (did you mean 'seed'?); allowed: accountant, audits, confidence,",
        ),
    ],
)
def test_bad_overrides(file, override, sentence):
    with pytest.raises(InputError) as error:
        load(file, [override])
    assert str(error.value).replace(str(file), "FILE").startswith(sentence)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"name = ", "FILE is not valid TOML: Invalid value"),
        (b"name = '\xff'", "Cannot read the experiment file 'FILE': 'utf-8' codec can't decode"),
        (b"", "FILE: Key 'name' is missing."),
    ],
)
def test_files_that_are_no_experiment(tmp_path, content, sentence):
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        load(path)
    assert str(error.value).replace(str(path), "FILE").startswith(sentence)


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"Cannot read the experiment file '.*none.toml': .*No such file"):
        load(tmp_path / "none.toml")
