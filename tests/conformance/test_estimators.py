"""The same promises of every estimator. One that is not in the table fails the suite."""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import FrozenInstanceError, is_dataclass, replace

import numpy as np
import pytest

import audit.estimators
from attacks.scores import Scores
from audit.bounds import ADD_OR_REMOVE_ONE, REPLACE_ONE, Bound
from audit.estimators import (
    DKW,
    Betting,
    CalibratedEpsilonDelta,
    CalibratedGaussian,
    CalibratedLossCurve,
    ClopperPearson,
    ExposureRank,
    GaussianDP,
    OneRun,
    OneRunCalibrated,
    OneRunFDP,
    Reconstruction,
    SecretGuess,
)
from audit.estimators.base import Estimator
from canaries.errors import InputError

Design = Callable[[np.random.Generator], Scores]


def many_runs(rng: np.random.Generator) -> Scores:
    return Scores.from_arms(rng.normal(2, 1, 40), rng.normal(0, 1, 41))


def one_model(rng: np.random.Generator) -> Scores:
    member = rng.random((1, 200)) < 0.5
    return Scores.from_matrix(rng.normal(2 * member, 1), member, randomised="canary")


def several_models(rng: np.random.Generator) -> Scores:
    member = rng.random((5, 40)) < 0.5
    scores = Scores.from_matrix(rng.normal(2 * member, 1), member, randomised="canary")
    return replace(scores, repetitions=np.where(np.arange(40) < 20, 1, 3), reference=np.arange(40) % 8 == 0)


def secrets(rng: np.random.Generator) -> Scores:
    scores = several_models(rng)
    guessed = scores.member & (rng.random(scores.member.shape) < 0.6)
    return replace(scores, space=np.full(40, 1e8), evidence={"guessed": guessed})


def secret_of_each_model(rng: np.random.Generator) -> Scores:
    scores = Scores.from_matrix(np.zeros((20, 20)), np.eye(20, dtype=bool), randomised="model")
    return replace(scores, space=np.full(20, 50.0), evidence={"guessed": rng.random((20, 20)) < 0.5})


def reconstructions(rng: np.random.Generator) -> Scores:
    scores = secret_of_each_model(rng)
    return replace(scores, evidence={"reconstructed": scores.evidence["guessed"]})


def exposures(rng: np.random.Generator) -> Scores:
    scores = secrets(rng)
    return replace(scores, evidence={"exposure": rng.uniform(0, np.log2(1e8), scores.member.shape)})


TABLE: list[tuple[Estimator, Design]] = [
    (ClopperPearson(), many_runs),
    (ClopperPearson(threshold=1.0), many_runs),
    (DKW(), many_runs),
    (Betting(), many_runs),
    (CalibratedEpsilonDelta(), many_runs),
    (CalibratedGaussian(), many_runs),
    (CalibratedLossCurve(), many_runs),
    (CalibratedLossCurve(sample_rate=0.2, steps=10), many_runs),
    (GaussianDP(), many_runs),
    (GaussianDP(threshold=1.0), many_runs),
    (OneRun(), one_model),
    (OneRun(), several_models),
    (OneRun(guesses=1.0, centre=False), several_models),
    (OneRunCalibrated(), one_model),
    (OneRunCalibrated(centre=False), several_models),
    (OneRunFDP(), one_model),
    (OneRunFDP(guesses=1.0), several_models),
    (Reconstruction(prior=0.02), reconstructions),
    (ExposureRank(), exposures),
    (SecretGuess(), secrets),
    (SecretGuess(), secret_of_each_model),
]
each = pytest.mark.parametrize(
    ("estimator", "design"), TABLE, ids=[f"{estimator}-{design.__name__}" for estimator, design in TABLE]
)


def test_every_estimator_is_in_the_table() -> None:
    for module in pkgutil.walk_packages(audit.estimators.__path__, "audit.estimators."):
        importlib.import_module(module.name)
    found, queue = set(), [Estimator]
    while queue:
        queue += (children := queue.pop().__subclasses__())
        found |= {c for c in children if c.__module__.startswith("audit.") and not c.__abstractmethods__}
    assert found == {type(estimator) for estimator, _ in TABLE}
    names = [cls.name for cls in found]
    assert len(names) == len(set(names))


@each
def test_it_is_a_frozen_dataclass_with_defaults(estimator: Estimator, design: Design) -> None:
    cls = type(estimator)
    assert is_dataclass(cls)
    assert cls() == cls()
    assert cls.__doc__
    with pytest.raises(FrozenInstanceError):
        estimator.confidence = 0.5


