"""A run that is added to: what is done is not redone, and what defines a model trains it anew."""

import math
import sys

import pandas as pd
import pytest

import audit
from audit.gate import exit_code
from audit.runs import load_result
from tests.sweep.tiny_sweep import run, scores, tiny, written


def test_running_again_trains_nothing(plain):
    before = written(plain)
    counter = run(tiny(), plain)
    assert (counter.total, counter.before, counter.done) == (6, 6, 0)
    assert written(plain) == before


def test_more_epsilons_train_only_what_is_new(copied, plain):
    before = written(copied)
    counter = run(tiny(epsilons=[4.0, 2.0]), copied)
    assert (counter.total, counter.before, counter.done) == (9, 6, 3)
    assert before.items() < written(copied).items()
    assert [cell.claim.epsilon for cell in load_result(copied).cells] == [2.0, 4.0, math.inf]
    same = scores(copied).query("epsilon != 2.0").reset_index(drop=True)
    pd.testing.assert_frame_equal(same, scores(plain))


def test_more_models_train_only_what_is_new(copied, plain):
    counter = run(tiny(models=5), copied)
    assert (counter.total, counter.before, counter.done) == (10, 6, 4)
    pd.testing.assert_frame_equal(scores(copied).query("model < 3").reset_index(drop=True), scores(plain))


def test_fewer_models_are_a_part_of_what_is_there(copied):
    assert run(tiny(models=2), copied).done == 0
    assert [cell.models_done for cell in load_result(copied).cells] == [2, 2]


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"attacks": ["loss", {"name": "noise-robustness", "copies": 2}]},
        {"data": {"name": "digits", "train": 31, "pool": 10, "test": 5}},
        {"canaries": {"design": "mislabelled", "count": 4, "references": 3}},
        {"trainer": {"name": "opacus", "model": "softmax", "steps": 1, "sample_rate": 1.0, "learning_rate": 0.5}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_whatever_defines_a_model_trains_it_anew(copied, changes):
    counter = run(tiny(**changes), copied)
    assert (counter.total, counter.before, counter.done) == (6, 0, 6)


def test_an_attack_s_setting_trains_anew(copied):
    first = {"attacks": ["loss", {"name": "noise-robustness", "copies": 2}]}
    second = {"attacks": ["loss", {"name": "noise-robustness", "copies": 3}]}
    run(tiny(**first), copied)
    assert run(tiny(**second), copied).done == 6
    assert run(tiny(**first), copied).done == 0


@pytest.mark.parametrize("changes", [{"name": "renamed"}, {"estimators": ["one-run", "one-run-calibrated"]}])
def test_what_defines_no_model_trains_nothing(copied, changes):
    assert run(tiny(**changes), copied).done == 0


FLAKY = '''
from dataclasses import dataclass
from pathlib import Path
from attacks.loss import Loss

@dataclass(frozen=True)
class Flaky(Loss):
    """Fails on models that have learnt with noise, until a file is there."""
    name = "flaky"
    mended: str = ""

    def score(self, view, canaries, seed):
        score, evidence = super().score(view, canaries, seed)
        if score[0, 0] < {limit} and not Path(self.mended).exists():
            raise RuntimeError("this attack is flaky")
        return score, evidence
'''


def test_a_unit_that_fails_leaves_its_traceback_and_is_retried(plain, tmp_path, monkeypatch):
    first = scores(plain).query("canary == 'mislabelled-0000'")["score"]
    limit = (sorted(first)[2] + sorted(first)[3]) / 2  # so that three models of six fail
    (tmp_path / "flaky_plugin.py").write_text(FLAKY.replace("{limit}", repr(float(limit))))
    monkeypatch.syspath_prepend(str(tmp_path))
    mended = tmp_path / "mended"
    table = tiny(attacks=["loss", {"name": "flaky_plugin:Flaky", "mended": str(mended)}])
    out = tmp_path / "run"
    try:
        counter = run(table, out)
        assert (counter.done, counter.failed) == (3, 3)
        result = load_result(out)
        assert len(result.failures) == 3
        assert all("RuntimeError: this attack is flaky" in trace for trace in result.failures.values())
        assert all(trace.startswith("Traceback") for trace in result.failures.values())
        assert sum(cell.models_done for cell in result.cells) == 3
        assert result.verdict.outcome is audit.Outcome.INCONCLUSIVE
        assert exit_code(result) == 4

        counter = run(table, out)  # still broken: the failed ones are tried again, the others are not
        assert (counter.before, counter.done, counter.failed) == (3, 0, 3)

        mended.touch()
        counter = run(table, out)
        assert (counter.before, counter.done, counter.failed) == (3, 3, 0)
        result = load_result(out)
        assert result.failures == {}
        assert [attack.attack for attack in result.cells[0].attacks] == ["loss", "flaky"]
        loss = scores(out).query("attack == 'loss'").reset_index(drop=True)
        pd.testing.assert_frame_equal(loss, scores(plain))
    finally:
        sys.modules.pop("flaky_plugin", None)
