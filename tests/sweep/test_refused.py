"""What cannot be swept is refused before anything is written."""

import sys

import pytest

from audit.config import parse
from audit.runs import load_result
from audit.sweeping import sweep
from canaries.errors import InputError
from tests.sweep.tiny_sweep import TEXT, run, tiny


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"jobs": 0}, "jobs >= 1, or -1 for one per core, got 0"),
        ({"jobs": -2}, "jobs >= 1, or -1 for one per core, got -2"),
        ({"backend": "slurm"}, "Unknown backend 'slurm'; allowed: loky, threading, sequential, ray, dask"),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(tmp_path, options, sentence):
    with pytest.raises(InputError, match=sentence):
        sweep(parse(tiny()), tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"trainer": {"name": "opacus", "model": "cnn"}}, "Model 'cnn' needs images"),
        ({"trainer": {"name": "opacus", "model": "ngram"}}, "Model 'ngram' learns from text records"),
        (
            {"trainer": {"name": "non-private", "model": "softmax"}},
            "cannot claim a finite epsilon; use 'opacus', or inf",
        ),
        ({"data": {"name": "digits", "train": -1, "pool": 10}}, "Expected train >= 1"),
        (
            {"canaries": {"design": "mislabelled", "count": 11, "references": 0}},
            "11 mislabelled canaries .* the pool of 'digits' holds 10",
        ),
        ({"estimators": ["dkw"]}, "Estimator 'dkw' cannot be used in audit 'a': it needs"),
        (
            {"estimators": ["one-run", "secret-guess"]},
            "Estimator 'secret-guess' cannot be used in audit 'a': it needs the evidence 'guessed', which 'loss' does "
            "not give; best-first, extraction, sampling would.",
        ),
        (
            {**TEXT, "attacks": ["decoding", "prefix-suffix"], "estimators": ["secret-guess"]},
            "Estimator 'secret-guess' cannot be used in audit 'a': it needs the evidence 'guessed', which 'decoding' "
            "and 'prefix-suffix' do not give; best-first, extraction, sampling would.",
        ),
        (
            {**TEXT, "attacks": ["best-first", "sampling"], "estimators": ["exposure-rank"]},
            "needs the evidence 'exposure', which 'best-first' and 'sampling' do not give; extraction would.",
        ),
        (
            {**TEXT, "attacks": ["extraction"], "estimators": [{"name": "reconstruction", "prior": 0.01}]},
            "needs the evidence 'reconstructed', which 'extraction' does not give; prefix-suffix would.",
        ),
        (
            {**TEXT, "attacks": ["decoding", "prefix-suffix"], "estimators": ["reconstruction"]},
            "'reconstruction' cannot be used in audit 'a': it needs a prior",
        ),
        (
            {
                "estimators": ["calibrated-loss-curve"],
                "models": 2,
                "canaries": {"design": "blank", "count": 1, "randomise": "model"},
                "trainer": {"name": "ensemble", "model": "softmax", "steps": 8, "sample_rate": 0.5},
            },
            "'calibrated-loss-curve' does not fit the trainer of audit 'a': It assumes sample_rate = 1 and steps = 1, "
            "but training has sample_rate = 0.5 and steps = 8; set the estimator's fields to these",
        ),
        (
            {
                "estimators": [{"name": "calibrated-loss-curve", "steps": 8, "sample_rate": 0.5}],
                "models": 2,
                "canaries": {"design": "blank", "count": 1, "randomise": "model"},
                "trainer": {
                    "name": "ensemble",
                    "model": "softmax",
                    "steps": 8,
                    "sample_rate": 0.5,
                    "rates": [[4, 1.0]],
                },
            },
            "It is for one sampling rate, but training has a schedule of batch sizes",
        ),
        ({"attacks": ["augmentations"]}, r"Attack 'augmentations' needs images: .* got records of shape \[64\]"),
        (
            {"attacks": ["boundary-distance"], "canaries": {"design": {"name": "blank", "label": 3}, "count": 4}},
            "needs a reference point of another class, but all canaries have label 3; use reference = 'blank'",
        ),
        (
            {"attacks": ["population"], "canaries": {"design": "mislabelled", "count": 4, "references": 0}},
            "Attack 'population' needs a population: name some references",
        ),
        (
            {
                "attacks": ["extraction"],
                "estimators": ["exposure-rank"],
                "data": {"name": "pydoc", "train": 30, "pool": 12, "test": 5},
                "canaries": {"design": "passages", "count": 4, "references": 2},
                "trainer": {"name": "ensemble", "model": "ngram", "steps": 1, "sample_rate": 1.0},
            },
            "Attack 'extraction' needs canaries with secrets; design 'passages' has none",
        ),
        ({"epsilons": [1e-9]}, "No noise multiplier in .* gives epsilon 1e-09"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path, changes, sentence):
    with pytest.raises(InputError, match=sentence):
        sweep(parse(tiny(**changes)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


SILENT = """
from dataclasses import dataclass
import numpy as np
from attacks.base import Attack
from attacks.view import Access

@dataclass(frozen=True)
class Silent(Attack):
    name = "silent"
    access = Access.LOSS
    kinds = frozenset({"text"})
    family = "membership"

    def score(self, view, canaries, seed):
        shape = (view.models, len(canaries))
        return np.zeros(shape), {"guessed": np.zeros(shape, dtype=bool)}
"""


def test_an_attack_that_does_not_declare_its_evidence_is_not_refused_in_advance(tmp_path, monkeypatch):
    (tmp_path / "silent_plugin.py").write_text(SILENT)
    monkeypatch.syspath_prepend(str(tmp_path))
    table = tiny(**TEXT, attacks=["silent_plugin:Silent"], estimators=["secret-guess"], models=1)
    try:
        assert run(table, tmp_path / "run").done == 2
        bounds = [bound for cell in load_result(tmp_path / "run").cells for bound in cell.attacks[0].bounds]
        assert [bound.estimator for bound in bounds] == ["secret-guess"] * 2
    finally:
        sys.modules.pop("silent_plugin", None)