@each
@pytest.mark.parametrize("delta", [0.0, 1e-5, 0.3])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_a_bound_lies_below_its_ceiling(estimator: Estimator, design: Design, delta: float, confidence: float) -> None:
    for seed in range(2):
        scores = design(np.random.default_rng(seed))
        bound = estimator.bound(scores, delta, confidence, seed=seed)
        assert isinstance(bound, Bound)
        assert 0 <= bound.epsilon <= bound.ceiling < np.inf
        assert (bound.delta, bound.confidence, bound.estimator) == (delta, confidence, estimator.name)
        assert bound.parametric == estimator.parametric
        assert bound.assumptions
        assert all(bound.assumptions)


@each
def test_a_bound_depends_on_scores_and_seed_alone(estimator: Estimator, design: Design) -> None:
    scores = design(np.random.default_rng(1))
    before = scores.score.copy(), scores.member.copy()
    assert estimator.bound(scores, 1e-5, seed=3) == estimator.bound(scores, 1e-5, seed=3)
    np.testing.assert_array_equal(scores.score, before[0])
    np.testing.assert_array_equal(scores.member, before[1])


@each
def test_more_delta_more_confidence_and_more_copies_show_less(estimator: Estimator, design: Design) -> None:
    scores = design(np.random.default_rng(2))
    chosen = 1e-6  # a threshold chosen on held-out models may move with delta; nothing else may
    bounds = [estimator.bound(scores, delta).ceiling for delta in (chosen, 1e-3, 0.1)]
    assert bounds == sorted(bounds, reverse=True)
    ceilings = [estimator.bound(scores, chosen, confidence).ceiling for confidence in (0.8, 0.95, 0.99)]
    assert ceilings == sorted(ceilings, reverse=True)
    twice = replace(scores, repetitions=2 * scores.repetitions)
    assert estimator.bound(twice, chosen).ceiling <= estimator.bound(scores, chosen).ceiling


@each
def test_it_needs_the_evidence_that_it_declares(estimator: Estimator, design: Design) -> None:
    scores = design(np.random.default_rng(0))
    assert estimator.inapplicable(replace(scores, evidence={n: scores.evidence[n] for n in estimator.needs})) is None
    for missing in estimator.needs:
        rest = {name: array for name, array in scores.evidence.items() if name != missing}
        assert f"evidence '{missing}'" in str(estimator.inapplicable(replace(scores, evidence=rest)))
    if not estimator.needs:
        other = replace(scores, score=np.zeros_like(scores.score))
        assert estimator.bound(other, 1e-5) != estimator.bound(scores, 1e-5)


@each
@pytest.mark.parametrize("constant", [0.0, np.inf, -np.inf])
def test_equal_scores_work(estimator: Estimator, design: Design, constant: float) -> None:
    scores = design(np.random.default_rng(0))
    same = replace(scores, score=np.full(scores.score.shape, constant))
    bound = estimator.bound(same, 1e-5)
    assert 0 <= bound.epsilon <= bound.ceiling
    if not scores.evidence:
        assert bound.epsilon < 0.5


@each
@pytest.mark.parametrize("member", [True, False])
def test_one_empty_arm_works(estimator: Estimator, design: Design, member: bool) -> None:
    scores = design(np.random.default_rng(0))
    bound = estimator.bound(replace(scores, member=np.full(scores.member.shape, member)), 1e-5)
    assert 0 <= bound.epsilon <= bound.ceiling


@each
def test_a_single_model_works_or_is_refused(estimator: Estimator, design: Design) -> None:
    bound = estimator.bound(design(np.random.default_rng(0)).take_models(slice(0, 1)), 1e-5)
    assert 0 <= bound.epsilon <= bound.ceiling


@each
def test_what_the_caller_passes_is_kept(estimator: Estimator, design: Design) -> None:
    """The adjacency as well, unless the estimator is for another alone: then it says so."""
    scores = design(np.random.default_rng(0))
    bound = estimator.bound(scores, 0.0, corrected_for=("best of 3 attacks",))
    assert bound.corrected_for[0] == "best of 3 attacks"
    assert bound.adjacency == ADD_OR_REMOVE_ONE
    if estimator.only_for is None:
        assert estimator.bound(scores, 0.0, adjacency=REPLACE_ONE).adjacency == REPLACE_ONE
    else:
        with pytest.raises(InputError, match="the neighbours are replace-one; set its adjacency"):
            estimator.bound(scores, 0.0, adjacency=REPLACE_ONE)


@each
@pytest.mark.parametrize("delta", [-0.1, 1.0, np.nan])
def test_a_bad_delta_is_named(estimator: Estimator, design: Design, delta: float) -> None:
    with pytest.raises(InputError, match=rf"delta in \[0, 1\), got {delta}"):
        estimator.bound(design(np.random.default_rng(0)), delta)


@each
@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0, np.nan])
def test_a_bad_confidence_is_named(estimator: Estimator, design: Design, confidence: float) -> None:
    with pytest.raises(InputError, match=rf"confidence in \(0, 1\), got {confidence}"):
        estimator.bound(design(np.random.default_rng(0)), 1e-5, confidence)
