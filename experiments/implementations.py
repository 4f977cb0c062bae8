"""The same audit over real implementations: Opacus in each grad_sample_mode and clipping, and diffprivlib.

    make implementations

makes an environment with the extra `diffprivlib`, for diffprivlib 0.6.6 needs an older scikit-learn, and runs

    python -m experiments.implementations --out runs/implementations

there. Where diffprivlib is not installed its rows are left out.

Opacus is looked at from inside, by the noisy gradient that its optimiser leaves; the canary is a record whose gradient
points against that of all others, which are alike: add-or-remove-one has no worse neighbours for a mean. diffprivlib is
looked at from outside, by what the model says of the canary. Each is judged as a sweep is (`experiments.judging`), with
the same models without noise as positive control, and a record that is never inserted as negative one.
"""

from __future__ import annotations

import argparse
import functools
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
from audit.analysis import AttackKind
from audit.claim import Claim
from audit.mechanism import DPSGD
from audit.programs import run_program
from audit.training.allocator import keep_freed_memory
from canaries.randomness import generator
from experiments.judging import judged, with_reference

CONFIDENCE, DELTA, EPSILON = 0.999, 1e-5, 4.0
CONTROL = 128
"""Models without noise."""
RECORDS, FEATURES, STEPS, NORM = 16, 16, 5, 0.1
BROKEN = 4
"""Times its claimed epsilon, diffprivlib is run again: what this audit would have caught."""
SIGMA = noise_multiplier(EPSILON, DELTA, 1.0, STEPS)

One = Callable[[bool, int], tuple[float, float]]
"""(whether the canary is in, seed) -> one model's scores of the canary and of a record that is never in."""


@dataclass(frozen=True)
class Case:
    """One implementation.

    Attributes:
        name: of the table's row.
        access: what the attack sees.
        attack: its name.
        claim: what the implementation claims.
        scores: (how many models, whether with noise) -> their scores.
        models: how many are audited.
    """

    name: str
    access: str
    attack: str
    claim: Claim
    scores: Callable[[int, bool], Scores]
    models: int


def opacus_model(mode: str, clipping: str, own_divisor: bool, noisy: bool) -> One:
    """Scores of models trained by Opacus: how far each noisy gradient goes along the canary's clipped one."""
    x = torch.linspace(-1, 1, FEATURES).expand(RECORDS + 1, -1).contiguous()
    y = torch.tensor([0] * RECORDS + [1])
    never = torch.eye(FEATURES)[:1], torch.tensor([1])

    def one(inside: bool, seed: int) -> tuple[float, float]:
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
                "unclipped_num_std": 10.0 if noisy else 1e-3,  # of the noise on the quantile
            }
        tensors = len(list(module.parameters()))
        norm = [NORM / math.sqrt(tensors)] * tensors if clipping == "per_layer" else NORM
        made = PrivacyEngine().make_private(
            module=module,
            optimizer=optimizer,
            criterion=nn.CrossEntropyLoss(),
            data_loader=DataLoader(data, batch_size=len(data)),
            noise_multiplier=SIGMA if noisy else 0.0,
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
        found: list[torch.Tensor] = []
        parameters = list(module.parameters())

        def look(optimiser: Any) -> None:
            update = torch.cat([p.grad.flatten() for p in parameters])
            found.append(towards @ update * RECORDS / NORM)

        dp_optimizer.attach_step_hook(look)
        for _ in range(STEPS):
            watched = torch.stack([_gradient(module, x[-1:], y[-1:]), _gradient(module, *never)])
            towards = watched / watched.norm(dim=1, keepdim=True)
            dp_optimizer.zero_grad()
            criterion(private(data.tensors[0]), data.tensors[1]).backward()
            dp_optimizer.step()
        canary, other = torch.stack(found).sum(0).tolist()
        return canary, other

    return one


def _gradient(module: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """[size]: a record's gradient at the current parameters, on a copy that carries no hooks."""
    copy = nn.Sequential(nn.Linear(FEATURES, 8), nn.Tanh(), nn.Linear(8, 2))
    copy.load_state_dict({name: value.detach() for name, value in module.state_dict().items()})
    loss = nn.functional.cross_entropy(copy(x), y)
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(copy.parameters()))])


def has_diffprivlib() -> bool:
    return importlib.util.find_spec("diffprivlib") is not None


