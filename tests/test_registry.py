"""Plug-ins by name, by entry point and by `package.module:Name`."""

import dataclasses
import sys
from importlib.metadata import EntryPoint

import pytest

import attacks
from audit import registry
from audit.registry import ATTACKS, DATASETS, DESIGNS, ESTIMATORS, KINDS, MODELS, TRAINERS, available, build, identity
from audit.training.models import CNN, MLP
from audit.training.opacus import Opacus
from canaries.errors import InputError

PLUGIN = """
from dataclasses import dataclass
import numpy as np
from attacks.base import Attack
from attacks.view import Access
from canaries.base import CanaryDesign

@dataclass(frozen=True)
class Constant(Attack):
    '''Scores everything alike.

    More words.
    '''
    name = "constant"
    access = Access.LOSS
    kinds = frozenset({"array"})
    family = "membership"
    value: float = 0.5

    def score(self, view, canaries, seed):
        return np.full((view.models, len(canaries)), self.value), {}

class NoDataclass:
    pass
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """The name of a module with a third party's attack."""
    (tmp_path / "third_party_registry.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "third_party_registry"
    sys.modules.pop("third_party_registry", None)


def refused(kind, spec):
    with pytest.raises(InputError) as error:
        build(kind, spec)
    return str(error.value)


def test_everything_that_ships_is_found():
    wanted = {
        "canary design": [
            "blank",
            "hot-pixel",
            "low-variance",
            "mislabelled",
            "natural",
            "secrets",
            "uniform-noise",
        ],
        "attack": ["extraction", "loss", "noise-robustness"],
        "estimator": [
            "betting",
            "calibrated-epsilon-delta",
            "calibrated-gaussian",
            "calibrated-loss-curve",
            "clopper-pearson",
            "dkw",
            "gaussian-dp",
            "one-run",
            "one-run-calibrated",
            "one-run-fdp",
            "reconstruction",
            "secret-guess",
        ],
        "trainer": ["ensemble", "non-private", "opacus"],
        "model": ["cnn", "gru", "lstm", "mlp", "ngram", "softmax", "transformer"],
        "data set": ["breast-cancer", "csv", "digits", "fashion-mnist", "idx", "mnist", "npz", "pydoc", "text"],
    }
    for kind in KINDS:
        found = list(available(kind))
        assert found == sorted(found)
        assert set(wanted[kind.label]) <= set(found)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.label)
def test_every_plugin_is_a_documented_frozen_dataclass(kind):
    for name, cls in available(kind).items():
        assert cls.name == name
        assert dataclasses.is_dataclass(cls)
        assert cls.__dataclass_params__.frozen
        assert registry.summary(cls).endswith((".", ")", ":"))


@pytest.mark.parametrize(
    ("kind", "spec", "built"),
    [
        (ATTACKS, "loss", attacks.Loss()),
        (ATTACKS, {"name": "noise-robustness", "copies": 3, "scales": [0.5]}, attacks.NoiseRobustness(3, (0.5,))),
        (ATTACKS, attacks.Loss(), attacks.Loss()),
        (TRAINERS, {"name": "opacus", "model": "cnn"}, Opacus(model=CNN())),
        (TRAINERS, {"name": "opacus", "model": {"name": "mlp", "hidden": [4, 5]}}, Opacus(model=MLP((4, 5)))),
        (TRAINERS, {"name": "opacus", "learning_rate": 2}, Opacus(learning_rate=2.0)),
    ],
)
def test_a_name_or_a_table_builds(kind, spec, built):
    assert build(kind, spec) == built


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        (ATTACKS, {"name": "noise-robustness", "copies": 3, "scales": [0.5, 1.0], "label": "three"}),
        (TRAINERS, {"name": "opacus", "model": {"name": "cnn", "channels": [4, 8]}, "steps": 3}),
        (DESIGNS, {"name": "secrets", "repetitions": [2, 3]}),
        (ESTIMATORS, {"name": "clopper-pearson", "threshold": 1.5}),
        (DATASETS, {"name": "csv", "path": "a.csv", "label": "y", "categorical": ["b"]}),
        (MODELS, "ngram"),
    ],
)
def test_identity_builds_the_same_again(kind, spec):
    built = build(kind, spec)
    plain = identity(built)
    assert build(kind, plain) == built
    assert plain["name"] == built.name
    assert set(plain) == {"name", *(field.name for field in dataclasses.fields(built))}


