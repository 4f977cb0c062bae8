"""Audits of real implementations: two small rows of the table."""

from dataclasses import replace

import pandas as pd
import pytest

from audit.registry import ATTACKS, available
from experiments import implementations
from experiments.implementations import audit, cases, has_diffprivlib

pytestmark = pytest.mark.filterwarnings("ignore:.*:UserWarning", "ignore:.*:FutureWarning")  # Opacus's own


def row(name, models):
    (case,) = [case for case in cases() if case.name == name]
    return audit(replace(case, models=models))


def test_every_mode_and_clipping_of_opacus_is_a_row():
    names = [case.name for case in cases()]
    assert len(set(names)) == len(names) == 11 + 4 * has_diffprivlib()
    for mode in ("hooks", "functorch", "ew"):
        for clipping in ("flat", "per_layer", "adaptive"):
            assert f"Opacus, {mode}, {clipping} clipping, fixed divisor" in names
    assert "Opacus, ghost, flat clipping, fixed divisor" in names
    assert {case.attack for case in cases()} <= set(available(ATTACKS))


def test_the_modes_of_opacus_agree_and_the_fixed_divisor_is_not_refuted(monkeypatch):
    monkeypatch.setattr(implementations, "CONTROL", 16)
    hooks, functorch = (row(f"Opacus, {mode}, flat clipping, fixed divisor", 16) for mode in ("hooks", "functorch"))
    assert hooks["verdict"] != "REFUTED"
    assert (hooks["models"], hooks["claimed"]) == (32, pytest.approx(implementations.EPSILON, abs=0.01))
    for key in ("p_value", "separation", "bound"):
        assert functorch[key] == pytest.approx(hooks[key], rel=1e-3)
    assert "opacus " in hooks["versions"]


def test_the_table_is_published(tmp_path):
    figures = {"p_value": 1e-4, "separation": 1.0, "bound": 2.0, "models": 640, "seconds": 3.0}
    rows = pd.DataFrame([{"implementation": "one", "verdict": "REFUTED", **figures}])
    implementations.publish(rows, tmp_path)
    assert "| one | **REFUTED** | 0.0001 | 1.00 | 2 | 640 | 3.0 |" in (tmp_path / "implementations.md").read_text()
    assert len(pd.read_csv(tmp_path / "implementations.csv")) == 1


@pytest.mark.skipif(not has_diffprivlib(), reason="needs the extra diffprivlib")
@pytest.mark.parametrize("kind", ["LogisticRegression", "GaussianNB"])
def test_diffprivlib_has_rows(kind):
    found = row(f"diffprivlib, {kind}", 32)
    assert found["verdict"] in ("INCONCLUSIVE", "NOT_REFUTED")
    assert found["models"] == 32 + implementations.CONTROL
