"""No membership attack beats a perfect one on a Gaussian mechanism beyond its interval (Dong, Roth, Su 2022)."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from attacks.base import Attack
from attacks.confidence import Confidence, Entropy, Margin, ModifiedEntropy
from attacks.cross_model import CrossModel, held_out, leave_one_out
from attacks.lira import LiRA, LiRAOffline
from attacks.lira_bayes import BayesianLiRA
from attacks.loss import Loss
from attacks.population import Population
from attacks.reference_models import CalibratedLoss, ReferenceModels
from attacks.rmia import RMIA, RMIAOffline
from attacks.scores import Scores
from audit.gaussian import mu_of
from audit.membership import membership_metrics
from audit.training.datasets.digits import Digits
from audit.training.ensemble.trainer import Ensemble
from audit.training.models import Softmax
from canaries.inclusion import Inclusion
from canaries.mislabelled import Mislabelled

CROSSING: tuple[CrossModel, ...] = (
    LiRA(),
    LiRA(variance="per-example"),
    LiRAOffline(),
    BayesianLiRA(),
    RMIA(),
    RMIAOffline(),
    CalibratedLoss(),
    ReferenceModels(),
)
ALONE: tuple[Attack, ...] = (Loss(), Confidence(), Margin(), Entropy(), ModifiedEntropy(), Population())
MU = mu_of(4.0, 1e-5)


@pytest.mark.parametrize("attack", CROSSING, ids=repr)
@pytest.mark.parametrize("calibrate", [leave_one_out, held_out])
def test_a_gaussian_mechanism_s_release(attack, calibrate):
    """Each canary has a level of its own; its coin moves the release by mu standard deviations."""
    rng = np.random.default_rng(0)
    member = rng.random((40, 400)) < 0.5
    release = -20 + rng.normal(0, 2, 400) + rng.normal(size=member.shape) + MU * member
    found = membership_metrics(calibrate(attack, Scores.from_matrix(release, member, "canary")), resamples=100)
    assert found.auc.low <= norm.cdf(MU / math.sqrt(2))
    assert found.tpr_at[0.01].low <= norm.cdf(norm.ppf(0.01) + MU)
    assert found.auc.value > 0.62  # and most of what there is, is found


@pytest.fixture(scope="module")
def trained():
    """Full-batch DP-SGD that is (4, 1e-5)-DP: five steps of noise multiplier sqrt(5) / mu."""
    dataset = Digits(train=100, pool=80, test=10).load(0)
    canaries = Mislabelled().make(dataset, 40, np.random.default_rng(0), references=20)
    coins = Inclusion.draw(canaries, 64, "canary", 1)
    trainer = Ensemble(model=Softmax(), steps=5, sample_rate=1.0, learning_rate=8.0)
    trainer = trainer.with_noise(math.sqrt(5) / MU)
    return trainer.train(dataset, canaries, coins.inserted, range(64)), canaries, coins


@pytest.mark.parametrize("attack", [*ALONE, *CROSSING], ids=repr)
def test_correct_dp_sgd(attack, trained):
    view, canaries, coins = trained
    scores = leave_one_out(attack, Scores.join(attack.observe(view, canaries, 0), canaries, coins))
    found = membership_metrics(scores, resamples=100)
    assert found.auc.low <= norm.cdf(MU / math.sqrt(2))
    assert found.tpr_at[0.01].low <= norm.cdf(norm.ppf(0.01) + MU)
