"""Auditing a user's own training function, and bounding epsilon from scores, as plain calls."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path
from typing import Any, Literal

import joblib
import numpy as np
from numpy.typing import NDArray

from attacks.base import Attack
from attacks.cross_model import LEAST_MODELS, CrossModel
from attacks.scores import Observations, Scores
from attacks.view import WHITE_BOX
from audit import registry
from audit.analysis import AttackKind, CellScores, RunScores, analyse, calibrate
from audit.bounds import ADD_OR_REMOVE_ONE, Bound
from audit.claim import Claim
from audit.defaults import default_estimators
from audit.estimators.base import Estimator
from audit.policy import Policy
from audit.report import summary_json, write_report
from audit.results import RunResult, Verdict
from audit.training.function import FunctionTrainer, TrainFunction
from audit.utility import measure_utility
from canaries.base import CanaryDesign, CanarySet
from canaries.errors import InputError
from canaries.inclusion import Inclusion
from canaries.neighbours import REPLACE_ONE, as_neighbours, owned
from canaries.randomness import derive_seed, generator
from canaries.records import ArrayRecords, Dataset, TextRecords

Data = Dataset | tuple[Any, Any] | Sequence[str]


@dataclass(frozen=True, eq=False)
class AuditResult:
    """What `run` found.

    Attributes:
        run: everything, as plain data.
    """

    run: RunResult

    @property
    def verdict(self) -> Verdict:
        """The outcome, with the sentence that says why."""
        return self.run.verdict

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """Every lower bound on the audited pipeline's epsilon, the largest first; they hold simultaneously."""
        found = [
            bound
            for cell in self.run.cells
            if not cell.claim.is_control
            for attack in cell.attacks
            for bound in attack.bounds
        ]
        return tuple(sorted(found, key=lambda bound: -bound.epsilon))

    def report(self, path: str | Path) -> Path:
        """Write the report, one self-contained HTML file."""
        return write_report(self.run, path)

    def json(self) -> dict[str, Any]:
        """Everything that matters as plain data."""
        return summary_json(self.run)


def run(
    train: TrainFunction,
    data: Data,
    canaries: CanaryDesign,
    attacks: Sequence[Attack],
    models: int,
    claim: Claim,
    seed: int = 0,
    *,
    count: int = 64,
    references: int = 32,
    records_per_user: int = 1,
    randomise: Literal["canary", "model"] = "canary",
    control: TrainFunction | None = None,
    estimators: Sequence[Estimator] | None = None,
    confidence: float = 0.95,
    least_power: float = Policy().least_power,
    jobs: int = 1,
) -> AuditResult:
    """Audit a training function: plant canaries, train `models` times, attack, bound epsilon, judge the claim.

    Args:
        train: train(x, y, seed) -> predict, where predict(x) gives float[n, classes] probabilities, classes in sorted
            order; for texts train(texts, seed) -> score, where score(texts) gives float[n] losses in nats; or, for
            attacks that ask for the probabilities of tokens, train(texts, seed) -> a `TextView` of the one model.
        data: (x, y), x of shape [n, features...]; or a sequence of texts; or a `Dataset`, split already. The first two
            are split at random into what every model trains on, what canaries are made of, and what utility is
            measured on.
        canaries: how canaries are made.
        attacks: what is run on every model.
        models: how many models are trained.
        claim: what the pipeline claims. Its adjacency says what is in a canary's place where it is out; with the unit
            "user" it covers all of a user's records at once.
        seed: every random draw derives from it.
        count: canaries that a coin may insert. With randomise="model" use 1, or the claim is about a group.
        references: canaries that are never inserted: the negative control.
        records_per_user: how many canaries one user owns, in or out together; `count` and `references` then count
            users. A claim for records is then tested as one for a group of so many.
        randomise: "canary": each (model, canary) has a fair coin; "model": each model has all canaries or none.
        control: the same pipeline without its protection, trained as often: the positive control. Without it a claim
            can be refuted, but nothing else can be concluded.
        estimators: what turns scores into bounds; by default what fits the coins.
        confidence: simultaneous over all bounds.
        least_power: share of the claim that a perfect attack must be able to show for a conclusive verdict.
        jobs: how many models train at once; -1 for one per core.

    Raises:
        InputError: for arguments out of range, data that does not fit, or answers of the wrong shape.
    """
    _check(attacks, models, confidence, least_power)
    if records_per_user < 1:
        raise InputError(f"Expected records_per_user >= 1, got {records_per_user}.")
    _check_estimators(estimators or (), claim)
    planted = records_per_user * (count + references)
    dataset, labels = _dataset(data, planted, claim.adjacency == REPLACE_ONE, derive_seed(seed, "data"))
    crafted = canaries.make(
        dataset, records_per_user * count, generator(seed, "canaries"), records_per_user * references
    )
    crafted = as_neighbours(crafted, claim.adjacency, dataset, generator(seed, "substitutes"))
    if records_per_user > 1:
        crafted = owned(crafted, records_per_user, "user" if claim.unit == "user" else "record")
    for attack in attacks:
        if canaries.kind not in attack.kinds:
            raise InputError(f"Attack '{attack.name}' cannot attack {canaries.kind} canaries.")
        if attack.access in WHITE_BOX:
            raise InputError(
                f"Attack '{attack.name}' needs access to {attack.access}; a training function gives answers alone."
            )
        attack.check(crafted)
    if canaries.kind == "gradient":
        raise InputError(f"Canaries '{canaries.name}' are gradients, and a training function takes records alone.")
    name = getattr(train, "__name__", "pipeline")
    pipelines = [(claim, train)]
    if control is not None:
        pipelines.append((replace(claim, epsilon=float("inf")), control))
    cells = []
    for cell_claim, function in pipelines:
        base = derive_seed(seed, f"epsilon {cell_claim.epsilon!r}")
        inclusion = Inclusion.draw(crafted, models, randomise, derive_seed(base, "coins"))
        trainer = FunctionTrainer(function, labels)
        measured = joblib.Parallel(n_jobs=jobs)(
            joblib.delayed(_one)(trainer, dataset, crafted, inclusion.inserted[i], derive_seed(base, "model", i),
                                 tuple(attacks), derive_seed(seed, "attacks"))
            for i in range(models)
        )  # fmt: skip
        cells.append(_cell(name, cell_claim, models, crafted, inclusion, attacks, measured, estimators, confidence))
    return AuditResult(
        analyse(
            RunScores(
                name=name,
                cells=tuple(cells),
                delta=claim.delta,
                confidence=confidence,
                seed=seed,
                policy=Policy(least_power=least_power),
                config={
                    "canaries": registry.identity(canaries)
                    | {"count": count, "references": references, "records_per_user": records_per_user},
                    "randomise": randomise,
                    "attacks": [registry.identity(attack) for attack in attacks],
                    "models": models,
                    "seed": seed,
                },
                provenance={
                    "versions": {
                        "python": platform.python_version(),
                        "firedamp": importlib.metadata.version("firedamp"),
                    },
                    "digests": {"data": dataset.digest(), "canaries": crafted.digest()},
                },
            )
        )
    )


