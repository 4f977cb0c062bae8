"""Do intervals of a membership AUC, and of a mean exposure, hold the truth as often as they say?

The scores are simulated, with models, canaries or both that differ; the truth is that of very many models and canaries.
"""

import math

import numpy as np
import pytest
from scipy.stats import norm

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


WHOLE = {"one and one": (2, 1), "one and two": (3, 1), "one of ten": (10, 1), "four and one": (5, 4), "even": (6, 3)}


@pytest.mark.parametrize(("models", "inside"), WHOLE.values(), ids=WHOLE)
@pytest.mark.parametrize("level", [1.0, 10.0])
def test_intervals_of_the_auc_cover_where_whole_models_are_in_or_out(models, inside, level):
    """At chance, with levels that differ between models."""
    rng, covered = np.random.default_rng(10), 0
    member = np.broadcast_to((np.arange(models) < inside)[:, None], (models, 20))
    for _ in range(DRAWS):
        score = rng.normal(size=(models, 20)) + level * rng.normal(size=(models, 1))
        found = auc_interval(Scores.from_matrix(score, member, "model"))
        covered += found.low <= 0.5 <= found.high
    assert covered >= (LEAST if level == 1 else 0.9) * DRAWS, covered / DRAWS


NEAR = {  # models, canaries, mean, sd between models, between canaries; then the least coverage, the widest mean
    "five models": ((5, 40, 4.0, 2.0), 0.85, 0.3),
    "ten models": ((10, 20, 4.0, 2.0), 0.9, 0.2),
    "twenty models": ((20, 20, 4.0, 2.0), LEAST, 0.15),
    "forty models": ((40, 10, 5.0, 2.0), LEAST - 0.01, 0.07),
    "six shared canaries": ((60, 6, 3.0, 0.0, 1.5), LEAST, 0.35),
    "ten shared canaries": ((60, 10, 3.0, 0.0, 1.5), LEAST, 0.22),
}


@pytest.mark.parametrize(("case", "least", "widest"), NEAR.values(), ids=NEAR)
def test_intervals_of_an_auc_near_1_cover_where_models_or_canaries_differ_much(case, least, widest):
    rng = np.random.default_rng(11)
    truth = norm.cdf(case[2] / math.sqrt(2 + case[3] ** 2 + (case[4] if len(case) > 4 else 0) ** 2))
    found = [auc_interval(draw(rng, *case), centre=False) for _ in range(DRAWS)]
    covered = sum(interval.low <= truth <= interval.high for interval in found)
    assert covered >= least * DRAWS, covered / DRAWS
    assert np.mean([interval.high - interval.low for interval in found]) < widest


@pytest.mark.parametrize(("models", "canaries"), [(1000, 2), (30, 3), (200, 4)])
def test_intervals_of_few_shared_canaries_cover_what_is_true_of_these(models, canaries):
    rng, covered, widths = np.random.default_rng(12), 0, []
    for _ in range(100):
        shift = 1 + rng.normal(size=canaries)

        def scores(models, shift=shift):
            member = rng.random((models, canaries)) < 0.5
            return Scores.from_matrix(rng.normal(size=member.shape) + member * shift, member, "canary")

        found = auc_interval(scores(models), centre=False)
        # The mean over pairs of canaries: a member of one above a non-member of any.
        truth = norm.cdf(shift / math.sqrt(2)).mean()
        covered += found.low <= truth <= found.high
        widths.append(found.high - found.low)
        assert found.of_these == "canaries"
    assert covered >= 0.92 * 100
    assert np.mean(widths) < 6 / math.sqrt(models * canaries)


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


MIXED = {  # models, secrets, whether models share them, share wholly exposed, sd between models of that share
    "few leaked, one model": (1, 10, False, 0.05, 0.0, 9.0),
    "some leaked, one model": (1, 20, False, 0.15, 0.0, 9.0),
    "few leaked, five models": (5, 20, False, 0.02, 0.0, 2.5),
    "models that differ": (5, 5, False, 0.1, 0.3, 9.0),
    "eight shared secrets": (20, 8, True, 0.3, 0.0, 15.0),
    "four shared secrets": (100, 4, True, 0.3, 0.0, 2.0),
    "two shared secrets": (500, 2, True, 0.5, 0.0, 1.0),
    "chance, one model": (1, 20, False, 0.0, 0.0, 4.0),
    "chance, five models": (5, 20, False, 0.0, 0.0, 1.2),
}


@pytest.mark.parametrize(("models", "secrets", "shared", "share", "sd", "widest"), MIXED.values(), ids=MIXED)
def test_intervals_of_a_mean_exposure_cover_where_a_share_of_secrets_is_wholly_exposed(
    models, secrets, shared, share, sd, widest
):
    """Of one to four shared secrets the truth is that of these."""
    rng, most, covered, widths = np.random.default_rng(9), 20.0, 0, []
    row, column = np.indices((models, secrets)).reshape(2, -1)
    numbers = column if shared else np.arange(models * secrets)
    for _ in range(DRAWS):
        of_model = rng.beta(share / sd, (1 - share) / sd, (models, 1)) if sd else share
        leaked = rng.random(secrets if shared else (models, secrets)) < of_model
        chance = np.minimum(rng.exponential(1 / math.log(2), (models, secrets)), most)
        found = clustered_mean(np.where(leaked, most, chance).ravel(), row, numbers, most)
        expected = leaked.mean() if found.of_these == "canaries" else share
        covered += found.low <= expected * most + (1 - expected) / math.log(2) <= found.high
        assert (found.of_these == "canaries") == (shared and secrets < 5)
        widths.append(found.high - found.low)
    assert covered >= LEAST * DRAWS, covered / DRAWS
    assert np.mean(widths) < widest
