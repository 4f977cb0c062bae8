"""White-box views of the ensemble trainer, and audits that rest on them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import binom
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from attacks import Gradient, GradientLLR, Iterates, Weights
from attacks.gradient_llr import step_ratios
from attacks.scores import Scores
from attacks.view import Access, AccessError
from audit.estimators.one_run import OneRun
from audit.estimators.one_run_fdp import OneRunFDP
from audit.gaussian import epsilon_of
from audit.mechanism import DPSGD
from audit.training.ensemble import Ensemble, Speed
from audit.training.ensemble.spikes import spikes
from audit.training.ensemble.stacked import Stacked
from audit.training.models import CNN, MLP, Softmax
from audit.training.nonprivate import NonPrivate
from audit.training.opacus import Opacus
from audit.training.text_models import CharacterGRU, CharacterNGram
from canaries import Blank, Dirac, Inclusion, Mislabelled
from canaries.base import CanarySet
from canaries.errors import InputError
from canaries.records import ArrayRecords, Dataset, GradientRecords, TextRecords

DELTA = 1e-5


def records(n: int, seed: int, features: int = 20) -> ArrayRecords:
    rng = np.random.default_rng(seed)
    return ArrayRecords(rng.normal(size=(n, features)), rng.integers(0, 3, n), 3)


DATA = Dataset("blobs", records(10, 0), records(30, 1), records(8, 2))
TINY = Ensemble(model=Softmax(), steps=4, sample_rate=1.0, learning_rate=0.5, noise_multiplier=2.0, record="gradients")
ROWS = np.array([[True, False], [False, True], [True, True], [False, False]])


def canaries(count: int = 2):  # type: ignore[no-untyped-def]
    return Mislabelled().make(DATA, count, np.random.default_rng(3))


@pytest.mark.parametrize(
    ("fields", "white_box", "access"),
    [
        ({"record": "none"}, set(), Access.PROBABILITIES),
        ({"record": "weights"}, {Access.WEIGHTS}, Access.WEIGHTS),
        ({"record": "none", "checkpoint_every": 2}, {Access.WEIGHTS, Access.CHECKPOINTS}, Access.CHECKPOINTS),
        ({"record": "gradients"}, {Access.WEIGHTS, Access.GRADIENTS}, Access.GRADIENTS),
    ],
)
def test_the_configuration_says_what_a_view_grants(fields, white_box, access) -> None:  # type: ignore[no-untyped-def]
    trainer = replace(TINY, **fields)
    assert trainer.white_box == white_box
    view = trainer.train(DATA, canaries(), ROWS[:1], [1])
    assert view.access is access
    for other in (Access.WEIGHTS, Access.CHECKPOINTS, Access.GRADIENTS):
        if other in white_box:
            assert view.grant(other).access is other
        else:
            with pytest.raises(AccessError, match=f"the attack asked for {other}"):
                view.grant(other)


@pytest.mark.parametrize("fields", [{"record": "all"}, {"checkpoint_every": 5}, {"checkpoint_every": -1}])
def test_bad_configuration(fields) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=f"Expected {next(iter(fields))}"):
        replace(TINY, **fields)


def test_watching_changes_no_model() -> None:
    watched = replace(TINY, checkpoint_every=1).train(DATA, canaries(), ROWS, [1, 2, 3, 4])
    plain = replace(TINY, record="none").train(DATA, canaries(), ROWS, [1, 2, 3, 4])
    np.testing.assert_array_equal(watched.loss(DATA.test), plain.loss(DATA.test))


def test_checkpoints_are_models_of_fewer_steps() -> None:
    view = replace(TINY, checkpoint_every=2, record="weights").train(DATA, canaries(), ROWS, [1, 2, 3, 4])
    found = view.checkpoints()
    assert list(found) == [2, 4]
    for step, checkpoint in found.items():
        shorter = replace(TINY, steps=step, record="weights").train(DATA, canaries(), ROWS, [1, 2, 3, 4])
        np.testing.assert_array_equal(checkpoint.loss(DATA.test), shorter.loss(DATA.test))
        np.testing.assert_array_equal(checkpoint.parameters(), shorter.parameters())
        np.testing.assert_array_equal(checkpoint.movement(DATA.test), shorter.movement(DATA.test))
    np.testing.assert_array_equal(found[4].parameters(), view.parameters())
    mean = np.mean([c.loss(canaries().records) for c in found.values()], axis=0)
    np.testing.assert_allclose(Iterates().observe(view, canaries(), 0).score, -mean)


def test_the_record_of_data_canaries() -> None:
    """Without noise, what is unknown is the canary's own squared norm if it was in and alone, and zero if none was."""
    view = replace(TINY, noise_multiplier=0.0, max_grad_norm=0.7).train(DATA, canaries(), ROWS, [1, 2, 3, 4])
    record = view.gradient_record()
    assert record.products.shape == (4, 4, 2)
    assert (record.norms <= 0.7).all()
    for model, canary in ((0, 0), (1, 1)):
        own = record.norms[model, :, canary] ** 2
        np.testing.assert_allclose(record.unknown[model, :, canary], own, rtol=1e-4)
    np.testing.assert_allclose(record.unknown[3], 0, atol=1e-6)
    assert np.abs(record.known[3]).min() > 1e-4