@pytest.mark.parametrize(
    ("kind", "spec", "sentence"),
    [
        (ATTACKS, "los", "Unknown attack 'los' (did you mean 'loss'?); allowed: "),
        (ATTACKS, "zzz", "Unknown attack 'zzz'; allowed: "),
        (TRAINERS, "opcus", "Unknown trainer 'opcus' (did you mean 'opacus'?); allowed: "),
        (ATTACKS, {"name": "loss", "copies": 3}, "Unknown key 'copies' in attack 'loss'; allowed: label."),
        (
            ATTACKS,
            {"name": "noise-robustness", "copys": 3},
            "Unknown key 'copys' in attack 'noise-robustness' (did you mean 'copies'?); "
            "allowed: copies, label, scales.",
        ),
        (
            TRAINERS,
            {"name": "opacus", "model": {"name": "mlp", "hiden": [3]}},
            "Trainer 'opacus': Unknown key 'hiden' in model 'mlp' (did you mean 'hidden'?); allowed: hidden.",
        ),
        (TRAINERS, {"name": "opacus", "model": "mpl"}, "Trainer 'opacus': Unknown model 'mpl' (did you mean 'mlp'?)"),
        (
            TRAINERS,
            {"name": "opacus", "steps": "many"},
            "Trainer 'opacus': Key 'steps': expected a valid integer, got 'many'.",
        ),
        (
            TRAINERS,
            {"name": "opacus", "steps": True},
            "Trainer 'opacus': Key 'steps': expected a valid integer, got True.",
        ),
        (TRAINERS, {"name": "opacus", "steps": 0}, "Trainer 'opacus': Expected steps >= 1, got 0."),
        (
            TRAINERS,
            {"name": "opacus", "optimizer": "rmsprop"},
            "Trainer 'opacus': Key 'optimizer': expected 'sgd' or 'adam', got 'rmsprop'.",
        ),
        (DATASETS, {"name": "csv", "label": "y"}, "Data set 'csv': Key 'path' is missing."),
        (ATTACKS, 3, "Expected the name of an attack, or a table with its name and fields, got 3."),
        (
            ATTACKS,
            {"copies": 3},
            "Expected the name of an attack, or a table with its name and fields, got {'copies': 3}.",
        ),
    ],
)
def test_a_mistake_is_one_sentence(kind, spec, sentence):
    assert refused(kind, spec).startswith(sentence)


@pytest.mark.parametrize("key", ["learning_rate", "weight_decay", "max_grad_norm", "noise_multiplier", "sample_rate"])
@pytest.mark.parametrize("value", [float("inf"), float("nan"), -1.0])
def test_hyperparameters_are_finite_and_not_negative(key, value):
    assert f"got {value}" in refused(TRAINERS, {"name": "opacus", key: value})


def test_a_third_party_is_found_by_module_and_name(plugin):
    built = build(ATTACKS, {"name": f"{plugin}:Constant", "value": 2.0})
    assert built.value == 2.0
    assert registry.summary(type(built)) == "Scores everything alike."
    assert "constant" not in available(ATTACKS)


def test_a_third_party_is_found_again_from_its_identity(plugin):
    built = build(ATTACKS, f"{plugin}:Constant")
    assert identity(built) == {"name": f"{plugin}:Constant", "value": 0.5}
    assert build(ATTACKS, identity(built)) == built


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nowhere.module:Name", "Cannot load attack 'nowhere.module:Name': No module named 'nowhere'."),
        ("third_party_registry:Nobody", "Cannot load attack 'third_party_registry:Nobody': module"),
        ("third_party_registry:NoDataclass", "'third_party_registry:NoDataclass' is no attack: expected a dataclass"),
        ("audit.estimators.one_run:OneRun", "'audit.estimators.one_run:OneRun' is no attack: expected a dataclass"),
        (":Name", "Cannot load attack ':Name': "),
        (".module:Name", "Cannot load attack '.module:Name': "),
    ],
)
def test_a_third_party_that_is_none_is_refused(plugin, name, sentence):
    assert refused(ATTACKS, name).startswith(sentence)


def test_a_third_party_s_fields_are_checked(plugin):
    assert refused(ATTACKS, {"name": f"{plugin}:Constant", "value": "x"}) == (
        f"Attack '{plugin}:Constant': Key 'value': expected a valid number, got 'x'."
    )
    assert "Unknown key 'valeu'" in refused(ATTACKS, {"name": f"{plugin}:Constant", "valeu": 1.0})


def test_an_entry_point_adds_a_name(plugin, monkeypatch):
    point = EntryPoint("constant", f"{plugin}:Constant", ATTACKS.group)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == ATTACKS.group else [])
    available.cache_clear()
    try:
        assert "constant" in available(ATTACKS)
        built = build(ATTACKS, "constant")
        assert build(ATTACKS, identity(built)) == built
    finally:
        available.cache_clear()
