"""Scores from elsewhere, calibrated by name."""

import numpy as np
import pytest

from attacks.cross_model import held_out, leave_one_out
from attacks.lira import LiRA
from attacks.scores import Scores
from audit.calibration import calibrated_by
from audit.score_audit import audit_scores
from audit.score_files import write_scores
from canaries.errors import InputError
from canaries.randomness import generator


def signals(models, canaries=80, shift=4.0):
    rng = np.random.default_rng(0)
    member = rng.random((models, canaries)) < 0.5
    return Scores.from_matrix(
        rng.normal(size=member.shape) + shift * member + rng.normal(0, 5, canaries), member, "canary"
    )


def test_half_of_the_models_are_scored_and_the_bound_says_so():
    scores = calibrated_by("lira", signals(8))
    order = generator(0, "halves").permutation(8)
    np.testing.assert_array_equal(scores.score, held_out(LiRA(), signals(8).take_models(order)).score)
    found = audit_scores(scores, 1e-5, 0.95, None, None, 0)
    assert found.bounds[0].samples["models"] == 4
    assert "calibration on other models, which are not scored themselves" in found.text()
    assert found.bounds[0].epsilon > 1


def test_what_cannot_be_calibrated_is_named():
    with pytest.raises(InputError, match="'loss' compares no models; allowed: calibrated-loss, lira"):
        calibrated_by("loss", signals(8))
    with pytest.raises(InputError, match="at least 4 models to calibrate on, got 3"):
        calibrated_by("rmia", signals(3))


def test_files_sorted_by_membership_are_shuffled():
    rng = np.random.default_rng(0)
    member = (np.arange(60) < 30)[:, None]
    found = calibrated_by("lira", Scores.from_matrix(rng.normal(size=(60, 1)) + 3.0 * member, member, "model"))
    assert found.models == 30
    assert 5 < found.member.sum() < 25
    assert audit_scores(found, 1e-5, 0.95, None, None, 0).auc.value > 0.9


@pytest.mark.parametrize(("members", "side"), [(1, "non-members"), (7, "members")])
def test_halves_of_one_side_are_refused(members, side):
    member = (np.arange(8) < members)[:, None]
    with pytest.raises(InputError, match=f"both halves of the 8 models, but the 4 that are .* hold {side} alone"):
        calibrated_by("lira", Scores.from_matrix(np.arange(8.0)[:, None], member, "model"))


def test_a_file_cannot_hide_how_scores_were_made(tmp_path):
    with pytest.raises(InputError, match="prove nothing"):
        write_scores(leave_one_out(LiRA(), signals(8)), tmp_path / "scores.csv")