@pytest.mark.parametrize("initial", ["fresh", "shared"])
def test_movement_of_data_canaries_equals_autograd(initial) -> None:  # type: ignore[no-untyped-def]
    trainer = replace(TINY, model=MLP((5,)), max_grad_norm=0.6, initial=initial)
    view, made = trainer.train(DATA, canaries(), ROWS, [1, 2, 3, 4]), canaries()
    known = np.zeros_like(view.parameters()) if initial == "fresh" else view.initial_parameters()
    found = Weights().observe(view, made, 0).score
    x, y = trainer.model.tensors(made.records)
    for k, module in enumerate(trainer.modules(DATA, torch.from_numpy(view.parameters()))):
        change = torch.from_numpy(known[k] - view.parameters()[k])
        for c in range(2):
            module.zero_grad()
            trainer.model.criterion()(module(x[[c]]), y[[c]]).backward()
            gradient = torch.cat([p.grad.flatten() for p in module.parameters()])  # type: ignore[union-attr]
            product = float(change @ gradient) * min(1.0, 0.6 / float(gradient.norm()))
            assert found[k, c] == pytest.approx(product, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("made", [canaries(), Dirac().make(DATA, 2, np.random.default_rng(0))], ids=["data", "dirac"])
def test_what_weights_see_of_fresh_models_is_made_of_the_final_parameters_alone(made) -> None:  # type: ignore[no-untyped-def]
    """Zero stands for what training began with, so models that hardly trained differ by what they began with."""
    still = replace(TINY, learning_rate=1e-30, checkpoint_every=2)
    view = still.train(DATA, made, np.zeros((4, 2), dtype=np.bool_), [1, 2, 3, 4])
    for level in (view.grant(Access.WEIGHTS), view, *view.checkpoints().values()):
        with pytest.raises(AccessError, match="each model drew its own in secret"):
            level.initial_parameters()
        score = level.movement(made.records)
        assert (score.std(axis=0) > 1e-3).all()
        if isinstance(made.records, GradientRecords):
            along = spikes(made.records, Stacked(still.template(still.model, DATA)).shapes, 1.0)
            wanted = -level.parameters()[:, along.coordinates] * along.values.numpy()
            np.testing.assert_allclose(score, wanted, rtol=1e-5)


@pytest.mark.parametrize("initial", ["shared", "pretrained", "given"])
def test_initial_parameters_that_all_models_share_are_known(initial, tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = str(tmp_path / "initial.pt") if initial == "given" else ""
    if path:
        torch.save(TINY.model.build(DATA.train, 5).state_dict(), path)
    still = replace(TINY, initial=initial, initial_path=path, pretrain_steps=5, learning_rate=1e-30)
    view = still.train(DATA, canaries(), ROWS, [1, 2, 3, 4]).grant(Access.WEIGHTS)
    start = view.initial_parameters()
    np.testing.assert_array_equal(start, view.parameters())
    np.testing.assert_array_equal(start, np.broadcast_to(start[:1], start.shape))
    np.testing.assert_array_equal(view.movement(canaries().records), 0)


class Largest(TorchDispatchMode):
    """Remembers the bytes of the largest tensor that any operation returned."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        found = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, torch.Tensor):
                self.bytes = max(self.bytes, tensor.untyped_storage().nbytes())
        return found


@pytest.mark.parametrize("kind", ["array", "images", "text"])
def test_records_and_movements_of_many_canaries_keep_to_the_memory_budget(kind) -> None:  # type: ignore[no-untyped-def]
    """Of 300 canaries' gradients, 4 models' each, none is written down: they would be many times the budget."""
    rng, budget = np.random.default_rng(0), 1.0
    if kind == "text":
        texts = ("".join(rng.choice(list("abcd"), 20)) for _ in range(300))
        trainer = replace(TINY, model=CharacterNGram(length=20, alphabet="abcd", hidden=64))
        made = TextRecords(tuple(texts))
    else:
        shape, model = ((60,), MLP((200,))) if kind == "array" else ((1, 8, 8), CNN((16, 64)))
        trainer = replace(TINY, model=model)
        made = ArrayRecords(rng.normal(size=(300, *shape)), rng.integers(0, 3, 300), 3)
    dataset = Dataset("made", made.take(np.arange(8)), made.take(np.arange(8)), made.take(np.arange(8)))
    planted = CanarySet("many", tuple(map(str, range(300))), made, np.ones(300, dtype=np.int64), np.zeros(300, bool))
    trainer, inserted = replace(trainer, steps=1), np.zeros((4, 300), dtype=np.bool_)
    with Largest() as largest:
        view = trainer.train(dataset, planted, inserted, [1, 2, 3, 4], Speed(memory_mb=budget))
        movement = view.movement(made)
    size = view.parameters().shape[1]
    assert 4 * 4 * 300 * size > 10 * 2**20 * budget
    inputs = made.x.nbytes if isinstance(made, ArrayRecords) else 0
    assert largest.bytes <= max(2**20 * budget, 4 * 4 * size, inputs)
    wide = trainer.train(dataset, planted, inserted, [1, 2, 3, 4], Speed(memory_mb=1000.0))
    np.testing.assert_allclose(movement, wide.movement(made), rtol=1e-3, atol=1e-5)
    found, wanted = (v.gradient_record() for v in (view, wide))
    np.testing.assert_allclose(found.products, wanted.products, rtol=1e-3, atol=1e-4)


def test_the_record_says_what_is_claimed() -> None:
    """Not what is done: that is for the attack to find out."""

    class Understating(Ensemble):
        @property
        def mechanism(self) -> DPSGD:
            return DPSGD(0.1, self.steps, self.noise_multiplier)

    trainer = Understating(model=Softmax(), steps=4, sample_rate=0.5, noise_multiplier=1.5, record="gradients")
    record = trainer.train(DATA, canaries(), ROWS[:1], [1]).gradient_record()
    np.testing.assert_array_equal(record.sample_rate, 0.1)
    assert (record.noise_multiplier, record.max_grad_norm) == (1.5, 1.0)
    phased = replace(TINY, sample_rate=0.25, rates=((1, 0.5), (3, 1.0)))
    record = phased.train(DATA, canaries(), ROWS[:1], [1]).gradient_record()
    assert record.sample_rate.tolist() == [0.25, 0.5, 0.5, 1.0]


def test_a_model_alone_has_the_same_record() -> None:
    for made in (canaries(), Dirac().make(DATA, 2, np.random.default_rng(0))):
        trainer = replace(TINY, sample_rate=0.5)
        together = trainer.train(DATA, made, ROWS, [1, 2, 3, 4])
        for attack in (Gradient(), GradientLLR(), Weights()):
            scores = attack.observe(together, made, 0).score
            for k in range(4):
                alone = trainer.train(DATA, made, ROWS[k : k + 1], [k + 1])
                np.testing.assert_allclose(attack.observe(alone, made, 0).score[0], scores[k], rtol=1e-4, atol=1e-5)


MU = math.sqrt(TINY.steps) / TINY.noise_multiplier
MODELS = 800


def separation(score: np.ndarray, member: np.ndarray) -> float:
    inside, outside = score[member], score[~member]
    return float((inside.mean() - outside.mean()) / np.sqrt((inside.var() + outside.var()) / 2))


@pytest.mark.parametrize(
    ("design", "attacks"),
    [(Dirac(), (Gradient(), GradientLLR(), Weights())), (Blank(), (Gradient(), GradientLLR()))],
    ids=["dirac", "blank"],
)
def test_full_batch_audits_stand_at_the_gaussian_ceiling_and_not_above(design, attacks) -> None:  # type: ignore[no-untyped-def]
    """The separation of 400 + 400 models has standard error of about 0.08; wrong once in 10^6 runs on either side.

    A canary that is not at the clipping norm at every step stays below. The final model's other records move alike in
    both arms at full batch, so the weights lose little.
    """
    made = design.make(DATA, 1, np.random.default_rng(0))
    inclusion = Inclusion.draw(made, MODELS, "model", seed=1)
    trainer = replace(TINY, initial="shared", learning_rate=0.01, max_grad_norm=0.1)
    view = trainer.train(DATA, made, inclusion.inserted, range(MODELS))
    error = math.sqrt(4 / MODELS * (1 + MU**2 / 8))
    for attack in attacks:
        found = separation(attack.observe(view, made, 0).score[:, 0], inclusion.member[:, 0])
        assert abs(found - MU) < 4.9 * error


def test_ratios_are_ratios() -> None:
    """Under Poisson sampling the mean of the ratio without the canary is 1, and of its inverse with it.

    10^5 steps; wrong once in 10^6 runs (4.9 standard errors).
    """
    made = Dirac().make(DATA, 50, np.random.default_rng(0))
    trainer = replace(TINY, steps=20, sample_rate=0.3)
    inclusion = Inclusion.draw(made, 100, "canary", seed=1)
    record = trainer.train(DATA, made, inclusion.inserted, range(100)).gradient_record()
    ratio = np.exp(step_ratios(record).swapaxes(1, 2))
    for values in (ratio[~inclusion.member], 1 / ratio[inclusion.member]):
        assert abs(values.mean() - 1) < 4.9 * values.std() / math.sqrt(values.size)
    z = record.unknown.swapaxes(1, 2)[~inclusion.member] / (2.0 * record.max_grad_norm**2)
    assert abs(z.std() - 1) < 4.9 / math.sqrt(2 * z.size)


@pytest.mark.parametrize("estimator", [OneRunFDP(), OneRun()], ids=lambda e: e.name)
def test_one_run_audits_with_dirac_canaries_are_valid(estimator) -> None:  # type: ignore[no-untyped-def]
    """200 audits of one model each; more than the 1 - 10^-4 quantile of Binomial(200, 5%) too high means a bug."""
    audits, m = 200, 60
    made = Dirac().make(DATA, m, np.random.default_rng(0))
    inclusion = Inclusion.draw(made, audits, "canary", seed=2)
    view = TINY.train(DATA, made, inclusion.inserted, range(audits))
    truth = epsilon_of(MU, DELTA)
    scores = Scores.join(GradientLLR().observe(view, made, 0), made, inclusion)
    bounds = [estimator.epsilon(scores.take_models([k]), DELTA, 0.95, 0) for k in range(audits)]
    assert sum(bound > truth for bound in bounds) <= binom.ppf(1 - 1e-4, audits, 0.05)
    assert np.median(bounds) > 0  # and they say something


def test_more_canaries_than_parameters_are_refused_before_training() -> None:
    with pytest.raises(InputError, match="at most 63 gradient canaries, one for each parameter, got 64"):
        TINY.check(DATA, Dirac().make(DATA, 60, np.random.default_rng(0), references=4))
    TINY.check(DATA, Dirac().make(DATA, 63, np.random.default_rng(0)))


@pytest.mark.parametrize("trainer", [Opacus(model=Softmax()), NonPrivate(model=Softmax())], ids=lambda t: t.name)
def test_other_trainers_refuse_gradients_before_training(trainer) -> None:  # type: ignore[no-untyped-def]
    made = Dirac().make(DATA, 2, np.random.default_rng(0))
    with pytest.raises(InputError, match=f"'{trainer.name}' trains on records alone, but 'dirac' canaries are gradien"):
        trainer.check(DATA, made)
    assert trainer.white_box == frozenset()


@pytest.mark.parametrize("model", [CharacterNGram(context=3, hidden=4), CharacterGRU(embedding=2, hidden=4, length=8)])
def test_language_models_open_up_as_well(model) -> None:  # type: ignore[no-untyped-def]
    texts = Dataset("texts", *(TextRecords(tuple(f"{part} {i}" for i in range(6))) for part in ("one", "two", "three")))
    two = texts.pool.take([0, 1])
    data_canaries = CanarySet("made", ("a", "b"), two, np.ones(2, dtype=int), np.zeros(2, dtype=bool))
    trainer = replace(TINY, model=model, noise_multiplier=0.0, checkpoint_every=4)
    for made in (data_canaries, Dirac().make(texts, 2, np.random.default_rng(0))):
        trainer.check(texts, made)
        view = trainer.train(texts, made, ROWS, [1, 2, 3, 4])
        own = view.gradient_record().norms[0, :, 0] ** 2
        np.testing.assert_allclose(view.gradient_record().unknown[0, :, 0], own, rtol=1e-3)
        assert Weights().observe(view, made, 0).score.shape == (4, 2)
        np.testing.assert_array_equal(view.checkpoints()[4].loss(texts.test), view.loss(texts.test))
