"""Audits of real implementations: two small rows of the table."""

from dataclasses import replace

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
    assert len(set(names)) == len(names) == 7 + 2 * has_diffprivlib()
    for word in ("hooks", "functorch", "ew", "ghost", "flat", "per_layer", "adaptive"):
        assert any(f" {word}" in name for name in names)
    assert {case.attack for case in cases()} <= set(available(ATTACKS))


def test_the_modes_of_opacus_agree_and_the_fixed_divisor_is_not_refuted(monkeypatch):
    monkeypatch.setattr(implementations, "CONTROL", 16)
    hooks, functorch = (row(f"Opacus, {mode}, flat clipping, fixed divisor", 16) for mode in ("hooks", "functorch"))
    assert hooks["verdict"] != "REFUTED"
    assert (hooks["models"], hooks["claimed"]) == (32, pytest.approx(implementations.EPSILON, abs=0.01))
    for key in ("p_value", "separation", "bound"):
        assert functorch[key] == pytest.approx(hooks[key], rel=1e-3)
    assert "opacus " in hooks["versions"]


@pytest.mark.skipif(not has_diffprivlib(), reason="needs the extra diffprivlib")
@pytest.mark.parametrize("kind", ["LogisticRegression", "GaussianNB"])
def test_diffprivlib_has_rows(kind):
    found = row(f"diffprivlib, {kind}", 32)
    assert found["verdict"] in ("INCONCLUSIVE", "NOT_REFUTED")
    assert found["models"] == 32 + implementations.CONTROL
