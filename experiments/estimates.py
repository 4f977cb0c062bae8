"""How often is an estimate's interval wholly above the truth? Shows why estimates are no bounds.

    python -m experiments.estimates [--audits 200] [--models 500]

Prints a Markdown table: for each estimate and law the share of audits whose 95% interval lies above the true epsilon,
the share that lies below it, and the mean estimate. A two-sided interval that held would do either in 2.5%.
"""

from __future__ import annotations

import argparse

import numpy as np

from attacks.scores import Scores
from audit.estimates import Andrew, GaussianFit, JointBeta
from audit.estimates.base import Heuristic
from audit.programs import run_program
from canaries.randomness import derive_seed
from experiments.laws import DELTA, Law, gaussian, laplace, null

ESTIMATES: tuple[Heuristic, ...] = (GaussianFit(resamples=200), JointBeta(draws=4000), Andrew(resamples=100))


def measure(estimate: Heuristic, law: Law, models: int, audits: int) -> tuple[float, float, float]:
    """(share of intervals above the truth, share below it, mean estimate), with `models` in each arm."""
    member, seed = np.arange(2 * models) < models, derive_seed(0, estimate.name, law.name, str(law.epsilon))
    above, below, found = 0, 0, np.empty(audits)
    for i in range(audits):
        score = law.draw(np.random.default_rng([seed, i]), member)
        said = estimate.estimate(Scores.from_arms(score[member], score[~member]), DELTA, seed=i)
        above, below, found[i] = above + (said.low > law.truth), below + (said.high < law.truth), said.epsilon
    return above / audits, below / audits, float(found.mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--audits", type=int, default=200)
    parser.add_argument("--models", type=int, default=500)
    options = parser.parse_args()
    print("| estimate | law | epsilon | above | below | mean |\n|---|---|---|---|---|---|")
    for estimate in ESTIMATES:
        for law in (null(), gaussian(1.0), gaussian(4.0), gaussian(8.0), laplace(1.0), laplace(4.0)):
            above, below, mean = measure(estimate, law, options.models, options.audits)
            shares = f"{above:.1%} | {below:.1%} | {mean:.2f}"
            print(f"| {estimate.name} | {law.name} | {law.epsilon:g} | {shares} |", flush=True)


if __name__ == "__main__":
    run_program(main)
