"""Every trainer trains on the neighbours that the canaries realise; claims, curves and bounds are of the same ones."""

from dataclasses import replace

import numpy as np
import pytest

import audit
from attacks.loss import Loss
from attacks.scores import Scores
from audit.accounting import noise_multiplier, prv_epsilon
from audit.claim import Claim
from audit.claim_test import p_value
from audit.config import parse
from audit.estimators.calibrated_loss_curve import CalibratedLossCurve
from audit.gaussian import epsilon_of, mu_of
from audit.loss_curve import curve_of
from audit.mechanism import DPSGD
from audit.plan import plan
from audit.pld import pld_epsilon
from audit.runs import load_result
from audit.sweeping import sweep
from audit.training.ensemble import Ensemble
from audit.training.function import FunctionTrainer
from audit.training.models import MLP
from audit.training.nonprivate import NonPrivate
from audit.training.opacus import Opacus
from canaries import Blank, HotPixel, Mislabelled
from canaries.base import CanarySet
from canaries.errors import InputError
from canaries.inclusion import training_set
from canaries.neighbours import as_neighbours, owned
from canaries.records import ArrayRecords, Dataset

RNG = np.random.default_rng(0)
DATA = Dataset("toy", *(ArrayRecords(RNG.normal(size=(n, 4)), RNG.integers(3, size=n), 3) for n in (12, 20, 8)))
CANARIES = Mislabelled().make(DATA, 3, np.random.default_rng(1))
ROW = np.array([[True, False, False]])


def remembered(x, y, seed):
    """A training function that tells which records it was given: the class counts of each feature's sign."""
    seen = np.bincount(y, weights=x[:, 0] * (1 + np.arange(len(y))), minlength=3)
    p = np.exp(seen - seen.max())
    return lambda queries: np.tile(p / p.sum(), (len(queries), 1))


TRAINERS = [
    Ensemble(model=MLP((5,)), steps=3, sample_rate=0.7),
    Opacus(model=MLP((5,)), steps=3, sample_rate=0.7),
    NonPrivate(model=MLP((5,)), steps=3, sample_rate=0.7),
    FunctionTrainer(remembered),
]


@pytest.mark.parametrize("trainer", TRAINERS, ids=lambda trainer: type(trainer).__name__)
@pytest.mark.parametrize("neighbours", ["replace-one", "replace-label"])
def test_what_stands_in_is_trained_on(trainer, neighbours):
    canaries = as_neighbours(CANARIES, neighbours, DATA, np.random.default_rng(2))
    # The same training set, written out: the first canary and the others' substitutes, all of them in.
    arrays = [canaries.records.take([0]), canaries.substitutes.take([1, 2])]
    written = CanarySet("made", CANARIES.ids, arrays[0].followed_by(arrays[1]), CANARIES.repetitions, ~ROW[0] & False)
    found, wanted, removed = (
        trainer.train(DATA, *args, [7]).loss(DATA.test)
        for args in ((canaries, ROW), (written, np.ones((1, 3), dtype=bool)), (CANARIES, ROW))
    )
    np.testing.assert_array_equal(found, wanted)
    assert not np.allclose(found, removed)


@pytest.mark.parametrize("trainer", TRAINERS, ids=lambda trainer: type(trainer).__name__)
def test_a_users_records_are_trained_on_together(trainer):
    canaries = owned(CANARIES, 3)
    rows = np.array([[True] * 3, [False] * 3])
    found = trainer.train(DATA, canaries, rows, [7, 8]).loss(DATA.test)
    base = replace(DATA, train=training_set(DATA.train, canaries, rows[0]))
    assert len(base.train) == 15
    np.testing.assert_array_equal(found, trainer.train(DATA, CANARIES, rows, [7, 8]).loss(DATA.test))


