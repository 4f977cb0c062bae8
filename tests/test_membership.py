import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from attacks.scores import Scores
from audit.auc import auc_interval
from audit.gaussian import mu_of
from audit.membership import membership_metrics
from canaries.errors import InputError


@pytest.mark.parametrize(
    ("epsilon", "auc", "accuracy", "tpr"),
    [(1, 0.575, 0.553, 0.020), (2, 0.639, 0.599, 0.034), (4, 0.744, 0.678, 0.081), (8, 0.881, 0.798, 0.255)],
)
def test_ceilings_of_full_batch_gaussian_dp(epsilon: float, auc: float, accuracy: float, tpr: float) -> None:
    rng = np.random.default_rng(0)
    n = 200_000
    scores = Scores.from_arms(rng.normal(mu_of(epsilon, 1e-5), 1, n), rng.normal(0, 1, n))
    found = membership_metrics(scores, resamples=2)
    assert found.auc.value == pytest.approx(auc, abs=0.003)
    assert found.balanced_accuracy.value == pytest.approx(accuracy, abs=0.004)
    assert found.tpr_at[0.01].value == pytest.approx(tpr, abs=0.004)
    assert found.advantage.value == pytest.approx(2 * accuracy - 1, abs=0.008)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30))
@settings(max_examples=40, deadline=None)
def test_slow_references(pairs: list[tuple[int, bool]]) -> None:
    score, member = (np.array(column) for column in zip(*pairs, strict=True))
    scores = Scores.from_matrix(score[:, None].astype(float), member[:, None].astype(bool), randomised="model")
    scores = scores.take_models(slice(None))
    found = membership_metrics(scores, resamples=3, fprs=(0.2,))
    ins, outs = score[member], score[~member]
    if not len(ins) or not len(outs):
        assert math.isnan(found.auc.value)
        return
    thresholds = [*np.unique(score), np.inf]
    rates = [((ins >= t).mean(), (outs >= t).mean()) for t in thresholds]
    assert found.auc.value == pytest.approx(roc_auc_score(member, score))
    assert found.advantage.value == pytest.approx(max(a - b for a, b in rates))
    assert found.tpr_at[0.2].value == pytest.approx(max(a for a, b in rates if b <= 0.2))


def test_models_are_resampled_and_not_canaries() -> None:
    # All canaries of a model share a level: 20 models of 50 canaries carry far less than 1000 independent scores.
    rng = np.random.default_rng(1)
    arm = np.arange(20) % 2 == 0
    score = rng.normal(0, 1, (20, 1)) + rng.normal(0, 0.1, (20, 50)) + rng.normal(0, 5, 50)
    scores = Scores.from_matrix(score, np.repeat(arm[:, None], 50, axis=1), randomised="model")
    whole = membership_metrics(scores).auc
    alone = membership_metrics(
        Scores.from_matrix(score.reshape(1, -1), scores.member.reshape(1, -1), randomised="canary")
    ).auc
    assert whole.high - whole.low > 3 * (alone.high - alone.low)


def test_the_auc_is_that_of_its_own_module_without_references() -> None:
    rng = np.random.default_rng(0)
    member = rng.random((6, 20)) < 0.5
    scores = Scores.from_matrix(rng.normal(size=(6, 20)) + member + rng.normal(0, 3, 20), member, "canary")
    scores = replace(scores, reference=np.arange(20) < 4)
    for centre in (True, False):
        assert membership_metrics(scores, centre=centre).auc == auc_interval(
            scores.select(~scores.reference), 0.95, centre
        )


def test_bad_values_are_named() -> None:
    scores = Scores.from_arms(np.ones(3), np.zeros(3))
    with pytest.raises(InputError, match="got 1"):
        membership_metrics(scores, confidence=1)
    with pytest.raises(InputError, match="false positive rates"):
        membership_metrics(scores, fprs=(2.0,))
