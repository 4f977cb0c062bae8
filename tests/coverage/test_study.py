"""Is every bound in the coverage study, and is what the study draws what it says?"""

import numpy as np
import pytest

import audit.estimators
from audit.estimators.group import group_privacy
from audit.estimators.secret_guess import success_ceiling
from experiments.coverage import assumptions_hold, measure, tasks
from experiments.laws import COPIES, DELTA, group_laws
from experiments.secret_laws import rank_laws


def test_every_estimator_is_studied_for_records_and_for_groups() -> None:
    names = {getattr(audit.estimators, name).name for name in audit.estimators.__all__}
    planned = tasks(300)
    assert names <= {task.estimator.split(" (")[0] for task in planned}
    groups = {task.estimator for task in planned if task.copies == COPIES}
    assert groups == names - {"reconstruction"}  # which is guessed secrets under another prior
    files = {(task.estimator, task.copies, task.n_in, task.n_out, task.audits) for task in planned}
    assert len(files) == len(planned)


def test_secrets_are_ranked_high_as_often_as_epsilon_allows() -> None:
    for law in rank_laws((2.0,), copies=2):
        scores = law.draw(np.random.default_rng(0), 300)
        exposure = scores.evidence["exposure"]
        assert exposure.max() <= np.log2(law.space)
        high = np.mean(exposure >= np.log2(law.space / law.top) - 1e-9)
        expected = success_ceiling(*group_privacy(law.epsilon, DELTA, 2), law.space / law.top)
        assert high == pytest.approx(expected, abs=5 * np.sqrt(0.25 / exposure.size))
        assert scores.repetitions.tolist() == [2] * 300


def test_bounds_from_ranks_are_measured() -> None:
    for task in tasks(30):
        if task.estimator == "exposure-rank":
            rows = measure(task, [])
            assert all(row.over <= 0.5 and row.audits == task.audits for row in rows if row.epsilon > 0)
            assert max(row.mean for row in rows) > 0.3
            assert all(assumptions_hold(row.estimator, row.law) for row in rows)


def test_group_laws_are_named_apart() -> None:
    laws = group_laws((2.0,))
    assert all(law.name.endswith(f"{COPIES} copies") and law.truth == law.epsilon for law in laws)
    assert assumptions_hold("calibrated-gaussian", f"Gaussian, {COPIES} copies")
    assert not assumptions_hold("calibrated-gaussian", f"randomised response, {COPIES} copies")