def bound(
    in_scores: NDArray[np.floating],
    out_scores: NDArray[np.floating],
    *,
    delta: float,
    confidence: float = 0.95,
    estimator: Estimator | str | None = None,
    seed: int = 0,
    adjacency: str | None = None,
) -> Bound:
    """A lower bound on epsilon from the scores of independent runs with and without one canary.

    Args:
        in_scores: float[n_in], one score for each model that had the canary; higher = more likely a member.
        out_scores: float[n_out], for each model that had not.
        delta: what the bound is stated at.
        confidence: of the bound.
        estimator: an estimator or its name; by default calibrated (epsilon, delta), which assumes no curve.
        seed: of ties and of simulations.
        adjacency: which neighbours the models with and without the canary are: "add-or-remove-one", "replace-one" or
            "replace-label"; by default the estimator's, where it is for one alone, else "add-or-remove-one".

    Raises:
        InputError: for what is no number, NaN, no scores of one side, or values out of range.
    """
    ins, outs = _numbers(in_scores, "in_scores"), _numbers(out_scores, "out_scores")
    if not (len(ins) and len(outs)):
        raise InputError(f"Expected scores of both sides, got {len(ins)} in_scores and {len(outs)} out_scores.")
    if not isinstance(delta, Real):
        raise InputError(f"Expected delta to be a number, got {delta!r}.")
    if not 0.5 <= confidence <= 0.9999:
        raise InputError(f"Expected confidence in [0.5, 0.9999], got {confidence}.")
    scores = Scores.from_arms(ins, outs)
    if estimator is None:
        estimator = default_estimators(scores, delta, confidence)[0]
    chosen = registry.build(registry.ESTIMATORS, estimator)
    return chosen.bound(scores, delta, confidence, adjacency or chosen.only_for or ADD_OR_REMOVE_ONE, seed)


def _numbers(scores: Any, name: str) -> NDArray[np.float64]:
    try:
        found = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"Expected {name} to be numbers, got {scores!r:.60}.") from None
    if found.ndim != 1:
        raise InputError(f"Expected {name} to be a 1-D array, got shape {found.shape}.")
    if np.isnan(found).any():
        raise InputError(f"Scores must not be NaN: {name}[{int(np.isnan(found).argmax())}] is.")
    return found


