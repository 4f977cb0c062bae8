"""A synthetic run with everything that the report can show."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from attacks.scores import Scores
from audit.bounds import ADD_OR_REMOVE_ONE, Bound
from audit.claim import Claim
from audit.report import render
from audit.results import (
    AttackResult,
    CellResult,
    Extraction,
    Interval,
    Outcome,
    RecordRisk,
    RunResult,
    ScopedInterval,
    Verdict,
)

EPSILONS = (1.0, 2.0, 4.0, 8.0, math.inf)
MU = {1.0: 0.25, 2.0: 0.45, 4.0: 0.8, 8.0: 1.4, math.inf: 5.0}
RATE = {0: [0, 0, 0, 0, 0], 1: [0, 0, 0, 0, 0], 16: [0, 0, 0, 0, 0.96]}
EXPOSURE = {0: [1.4, 1.5, 1.4, 1.3, 1.4], 1: [1.9, 1.8, 1.8, 1.8, 3.0], 16: [3.6, 4.6, 6.0, 9.1, 26.5]}
AUC = {1: [0.5, 0.52, 0.55, 0.58, 0.71], 16: [0.62, 0.71, 0.88, 0.99, 1.0]}
EVIL = "</style><script>alert('x')</script><img src=http://evil.test/x> $\\frac{1}{0}$ 日本 \x07 {{ 7 * 7 }} [bold]"


def make_scores(mu: float, seed: int, models: int = 24, canaries: int = 8, references: int = 4) -> Scores:
    """Gaussian scores, shifted by `mu` where the canary was in."""
    rng = np.random.default_rng(seed)
    total = canaries + references
    member = rng.random((models, total)) < 0.5
    reference = np.arange(total) >= canaries
    score = rng.normal(size=(models, total)) + mu * (member & ~reference)
    scores = Scores.from_matrix(score, member, "canary")
    return replace(scores, reference=reference)


def make_bound(epsilon: float, estimator: str = "clopper-pearson", **changes: Any) -> Bound:
    """A bound; the Gaussian one is parametric."""
    parametric = estimator == "gdp"
    return replace(
        Bound(
            epsilon=epsilon,
            delta=1e-5,
            confidence=0.9975,
            adjacency=ADD_OR_REMOVE_ONE,
            estimator=estimator,
            assumptions=("independent models", "a fair coin for each canary")
            + (("the trade-off curve of the Gaussian mechanism",) if parametric else ()),
            corrected_for=("threshold chosen on held-out models", "20 bounds of this run (Bonferroni)"),
            ceiling={"clopper-pearson": 3.2767, "gdp": 4.618, "one-run": 2.914, "secrets": 5.203}[estimator],
            parametric=parametric,
            samples={"models": 24, "canaries": 8, "members": 96, "non_members": 96},
        ),
        **changes,
    )


def make_attack(attack: str, family: str, cell: int, seed: int, strength: float = 1.0) -> AttackResult:
    """A membership attack with a bound from each of three estimators."""
    mu = strength * MU[EPSILONS[cell]]
    found = min(3.2767, [0.0, 0.1234, 0.5678, 1.2345, 3.2767][cell] * strength)
    return AttackResult(
        attack=attack,
        family=family,
        access="probabilities" if family == "membership" else "labels",
        queries=12 if family == "membership" else 1200,
        scores=make_scores(mu, seed + cell),
        auc=Interval(value=0.5 + 0.09 * cell, low=0.45 + 0.09 * cell, high=min(1.0, 0.55 + 0.1 * cell)),
        bounds=(
            make_bound(found),
            make_bound(min(4.618, 1.4 * found), "gdp"),
            make_bound(min(2.914, 0.8 * found), "one-run"),
        ),
        seen_p=[0.41, 0.08, 0.0031, 2e-5, 0.0][cell],
        reference_p=[0.61, 0.22, 0.93, 0.47, 0.35][cell],
        tpr_at={0.001: Interval(0.0123, 0.0, 0.0345), 0.01: Interval(0.0456, 0.0234, 0.0789)},
        risks=tuple(
            RecordRisk(f"natural-{i:05d}", Interval(0.91 - i / 20, 0.6, 0.97), Interval(0.7, 0.3, 0.9), 0.004, 11, 13)
            for i in range(6)
        ),
    )


def make_extraction(cell: int) -> AttackResult:
    """An extraction attack: three repetition counts, of which one was never inserted."""
    rows = tuple(
        Extraction(
            repetitions=count,
            secrets=48,
            rate=Interval(rate[cell], max(0.0, rate[cell] - 0.08), min(1.0, rate[cell] + 0.074)),
            exposure=EXPOSURE[count][cell],
            exposure_max=math.log2(1e8),
            auc=AUC[count][cell] if count else None,
            auc_interval=ScopedInterval(AUC[count][cell], AUC[count][cell] - 0.12, 1.0) if count else None,
            exposure_interval=ScopedInterval(
                EXPOSURE[count][cell], EXPOSURE[count][cell] - 0.7, EXPOSURE[count][cell] + 0.05
            ),
        )
        for count, rate in RATE.items()
    )
    attack = make_attack("exposure", "extraction", cell, seed=300)
    bound = make_bound([0.0, 0.0, 0.31, 1.87, 5.2][cell], "secrets", samples={"models": 24, "guessed": cell})
    return replace(attack, access="token log-probabilities", bounds=(bound,), extraction=rows)


def make_cell(audit: str, cell: int, attacks: tuple[AttackResult, ...], utility: dict[str, Interval]) -> CellResult:
    """A cell at EPSILONS[cell]; infinity is the control and has no verdict."""
    epsilon = EPSILONS[cell]
    bounds = [bound for attack in attacks for bound in attack.bounds if not bound.parametric]
    low, ceiling = max(b.epsilon for b in bounds), max(b.ceiling for b in bounds)
    outcome = Outcome.NOT_REFUTED if cell else Outcome.INCONCLUSIVE
    reason = f"The largest lower bound, {low:.3g}, does not exceed the claimed {epsilon:g}."
    return CellResult(
        audit=audit,
        claim=Claim(epsilon, 1e-5, sampling="poisson", accountant="pld", unit="text" if "text" in audit else "record"),
        noise_multiplier=None if cell == 3 else [3.1, 1.73, 1.02, 0.7, 0.0][cell],
        models_planned=24,
        models_done=24 if cell != 2 else 23,
        utility=utility,
        attacks=attacks,
        verdict=None if math.isinf(epsilon) else Verdict(outcome, reason, low, ceiling),
    )


def make_result(**changes: Any) -> RunResult:
    """Digits and text, five epsilons each, one failed unit, and names that try to break the page."""
    accuracy = [0.71, 0.80, 0.86, 0.90, 0.94]
    nats = [3.02, 2.87, 2.77, 2.68, 2.15]
    digits = [
        make_cell(
            "digits",
            i,
            (make_attack("loss", "membership", i, 100), make_attack("noise-robustness", "label-only", i, 200, 0.5)),
            {"accuracy": Interval(accuracy[i], accuracy[i] - 0.03, accuracy[i] + 0.02)},
        )
        for i in range(5)
    ]
    text = [
        make_cell(
            "pydoc text",
            i,
            (make_extraction(i),),
            {"test loss (nats)": Interval(nats[i], nats[i] - 0.05, nats[i] + 0.05)},
        )
        for i in range(5)
    ]
    verdict = Verdict(Outcome.NOT_REFUTED, "No bound of 8 cells exceeds its claim; the controls held.", 1.87, 5.203)
    result = RunResult(
        name="digits demo",
        cells=tuple(digits + text),
        verdict=verdict,
        confidence=0.95,
        config={
            "name": "digits demo",
            "delta": 1e-5,
            "epsilons": [1, 2, 4, 8, math.inf],
            "audit": [{"name": "digits"}],
        },
        provenance={
            "firedamp": "0.1.0",
            "versions": {"python": "3.11.9", "numpy": "2.3.1"},
            "seed": 0,
            "machine": "2 cores",
        },
        failures={
            "digits/eps=4/model=17": "Traceback (most recent call last):\n  ...\nRuntimeError: loss is not finite"
        },
    )
    return replace(result, **changes)


@pytest.fixture(scope="session")
def result() -> RunResult:
    """The whole synthetic run."""
    return make_result()


@pytest.fixture(scope="session")
def empty() -> RunResult:
    """A run of which nothing is there yet."""
    verdict = Verdict(Outcome.INCONCLUSIVE, "No unit finished.", 0.0, 0.0)
    return make_result(cells=(), verdict=verdict, failures={})


@pytest.fixture(scope="session")
def hostile(result: RunResult) -> RunResult:
    """Every text that a user can write tries to break the page."""

    def attack(a: AttackResult) -> AttackResult:
        bounds = tuple(replace(b, estimator=EVIL, assumptions=(EVIL,), corrected_for=(EVIL,)) for b in a.bounds)
        return replace(a, attack=EVIL, family=EVIL, access=EVIL, bounds=bounds)

    def cell(c: CellResult) -> CellResult:
        verdict = replace(c.verdict, reason=EVIL) if c.verdict else None
        attacks = tuple(attack(a) for a in c.attacks)
        claim = replace(c.claim, unit=EVIL, sampling=EVIL, accountant=EVIL)
        utility = dict.fromkeys((EVIL,), next(iter(c.utility.values())))
        return replace(c, audit=EVIL, claim=claim, attacks=attacks, verdict=verdict, utility=utility)

    return replace(
        result,
        name=EVIL,
        cells=tuple(cell(c) for c in result.cells),
        verdict=replace(result.verdict, reason=EVIL),
        config={EVIL: [EVIL]},
        provenance={EVIL: {EVIL: EVIL}},
        failures={EVIL: EVIL},
    )


@pytest.fixture(scope="session")
def page(result: RunResult) -> str:
    """The synthetic run as HTML."""
    return render(result)
