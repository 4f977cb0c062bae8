"""Experiment files: overrides of what they say, and files that are none."""

import pytest

from audit.config import load
from audit.training.models import MLP
from canaries.errors import InputError

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
