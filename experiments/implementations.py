"""The same audit over real implementations: Opacus in each grad_sample_mode and clipping, and diffprivlib.

    make implementations

makes an environment with the extra `diffprivlib`, for diffprivlib 0.6.6 needs an older scikit-learn, and runs

    python -m experiments.implementations --out runs/implementations

there. Where diffprivlib is not installed its rows are left out.

Opacus is looked at from inside, by the noisy gradient that its optimiser leaves; the canary is a record whose gradient
points against that of all others, which are alike: add-or-remove-one has no worse neighbours for a mean. diffprivlib is
looked at from outside, with the same record. Looks are paid for, as in `experiments.faults`.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import math
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from opacus import PrivacyEngine
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from attacks.scores import Scores
from audit.accounting import claim_of, noise_multiplier
from audit.claim import Claim
from audit.claim_test import claim_test
from audit.estimators.calibrated_epsilon_delta import CalibratedEpsilonDelta
from audit.gaussian import mu_of
from audit.mechanism import DPSGD
from audit.sequential import confidence_at_look
from audit.training.allocator import keep_freed_memory

CONFIDENCE, DELTA, EPSILON = 0.999, 1e-5, 4.0
RECORDS, FEATURES, STEPS, NORM = 16, 16, 5, 0.1
SIGMA = noise_multiplier(EPSILON, DELTA, 1.0, STEPS)

One = Callable[[bool, int], float]
"""(whether the canary is in, seed) -> the score of one model."""


@dataclass(frozen=True)
class Case:
    """One implementation."""

    name: str
    access: str
    attack: str
    claim: Claim
    scores: Callable[[int], Scores]
    looks: tuple[int, ...]


def opacus_model(mode: str, clipping: str, own_divisor: bool) -> One:
    """Scores of models trained by Opacus: how far each noisy gradient goes along the canary's clipped one."""
    x = torch.linspace(-1, 1, FEATURES).expand(RECORDS + 1, -1).contiguous()
    y = torch.tensor([0] * RECORDS + [1])

    def one(inside: bool, seed: int) -> float:
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(FEATURES, 8), nn.Tanh(), nn.Linear(8, 2))
        optimizer = torch.optim.SGD(module.parameters(), lr=0.05)
        data = TensorDataset(x[: RECORDS + inside], y[: RECORDS + inside])
        extra: dict[str, Any] = {}
        if clipping == "adaptive":
            extra = {
                "target_unclipped_quantile": 0.5,
                "clipbound_learning_rate": 0.2,
                "max_clipbound": 10 * NORM,
                "min_clipbound": NORM / 10,
                "unclipped_num_std": 10.0,
            }
        tensors = len(list(module.parameters()))
        norm = [NORM / math.sqrt(tensors)] * tensors if clipping == "per_layer" else NORM
        made = PrivacyEngine().make_private(
            module=module,
            optimizer=optimizer,
            criterion=nn.CrossEntropyLoss(),
            data_loader=DataLoader(data, batch_size=len(data)),
            noise_multiplier=SIGMA,
            max_grad_norm=norm,
            poisson_sampling=False,
            clipping=clipping,
            grad_sample_mode=mode,
            noise_generator=torch.Generator().manual_seed(seed),
            **extra,
        )
        private, dp_optimizer, criterion = made[0], made[1], made[2] if len(made) == 4 else nn.CrossEntropyLoss()
        if not own_divisor:
            dp_optimizer.expected_batch_size = RECORDS
        found: list[float] = []
        parameters = list(module.parameters())

        def look(optimiser: Any) -> None:
            update = torch.cat([p.grad.flatten() for p in parameters])
            found.append(float(update @ towards) * RECORDS / NORM)

        dp_optimizer.attach_step_hook(look)
        for _ in range(STEPS):
            gradient = torch.cat([g.flatten() for g in _gradient(module, x[-1:], y[-1:])])
            towards = gradient / gradient.norm()
            dp_optimizer.zero_grad()
            criterion(private(data.tensors[0]), data.tensors[1]).backward()
            dp_optimizer.step()
        return sum(found)

    return one


def _gradient(module: nn.Module, x: torch.Tensor, y: torch.Tensor) -> list[torch.Tensor]:
    """The canary's gradient at the current parameters, on a copy that carries no hooks."""
    copy = nn.Sequential(nn.Linear(FEATURES, 8), nn.Tanh(), nn.Linear(8, 2))
    copy.load_state_dict({name: value.detach() for name, value in module.state_dict().items()})
    return list(torch.autograd.grad(nn.functional.cross_entropy(copy(x), y), list(copy.parameters())))


