"""The whole pipeline on null data: real models, every attack, every bound, the best of all. How often does it cry wolf?

The training function throws away what was planted, so epsilon is 0 for the canaries. Over AUDITS audits at confidence
CONFIDENCE, a bound above 0 or a refuted claim is counted; the test fails by chance with probability FALSE_ALARM.
"""

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.neighbors import KNeighborsClassifier

import attacks
import audit
import canaries
from audit.mechanism import DPSGD
from audit.results import Outcome
from audit.training.function import TrainFunction

AUDITS, CONFIDENCE, FALSE_ALARM = 24, 0.8, 1e-4
RECORDS = 60


def forgetful(kept: int) -> TrainFunction:
    def train(x: np.ndarray, y: np.ndarray, seed: int) -> object:
        x, y = x[:kept].reshape(kept, -1), y[:kept]
        chosen = np.random.default_rng(seed).choice(kept, kept // 2, replace=False)
        model = KNeighborsClassifier(3).fit(x[chosen], y[chosen])
        seen = model.classes_

        def predict(z: np.ndarray) -> np.ndarray:
            out = np.full((len(z), 3), 1e-3)
            out[:, seen.astype(int)] += model.predict_proba(z.reshape(len(z), -1))
            return out / out.sum(axis=1, keepdims=True)

        return predict

    return train


@pytest.mark.parametrize(
    ("randomise", "count", "models"), [("canary", 30, 4), ("model", 1, 24)], ids=["coins", "independent models"]
)
def test_null_data(randomise: str, count: int, models: int) -> None:
    above = refuted = 0
    for seed in range(AUDITS):
        rng = np.random.default_rng([21, seed])
        x, y = rng.normal(0, 1, (RECORDS + 60, 4)).astype(np.float32), np.arange(RECORDS + 60) % 3
        claim = audit.Claim(0.5, 1e-5, mechanism=DPSGD(0.1, 10, 5.0) if seed % 2 else None)
        kept = 40
        found = audit.run(
            forgetful(kept),
            (x, y),
            canaries.Mislabelled(),
            [attacks.Loss(), attacks.NoiseRobustness()],
            models,
            claim,
            seed,
            count=count,
            references=2,
            randomise=randomise,
            confidence=CONFIDENCE,
        )
        above += max(bound.epsilon for bound in found.bounds) > 0
        refuted += found.verdict.outcome is Outcome.REFUTED
    allowed = binom.ppf(1 - FALSE_ALARM, AUDITS, 1 - CONFIDENCE)
    assert above <= allowed
    assert refuted <= allowed
