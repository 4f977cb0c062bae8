"""Audit a scikit-learn estimator: logistic regression with output perturbation, on real records.

    python experiments/sklearn_estimator.py

Any classifier of scikit-learn's interface is audited so: `ScikitLearn(estimator)` is the training function.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import attacks
import audit
import canaries
from audit.estimators.calibrated_epsilon_delta import CalibratedEpsilonDelta
from audit.estimators.calibrated_gaussian import CalibratedGaussian
from audit.gaussian import mu_of
from audit.programs import run_program
from audit.training.sklearn import ScikitLearn


class OutputPerturbation(ClassifierMixin, BaseEstimator):
    """Binary logistic regression whose weights are released with Gaussian noise.

    After Chaudhuri, Monteleoni, Sarwate (2011), "Differentially Private Empirical Risk Minimization", Algorithm 1.
    The objective 1/2 |w|^2 + C sum of losses is 1-strongly convex, and a record of norm 1 at most has a gradient of
    norm C at most, so adding or removing one moves the minimum by C at most: noise of standard deviation C / mu makes
    the weights mu-Gaussian private.

    Args:
        C: as in LogisticRegression.
        epsilon: what is claimed at `delta`; infinity adds no noise.
        delta: of the claim.
        random_state: of the noise.
    """

    def __init__(
        self, C: float = 1.0, epsilon: float = 1.0, delta: float = 1e-5, random_state: int | None = None
    ) -> None:
        self.C, self.epsilon, self.delta, self.random_state = C, epsilon, delta, random_state

    def fit(self, x: NDArray[Any], y: NDArray[Any]) -> OutputPerturbation:
        self.model_ = LogisticRegression(C=self.C, fit_intercept=False, tol=1e-8, max_iter=1000).fit(clipped(x), y)
        self.classes_ = self.model_.classes_
        if self.epsilon < np.inf:
            deviation = self.C / mu_of(self.epsilon, self.delta)
            rng = np.random.default_rng(self.random_state)
            self.model_.coef_ = self.model_.coef_ + rng.normal(0, deviation, self.model_.coef_.shape)
        return self

    def predict_proba(self, x: NDArray[Any]) -> NDArray[Any]:
        return self.model_.predict_proba(clipped(x))

    def predict(self, x: NDArray[Any]) -> NDArray[Any]:
        return self.model_.predict(clipped(x))


def clipped(x: NDArray[Any]) -> NDArray[Any]:
    """A constant feature beside the others, and every record scaled to norm 1 at most."""
    x = np.column_stack([x, np.ones(len(x))]).astype(np.float64)
    return x / np.maximum(1, np.linalg.norm(x, axis=1, keepdims=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--epsilon", type=float, default=8.0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    x, y = load_breast_cancer(return_X_y=True)
    x = StandardScaler().fit_transform(x)  # Stands for public statistics: not part of what is claimed.
    result = audit.run(
        ScikitLearn(OutputPerturbation(C=0.1, epsilon=options.epsilon)),
        data=(x, y),
        canaries=canaries.Mislabelled(),
        attacks=[attacks.Loss(), attacks.BoundaryDistance()],
        models=options.models,
        claim=audit.Claim(epsilon=options.epsilon, delta=1e-5),
        count=1,
        references=8,
        randomise="model",
        control=ScikitLearn(OutputPerturbation(C=0.1, epsilon=np.inf)),
        estimators=[CalibratedEpsilonDelta(), CalibratedGaussian()],
        jobs=options.jobs,
    )
    for cell in result.run.cells:
        for attack in cell.attacks:
            for bound in attack.bounds:
                at = f"claimed {cell.claim.epsilon:g}, {attack.attack} ({attack.queries:.0f} queries a model)"
                print(f"{at}: epsilon >= {bound.epsilon:.3f} by {bound.estimator}")
        print({name: round(value.value, 3) for name, value in cell.utility.items()})
    print(result.verdict)
    if options.report:
        print(result.report(options.report))


if __name__ == "__main__":
    run_program(main)
