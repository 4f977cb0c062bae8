"""Do intervals of a membership AUC, and of a mean exposure, hold the truth as often as they say?

The scores are simulated, with models, canaries or both that differ; the truth is that of very many models and canaries.
"""

import math

import numpy as np
import pytest

from attacks.scores import Scores
from audit.auc import auc, auc_interval
from audit.metrics import clustered_mean

DRAWS = 300
LEAST = 0.93
"""Of intervals that say 95%; the seeds are fixed."""


def draw(rng, models, canaries, mean, sd=0.0, canary_sd=0.0, law="normal"):
    """Members lie `mean` above, with what models and canaries add to it; or only a share `mean` of them, far above."""
    member = rng.random((models, canaries)) < 0.5
    score = rng.normal(size=(models, canaries))
    if law == "normal":
        shift = mean + sd * rng.normal(size=(models, 1)) + canary_sd * rng.normal(size=(1, canaries))
    else:
        shift = 20.0 * (rng.random((models, canaries)) < mean)
    shared = Scores.from_matrix(score + member * shift, member, "canary")
    return shared if canary_sd else Scores(**{**vars(shared), "secret_set": np.arange(models)})


CASES = {  # models, canaries, mean, sd between models, between canaries, law; then the widest mean interval allowed
    "near 1, few models": ((5, 8, 3.5), 0.25),
    "near 1, two models": ((2, 8, 3.0), 0.7),
    "near 1, models that differ": ((5, 20, 3.5, 1.0), 0.2),
    "two models that differ": ((2, 20, 1.5, 1.0), 1.0),
    "five models that differ": ((5, 20, 1.5, 0.7), 0.4),
    "twelve models that differ": ((12, 20, 1.5, 0.7), 0.2),
    "five models": ((5, 24, 1.0), 0.3),
    "many models": ((40, 8, 1.0), 0.13),
    "many models that share their canaries": ((40, 12, 1.0, 0.3, 0.5), 0.25),
    "one model": ((1, 24, 1.0), 0.45),
    "one model, near 1": ((1, 40, 3.0), 0.15),
    "one model that misses some": ((1, 40, 0.9, 0.0, 0.0, "some"), 0.2),
    "exactly 1": ((5, 16, 1e3), 0.07),
    "chance": ((5, 20, 0.0), 0.4),
    "chance, many models": ((40, 8, 0.0), 0.15),
}


@pytest.mark.parametrize(("case", "widest"), CASES.values(), ids=CASES)
def test_intervals_of_the_auc_cover(case, widest):
    rng = np.random.default_rng(7)
    large = [draw(rng, *((600, 600) if len(case) > 4 and case[4] else (12000, 30)), *case[2:]) for _ in range(2)]
    truth = np.mean([auc(scores.score, scores.member) for scores in large])
    found = [auc_interval(draw(rng, *case)) for _ in range(DRAWS)]
    found = [interval for interval in found if not math.isnan(interval.value)]
    covered = sum(interval.low - 1e-6 <= truth <= interval.high + 1e-6 for interval in found)
    assert covered >= LEAST * len(found), covered / len(found)
    widths = np.array([interval.high - interval.low for interval in found])
    assert widths.min() > 0.01
    assert widths.mean() < widest


EXPOSURES = {  # models, secrets, whether models share them
    "as chance has it": (5, 32, False, lambda rng, luck, own, size: rng.exponential(1 / math.log(2), size)),
    "as chance has it, two models": (2, 8, False, lambda rng, luck, own, size: rng.exponential(1 / math.log(2), size)),
    "two models that differ": (2, 20, False, lambda rng, luck, own, size: 13 + 3 * luck + 4 * rng.normal(size=size)),
    "five models that differ": (5, 20, False, lambda rng, luck, own, size: 13 + 3 * luck + 4 * rng.normal(size=size)),
    "shared secrets that differ": (5, 12, True, lambda rng, luck, own, size: 13 + 3 * own + 2 * rng.normal(size=size)),
}


@pytest.mark.parametrize(("models", "secrets", "shared", "law"), EXPOSURES.values(), ids=EXPOSURES)
def test_intervals_of_a_mean_exposure_cover(models, secrets, shared, law):
    rng, most = np.random.default_rng(8), 26.6

    def exposures(models, secrets):
        luck, own = rng.normal(size=(models, 1)), rng.normal(size=(1, secrets))
        return np.clip(law(rng, luck, own, (models, secrets)), 0, most)

    truth = np.mean([exposures(600, 600).mean() for _ in range(8)])
    row, column = np.indices((models, secrets)).reshape(2, -1)
    numbers = column if shared else np.arange(models * secrets)
    found = [clustered_mean(exposures(models, secrets).ravel(), row, numbers, most) for _ in range(DRAWS)]
    covered = sum(interval.low <= truth <= interval.high for interval in found)
    assert covered >= LEAST * DRAWS, covered / DRAWS
    assert np.mean([interval.high - interval.low for interval in found]) < (25 if models == 2 else 9)