@pytest.mark.parametrize("adjacency", ["replace-one", "replace-label"])
def test_a_replaced_record_is_twice_as_far_away(adjacency):
    full = DPSGD(1.0, 20, 9.0)
    assert pld_epsilon(full, 1e-5, adjacency=adjacency) == pytest.approx(epsilon_of(2 * 20**0.5 / 9, 1e-5), rel=1e-3)
    assert curve_of(full, 1, adjacency).mu == pytest.approx(2 * 20**0.5 / 9)
    sigma = noise_multiplier(8.0, 1e-5, 1.0, 20, adjacency=adjacency)
    assert 2 * 20**0.5 / sigma == pytest.approx(mu_of(8.0, 1e-5), rel=1e-3)
    poisson = DPSGD(0.1, 3, 1.0)
    assert pld_epsilon(poisson, 1e-5, 1e-3, adjacency) > pld_epsilon(poisson, 1e-5, 1e-3)
    with pytest.raises(InputError, match=f"knows 'add-or-remove-one' alone, got '{adjacency}'"):
        prv_epsilon(full, 1e-5, adjacency)


def test_one_poisson_step_under_replace_one_against_the_integral():
    x = np.linspace(-40, 40, 400_001)
    density = [
        (0.9 * np.exp(-((x) ** 2) / 8) + 0.1 * np.exp(-((x - s) ** 2) / 8)) / np.sqrt(8 * np.pi) for s in (1, -1)
    ]
    epsilon = pld_epsilon(DPSGD(0.1, 1, 2.0), 1e-5, adjacency="replace-one")
    delta = np.maximum(density[0] - np.exp(epsilon) * density[1], 0).sum() * (x[1] - x[0])
    assert delta == pytest.approx(1e-5, rel=0.02)


def test_a_claim_of_other_neighbours_says_so():
    assert str(Claim(8, 1e-5, adjacency="replace-label")) == "(8, 1e-05)-DP per record under replace-label"
    with pytest.raises(InputError, match="'replace-one', 'replace-label', got 'swap'"):
        Claim(8, 1e-5, adjacency="swap")


def test_the_curve_estimator_takes_its_own_neighbours_alone():
    rng = np.random.default_rng(0)
    scores = Scores.from_arms(rng.normal(2.0, 1, 100), rng.normal(0, 1, 100))
    added, replaced = (
        CalibratedLossCurve(1.0, 20, adjacency).bound(scores, 1e-5, adjacency=adjacency).epsilon
        for adjacency in ("add-or-remove-one", "replace-one")
    )
    assert replaced == pytest.approx(added, rel=0.02)  # Full batch is Gaussian, whatever the distance is called.
    with pytest.raises(InputError, match="gives bounds for add-or-remove-one, but the neighbours are replace-one"):
        CalibratedLossCurve(1.0, 20).bound(scores, 1e-5, adjacency="replace-one")


def experiment(**canaries):
    return {
        "name": "neighbours",
        "epsilons": [4.0],
        "delta": 1e-5,
        "audits": [
            {
                "name": "a",
                "models": 4,
                "attacks": ["loss"],
                "estimators": ["one-run"],
                "data": {"name": "digits", "train": 30, "pool": 40, "test": 5},
                "canaries": {"design": "mislabelled", "count": 4, "references": 2, **canaries},
                "trainer": {"name": "ensemble", "model": "softmax", "steps": 2, "sample_rate": 1.0},
            }
        ],
    }


@pytest.mark.parametrize("neighbours", ["add-or-remove-one", "replace-one", "replace-label"])
def test_neighbours_of_a_sweep_stand_in_its_claims_and_bounds(neighbours, tmp_path):
    table = experiment(neighbours=neighbours)
    (work,) = plan(parse(table))
    distance = 1 if neighbours == "add-or-remove-one" else 2
    sigma = work.cells[0].noise_multiplier
    assert distance * 2**0.5 / sigma == pytest.approx(mu_of(4.0, 1e-5), rel=2e-3)
    sweep(parse(table), tmp_path)
    for cell in load_result(tmp_path).cells:
        assert cell.claim.adjacency == neighbours
        for attack in cell.attacks:
            assert [(bound.adjacency, bound.unit) for bound in attack.bounds] == [(neighbours, "record")]