def has_diffprivlib() -> bool:
    return importlib.util.find_spec("diffprivlib") is not None


def cases() -> list[Case]:
    """Opacus; and diffprivlib, where it is installed."""
    claim = claim_of(DPSGD(1.0, STEPS, SIGMA), DELTA)
    settings = [(mode, "flat", False) for mode in ("hooks", "functorch", "ew", "ghost")]
    settings += [("hooks", "per_layer", False), ("hooks", "adaptive", False), ("hooks", "flat", True)]
    found = []
    for mode, clipping, own in settings:
        name = f"Opacus, {mode}, {clipping} clipping, " + ("divisor as Opacus sets it" if own else "fixed divisor")
        one = opacus_model(mode, clipping, own)
        found.append(Case(name, "gradients", "gradient", claim, lambda n, one=one: _scores(one, n), (128, 512)))
    for kind in ("LogisticRegression", "GaussianNB") if has_diffprivlib() else ():
        pure = Claim(EPSILON, 0.0)
        found.append(Case(f"diffprivlib, {kind}", "probabilities", "loss", pure, lambda n, kind=kind: _outside(kind, n),
                          (2048,)))  # fmt: skip
    return found


def _scores(one: One, count: int) -> Scores:
    score = np.array([[one(i % 2 == 0, i)] for i in range(count)])
    return Scores.from_matrix(score, np.arange(count)[:, None] % 2 == 0, randomised="model")


def _outside(kind: str, count: int) -> Scores:
    from experiments.diffprivlib_scores import scores  # where it is installed

    score, member = map(np.array, zip(*scores(kind, EPSILON, count), strict=True))
    return Scores.from_matrix(score[:, None], member[:, None], randomised="model")


def audit(case: Case, seed: int = 0) -> dict[str, Any]:
    """Looks at more and more models, until the claim is refuted or the last look is taken."""
    started = sum(os.times()[:4])
    found, test, level = None, None, 1.0
    for look, models in enumerate(case.looks, start=1):
        found = case.scores(models)
        level = 1 - confidence_at_look(CONFIDENCE, look)
        test = claim_test(found, case.claim, seed=seed, level=level)
        if test is not None and test.p_value <= level:
            break
    assert found is not None
    assert test is not None
    bound = CalibratedEpsilonDelta().bound(found, case.claim.delta, 1 - level, seed=seed)
    ins, outs = found.score[found.member], found.score[~found.member]
    separation = abs(ins.mean() - outs.mean()) / math.sqrt((ins.var() + outs.var()) / 2)
    return {
        "implementation": case.name,
        "verdict": _verdict(test.p_value <= level, separation, case.claim),
        "access": case.access,
        "attack": case.attack,
        "estimator": f"claim test; bound: {bound.estimator}",
        "bound": bound.epsilon,
        "claimed": case.claim.epsilon,
        "p_value": test.p_value,
        "level": level,
        "separation": separation,
        "models": found.models,
        "versions": versions(),
        "seconds": sum(os.times()[:4]) - started,
    }


def versions() -> str:
    """Of what is audited, and of scikit-learn beneath it."""
    names = ("opacus", "torch", *(("diffprivlib", "scikit-learn") if has_diffprivlib() else ()))
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)


def _verdict(refuted: bool, separation: float, claim: Claim) -> str:
    """There is no control without noise: an attack that sees less than a quarter of what is claimed shows nothing."""
    if refuted:
        return "REFUTED"
    allowed = mu_of(claim.epsilon, claim.delta or 1e-5)
    return "NOT_REFUTED" if separation >= allowed / 4 else "INCONCLUSIVE"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/implementations"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    keep_freed_memory()
    rows = []
    if not has_diffprivlib():
        print("diffprivlib is left out, for it is not installed here; `make implementations` has it.")
    for case in cases():
        rows.append(audit(case, options.seed))
        r = rows[-1]
        print(
            f"{r['verdict']:<12} {r['implementation']:<62} p {r['p_value']:<8.2g} separation {r['separation']:<6.3g} "
            f"epsilon >= {r['bound']:<6.3g} {r['models']:>5} models {r['seconds']:>6.1f} s",
            flush=True,
        )
        pd.DataFrame(rows).to_csv(options.out / "implementations.csv", index=False)


if __name__ == "__main__":
    main()
