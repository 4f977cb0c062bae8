"""Audit a plain torch loop that trains with Opacus, as it stands in a user's own code.

    python experiments/opacus_loop.py

`train` is the user's: it knows nothing of the audit. It is called once per model, with and without canaries.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from opacus import PrivacyEngine
from opacus.accountants.utils import get_noise_multiplier
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import attacks
import audit
import canaries
from audit.programs import run_program

EPSILON, DELTA, BATCH, EPOCHS = 8.0, 1e-5, 250, 20

Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def train(x: NDArray[np.float32], y: NDArray[np.int64], seed: int, epsilon: float = EPSILON) -> Predict:
    """A classifier of digits, trained with DP-SGD; epsilon infinity trains it without noise."""
    torch.manual_seed(seed)
    data = TensorDataset(torch.tensor(x), torch.tensor(y))
    loader = DataLoader(data, batch_size=BATCH)
    model: nn.Module = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=2.0)
    sigma = 0.0
    if epsilon < np.inf:
        sigma = get_noise_multiplier(
            target_epsilon=epsilon, target_delta=DELTA, sample_rate=1 / len(loader), epochs=EPOCHS
        )
    private, optimizer, loader = PrivacyEngine(accountant="rdp").make_private(
        module=model, optimizer=optimizer, data_loader=loader, noise_multiplier=sigma, max_grad_norm=1.0
    )
    for _ in range(EPOCHS):
        for inputs, labels in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(private(inputs), labels).backward()
            optimizer.step()
    model.eval()

    def predict(asked: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            return torch.softmax(model(torch.tensor(asked)), dim=1).numpy()

    return predict


def without_noise(x: NDArray[np.float32], y: NDArray[np.int64], seed: int) -> Predict:
    """The positive control: the same loop without its protection."""
    return train(x, y, seed, epsilon=np.inf)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", type=int, default=16)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module="opacus")
    warnings.filterwarnings("ignore", message="Full backward hook is firing")
    x, y = load_digits(return_X_y=True)
    result = audit.run(
        train,
        data=(x / 16, y),
        canaries=canaries.UniformNoise(),
        attacks=[attacks.Loss(), attacks.NoiseRobustness(copies=16), attacks.Gap()],
        models=options.models,
        claim=audit.Claim(epsilon=EPSILON, delta=DELTA),
        control=without_noise,
        jobs=options.jobs,
    )
    for cell in result.run.cells:
        for attack in cell.attacks:
            best = max(attack.bounds, key=lambda bound: bound.epsilon)
            at = f"claimed {cell.claim.epsilon:g}, {attack.attack} ({attack.queries:.0f} queries a model)"
            print(f"{at}: AUC {attack.auc.value:.3f}, epsilon >= {best.epsilon:.3f} by {best.estimator}")
        print({name: round(value.value, 3) for name, value in cell.utility.items()})
    print(result.verdict)
    if options.report:
        print(result.report(options.report))


if __name__ == "__main__":
    run_program(main)