def _check(attacks: Sequence[Attack], models: int, confidence: float, least_power: float) -> None:
    if not attacks:
        raise InputError("Expected at least one attack, got none.")
    registry.attack_titles(attacks)
    for attack in attacks:
        if isinstance(attack, CrossModel) and models < LEAST_MODELS:
            raise InputError(
                f"Attack '{attack.name}' compares each model with others, so models must be at least {LEAST_MODELS}, "
                f"got {models}."
            )
    if not 0 < confidence < 1:
        raise InputError(f"Expected confidence in (0, 1), got {confidence}.")
    if not 0 <= least_power <= 1:
        raise InputError(f"Expected least_power in [0, 1], got {least_power}.")


def _check_estimators(estimators: Sequence[Estimator], claim: Claim) -> None:
    for estimator in estimators:
        if estimator.only_for not in (None, claim.adjacency):
            raise InputError(
                f"Estimator '{estimator.name}' gives bounds for {estimator.only_for}, but the claim is for "
                f"{claim.adjacency}; set its adjacency."
            )
        if claim.mechanism and (misfit := estimator.misfit(claim.mechanism)):
            raise InputError(f"Estimator '{estimator.name}' does not fit the claim's mechanism: {misfit}")


def _one(
    trainer: FunctionTrainer,
    dataset: Dataset,
    canaries: CanarySet,
    inserted: NDArray[np.bool_],
    seed: int,
    attacks: tuple[Attack, ...],
    attack_seed: int,
) -> tuple[list[Observations], dict[str, float]]:
    view = trainer.train(dataset, canaries, inserted[None], [seed])
    view.keys = (seed,)
    utility = {name: float(values[0]) for name, values in measure_utility(view, dataset).items()}
    return [attack.observe(view, canaries, attack_seed) for attack in attacks], utility


def _cell(
    name: str,
    claim: Claim,
    models: int,
    canaries: CanarySet,
    inclusion: Inclusion,
    attacks: Sequence[Attack],
    measured: list[tuple[list[Observations], dict[str, float]]],
    estimators: Sequence[Estimator] | None,
    confidence: float,
) -> CellScores:
    scores: dict[AttackKind, tuple[Attack, Scores]] = {}
    queries = {}
    for position, attack in enumerate(attacks):
        seen = [observed[position] for observed, _ in measured]
        together = Observations(
            ids=seen[0].ids,
            score=np.concatenate([one.score for one in seen]),
            evidence={name: np.concatenate([one.evidence[name] for one in seen]) for name in seen[0].evidence},
        )
        kind = AttackKind.of(attack)
        scores[kind] = attack, Scores.join(together, canaries, inclusion)
        queries[attack.title] = float(seen[0].queries)
    if estimators is None:
        fitting = [default_estimators(seen, claim.delta, confidence) for _, seen in scores.values()]
        estimators = tuple(dict.fromkeys(estimator for several in fitting for estimator in several))
    return CellScores(
        audit=name,
        claim=claim,
        noise_multiplier=None,
        models_planned=models,
        queries=queries,
        utility={name: [utility[name] for _, utility in measured] for name in measured[0][1]},
        estimators=tuple(estimators),
        models_wanted=None,
        **calibrate(scores),
    )


def _dataset(data: Data, canaries: int, replaced: bool, seed: int) -> tuple[Dataset, NDArray[np.generic] | None]:
    """The data split in three, and the labels that classes stand for.

    Where other records stand in for canaries (`replaced`), the pool holds as many again.
    """
    if isinstance(data, Dataset):
        return data, None
    labels: NDArray[np.generic] | None = None
    records: ArrayRecords | TextRecords
    if isinstance(data, tuple) and len(data) == 2:
        labels, y = np.unique(np.asarray(data[1]), return_inverse=True)
        records = ArrayRecords(np.asarray(data[0], dtype=np.float32), y, len(labels))
    elif isinstance(data, Sequence) and all(isinstance(text, str) for text in data):
        records = TextRecords(tuple(data))
    else:
        raise InputError(f"Expected data to be (x, y), a sequence of texts or a Dataset, got {type(data).__name__}.")
    needed = 2 * canaries if replaced else canaries
    pool, test = max(needed, len(records) // 10), len(records) // 5
    if len(records) < pool + test + 1:
        raise InputError(
            f"Expected more than {pool + test} records: {pool} to make {canaries} canaries of"
            f"{', and what stands in for them,' if replaced else ''} and {test} for utility; got {len(records)}."
        )
    order = generator(seed, "split").permutation(len(records))
    parts = [records.take(part) for part in np.split(order, [test, test + pool])]
    return Dataset("data", parts[2], parts[1], parts[0]), labels
