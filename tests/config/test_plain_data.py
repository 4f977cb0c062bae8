"""What is allowed loads, and as plain data it parses to the same."""

import math
import sys
from pathlib import Path

import pytest

from audit.config import load, parse
from tests.config.mistakes import changed
from tests.tiny_experiment import TINY


def test_the_tiny_experiment_is_fine():
    experiment = parse(TINY)
    assert experiment.all_epsilons == (4.0, math.inf)
    assert experiment.confidence == 0.95
    assert experiment.audits[0].canaries.design.name == "mislabelled"


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


EXPERIMENTS = sorted((Path(__file__).parents[2] / "experiments").rglob("*.toml"))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.name)
def test_every_experiment_that_ships_loads(path):
    experiment = load(path)
    assert experiment.name == path.stem
    assert parse(experiment.plain()) == experiment
