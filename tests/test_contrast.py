"""A pipeline that looks the same without noise proves nothing by its silence."""

import math

import numpy as np
import pytest

from attacks.scores import Scores
from audit.analysis import AttackKind, CellScores, RunScores, analyse
from audit.claim import Claim
from audit.policy import Policy
from audit.registry import ESTIMATORS, build
from audit.results import Outcome

LOSS = AttackKind("loss", "membership", "loss")
ESTIMATOR = (build(ESTIMATORS, "calibrated-epsilon-delta"),)


def scores(rng, shift, models=200):
    """One canary that each second model holds, scored `shift` higher there; three references."""
    member = np.arange(models) % 2 == 0
    score = rng.normal(size=(models, 4))
    score[:, 0] += shift * member
    return Scores(
        ids=tuple("abcd"),
        score=score,
        member=np.tile(member[:, None], (1, 4)),
        reference=np.arange(4) > 0,
        repetitions=np.ones(4, dtype=np.int64),
        randomised="model",
        space=np.ones(4),
    )


def verdict(found, control, epsilon=4.0, least_power=0.25):
    rng = np.random.default_rng(2)
    cells = tuple(
        CellScores("a", Claim(e, 1e-5), None, 200, {LOSS: scores(rng, shift)}, {"loss": 1}, {}, ESTIMATOR)
        for e, shift in ((epsilon, found), (math.inf, control))
    )
    return analyse(RunScores("r", cells, 1e-5, 0.99, 0, Policy(least_power=least_power))).cells[0].verdict


def test_attacks_that_do_as_well_without_noise_give_no_green_light():
    found = verdict(0.7, 0.7)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "even without noise these attacks show epsilon" in found.reason
    assert "where 4 is claimed" in found.reason


@pytest.mark.parametrize(
    ("found", "control", "least_power"),
    [
        (0.0, 0.9, 0.8),  # a larger AUC
        (2.0, 2.0, 0.1),  # a bound of its share
    ],
)
def test_what_tells_noise_from_none_gives_one(found, control, least_power):
    said = verdict(found, control, least_power=least_power)
    assert said.outcome is Outcome.NOT_REFUTED
    assert "Without noise the same attacks show epsilon" in said.reason


def test_more_cells_ask_for_a_clearer_difference():
    """One pipeline of twenty that are all without noise would else pass by luck at confidence 0.5."""

    def judged(cells):
        rng = np.random.default_rng(2)
        found = {LOSS: scores(rng, 0.55)}
        bare = {LOSS: scores(rng, 0.78)}
        every = [(f"a{i}", found, bare) for i in range(cells)]
        made = tuple(
            CellScores(name, Claim(e, 1e-5), None, 200, measured, {"loss": 1}, {}, ESTIMATOR)
            for name, mine, control in every
            for e, measured in ((4.0, mine), (math.inf, control))
        )
        return analyse(RunScores("r", made, 1e-5, 0.6, 0, Policy(least_power=0.9))).cells[0].verdict

    assert judged(1).outcome is Outcome.NOT_REFUTED
    assert judged(20).outcome is Outcome.INCONCLUSIVE