def cases() -> list[Case]:
    """Opacus; and diffprivlib, where it is installed."""
    claim = claim_of(DPSGD(1.0, STEPS, SIGMA), DELTA)
    settings = [(mode, "flat", False) for mode in ("hooks", "functorch", "ew", "ghost")]
    settings += [(mode, clip, False) for clip in ("per_layer", "adaptive") for mode in ("hooks", "functorch", "ew")]
    settings += [("hooks", "flat", True)]  # ghost has flat clipping alone
    found = []
    for mode, clipping, own in settings:
        name = f"Opacus, {mode}, {clipping} clipping, " + ("divisor as Opacus sets it" if own else "fixed divisor")
        found.append(Case(name, "gradients", "gradient", claim, functools.partial(_opacus, mode, clipping, own), 512))
    for kind in ("LogisticRegression", "GaussianNB") if has_diffprivlib() else ():
        for epsilon in (EPSILON, BROKEN * EPSILON):
            name = f"diffprivlib, {kind}" + (f", broken: run with ε = {epsilon:g}" if epsilon != EPSILON else "")
            scores = functools.partial(_diffprivlib, kind, epsilon)
            found.append(Case(name, "probabilities", "loss", Claim(EPSILON, 0.0), scores, 2048))
    return found


def _opacus(mode: str, clipping: str, own_divisor: bool, count: int, noisy: bool) -> Scores:
    one = opacus_model(mode, clipping, own_divisor, noisy)
    return _scores([one(i % 2 == 0, i) for i in range(count)])


def _diffprivlib(kind: str, epsilon: float, count: int, noisy: bool) -> Scores:
    from experiments.diffprivlib_scores import scores  # where it is installed

    return _scores(scores(kind, epsilon if noisy else math.inf, count))


def _scores(found: list[tuple[float, float]]) -> Scores:
    """Models with the canary and without take turns; the other record's coins are drawn."""
    member = np.arange(len(found)) % 2 == 0
    coins = generator(len(found), "reference coins").random(len(found)) < 0.5
    return with_reference(np.array(found), member, coins)


def audit(case: Case, seed: int = 0) -> dict[str, Any]:
    """The row of one implementation."""
    started = sum(os.times()[:4])
    found, control = case.scores(case.models, True), case.scores(CONTROL, False)
    family = "white-box" if case.access == "gradients" else "membership"
    cell, gate = judged(
        case.name, AttackKind(case.attack, family, case.access), case.claim, found, control, CONFIDENCE, seed
    )
    (attacked,) = cell.attacks
    (bound,) = attacked.bounds
    assert attacked.claim_test is not None
    assert cell.verdict is not None
    score, member = found.score[:, 0], found.member[:, 0]
    separation = abs(score[member].mean() - score[~member].mean()) / math.sqrt(
        (score[member].var() + score[~member].var()) / 2
    )
    return {
        "implementation": case.name,
        "verdict": cell.verdict.outcome.value,
        "exit_code": gate.exit_code,
        "access": case.access,
        "attack": case.attack,
        "estimator": f"claim test; bound: {bound.estimator}",
        "bound": bound.epsilon,
        "claimed": case.claim.epsilon,
        "p_value": attacked.claim_test.p_value,
        "separation": separation,
        "models": case.models + CONTROL,
        "versions": versions(),
        "seconds": sum(os.times()[:4]) - started,
        "reason": cell.verdict.reason,
    }


def versions() -> str:
    """Of what is audited, and of scikit-learn beneath it."""
    names = ("opacus", "torch", *(("diffprivlib", "scikit-learn") if has_diffprivlib() else ()))
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)


def markdown(rows: pd.DataFrame) -> str:
    """The table of all implementations."""
    lines = [
        "# Real implementations: what was found",
        "",
        "Made by `make implementations`; [docs/faults.md](../faults.md) says how to read it. All columns: "
        "[implementations.csv](implementations.csv).",
        "",
        "| implementation | verdict | p | separation | ε ≥ | models | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for _, row in rows.iterrows():
        verdict = f"**{row['verdict']}**" if row["verdict"] == "REFUTED" else row["verdict"]
        figures = f"{row['p_value']:.2g} | {row['separation']:.2f} | {row['bound']:.3g} | {row['models']}"
        lines.append(f"| {row['implementation']} | {verdict} | {figures} | {row['seconds']:.1f} |")
    return "\n".join(lines) + "\n"


def publish(rows: pd.DataFrame, out: Path) -> None:
    """implementations.csv and implementations.md into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    rows.to_csv(out / "implementations.csv", index=False, float_format="%.5g")
    (out / "implementations.md").write_text(markdown(rows), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/implementations"))
    parser.add_argument("--docs", type=Path, help="also write the table, implementations.md and .csv, there")
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
    if options.docs:
        publish(pd.DataFrame(rows), options.docs)


if __name__ == "__main__":
    run_program(main)