@pytest.mark.parametrize(("protects", "copies"), [("record", 3), ("user", 1)])
def test_users_of_a_sweep(protects, copies, tmp_path):
    sweep(parse(experiment(records_per_user=3, protects=protects)), tmp_path)
    cell = load_result(tmp_path).cells[0]
    assert cell.claim.unit == protects
    scores = cell.attacks[0].scores
    assert scores.ids[0] == "mislabelled-user-0000"
    assert scores.score.shape == (4, 6)
    assert list(scores.repetitions) == [copies] * 6
    assert cell.attacks[0].bounds[0].unit == protects


def test_an_estimator_of_other_neighbours_is_refused_before_training():
    table = experiment(neighbours="replace-one", count=1, randomise="model")
    table["audits"][0]["estimators"] = [{"name": "calibrated-loss-curve", "steps": 2}]
    with pytest.raises(InputError, match="for add-or-remove-one, but the neighbours of audit 'a' are replace-one"):
        plan(parse(table))
    table["audits"][0]["estimators"][0]["adjacency"] = "replace-one"
    plan(parse(table))


def test_bad_neighbours_of_a_sweep():
    with pytest.raises(InputError, match="neighbours"):
        parse(experiment(neighbours="swap"))
    with pytest.raises(InputError, match="gradients are added or removed, got neighbours 'replace-one'"):
        parse(experiment(design="dirac", neighbours="replace-one"))
    texts = experiment(design="secrets", neighbours="replace-label")
    texts["audits"][0] |= {"data": {"name": "pydoc", "train": 64, "pool": 8, "test": 8}, "attacks": ["extraction"]}
    texts["audits"][0]["trainer"]["model"] = "ngram"
    with pytest.raises(InputError, match="'replace-label' needs labelled records, 'secrets' makes texts"):
        parse(texts)
    texts["audits"][0]["canaries"] = {"design": "secrets", "count": 2, "records_per_user": 2}
    with pytest.raises(InputError, match="records_per_user must be 1 with secrets, got 2"):
        parse(texts)


def test_a_claim_for_users_that_clips_records_is_refuted():
    """Per-record clipping under a claim for users of 8 records: the claim falls, and a claim for records stands."""
    rng = np.random.default_rng(0)
    data = Dataset("zeros", *(ArrayRecords(rng.normal(size=(n, 4)), rng.integers(2, size=n), 2) for n in (20, 5, 4)))
    made = HotPixel(label=0).make(data, 8, np.random.default_rng(0))
    sigma = noise_multiplier(2.0, 1e-5, 1.0, 5)
    trainer = Ensemble(model=MLP((4,)), initial="shared", steps=5, sample_rate=1.0, learning_rate=0.1)
    member = np.arange(200) % 2 == 0
    claim = Claim(2.0, 1e-5, mechanism=DPSGD(1.0, 5, sigma))
    p = {}
    for protected in ("record", "user"):
        canaries = owned(made, 8, protected)
        view = trainer.with_noise(sigma).train(data, canaries, np.repeat(member[:, None], 8, axis=1), range(200))
        score = Loss().observe(view, canaries, 0).score.mean(axis=1, keepdims=True)
        scores = Scores.from_matrix(score, member[:, None], "model")
        scores = replace(scores, repetitions=np.array([1 if protected == "user" else 8]))
        p[protected] = p_value(scores, replace(claim, unit=protected))
    assert p["user"] <= 1e-3
    assert p["record"] > 0.05


def test_a_training_function_is_given_the_neighbours_of_its_claim():
    sizes = []

    def train(x, y, seed):
        sizes.append(len(x))
        return remembered(x, y, seed)

    claim = Claim(4.0, 1e-5, unit="user", adjacency="replace-one")
    result = audit.run(train, DATA, Blank(), [Loss()], 4, claim, count=3, references=2, records_per_user=2)
    assert set(sizes) == {12 + 6}
    (cell,) = result.run.cells
    assert list(cell.attacks[0].scores.repetitions) == [1] * 5
    assert {(bound.adjacency, bound.unit) for bound in result.bounds} == {("replace-one", "user")}
    with pytest.raises(InputError, match="records_per_user >= 1, got 0"):
        audit.run(train, DATA, Blank(), [Loss()], 4, claim, records_per_user=0)
