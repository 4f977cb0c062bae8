"""The study of label-only attacks, small: real models under DP-SGD, pilots held out, bounds through estimators."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from audit.estimators.calibrated_gaussian import CalibratedGaussian
from experiments import label_only as study


@pytest.fixture(scope="module")
def observed():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "SHORTLIST", 2)
        pipeline = study.Pipeline.of(epsilon=8.0, seed=1)
        calibration = study.on_the_boundary(pipeline, pilots=64, rounds=1)
        scores, queries, accuracy = study.observe(pipeline, calibration.canaries, 64, "scored")
    return calibration, scores, queries, accuracy


def name(attack):
    return attack.name


def test_queries_of_each_model_are_exact(observed):
    _, _, queries, _ = observed
    assert [count / 2 for count in queries] == [1, 1, 50, 11, 12, 214, 632]  # a canary and a reference


def test_labels_tell_on_the_boundary(observed):
    calibration, scores, _, accuracy = observed
    planted = [found.select(~found.reference) for found in scores]
    auc = {
        attack: roc_auc_score(found.member[:, 0], found.score[:, 0])
        for attack, found in zip(map(name, study.ATTACKS), planted, strict=True)
    }
    assert calibration.rounds[-1].auc > 0.7
    assert auc["loss"] > 0.75
    assert auc["boundary-distance"] > auc["loss"] - 0.05
    assert auc["hop-skip-jump"] > auc["loss"] - 0.05
    assert auc["noise-robustness"] > auc["loss"] - 0.1
    assert auc["gap"] > 0.6
    assert accuracy > 0.85


def test_every_attack_gets_a_bound_below_the_claim(observed):
    _, scores, _, _ = observed
    bounds = [CalibratedGaussian().bound(found.select(~found.reference), 1e-5, 0.95).epsilon for found in scores]
    assert all(0 < epsilon < 8 for epsilon in bounds)


def test_the_reference_shows_nothing(observed):
    _, scores, _, _ = observed
    for found in scores:
        reference = found.select(found.reference)
        assert abs(roc_auc_score(reference.member[:, 0], reference.score[:, 0]) - 0.5) < 0.2


def test_pilots_and_scored_models_never_share_a_seed(observed):
    pipeline = study.Pipeline.of(epsilon=8.0, seed=1)
    blank = study.canary(np.zeros(64, np.float32), 0, study.hot_pixels()[0], 1)
    (first, coins), (second, others) = (next(pipeline.blocks(blank, 4, which)) for which in ("first pilots", "scored"))
    x = pipeline.data.test.x[:5]
    assert (first.probabilities(x) != second.probabilities(x)).any(axis=(1, 2)).all()
    assert coins.ids == others.ids
