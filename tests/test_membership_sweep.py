"""Attacks that compare models, from the experiment file to the report."""

import pytest

from audit.config import parse
from audit.runs import load_result
from audit.sweeping import sweep

NATURAL = {
    "name": "natural",
    "epsilons": [4.0],
    "delta": 1e-5,
    "audits": [
        {
            "name": "digits",
            "models": 16,
            "attacks": ["loss", "population", "lira", "lira-bayes", {"name": "rmia-offline", "a": 0.5}, "rmia"],
            "estimators": ["one-run"],
            "data": {"name": "digits", "train": 30, "pool": 60, "test": 5},
            "canaries": {"design": "natural", "count": 20, "references": 12},
            "trainer": {"name": "ensemble", "model": "softmax", "steps": 12, "sample_rate": 1.0, "learning_rate": 4.0},
        }
    ],
}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    run = sweep(parse(NATURAL), tmp_path_factory.mktemp("run"))
    return load_result(run.path)


def test_metrics_come_from_all_models_and_bounds_from_held_out_ones(result):
    for cell in result.cells:
        found = {attack.attack: attack for attack in cell.attacks}
        assert list(found) == ["loss", "population", "lira", "lira-bayes", "rmia-offline", "rmia"]
        for name, attack in found.items():
            crossing = name not in ("loss", "population")
            assert attack.scores.calibrated == ("leave-one-out" if crossing else "no")
            assert attack.scores.models == 16
            assert [bound.samples["models"] for bound in attack.bounds] == [8 if crossing else 16]
            assert 0 <= attack.tpr_at[0.001].value <= attack.tpr_at[0.01].value <= 1
            assert attack.queries == 32


def test_records_at_risk_are_the_pool_s(result):
    for attack in result.cells[-1].attacks:
        assert len(attack.risks) == 10
        assert all(risk.canary.startswith("natural-0") for risk in attack.risks)
