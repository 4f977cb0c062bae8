"""The same promises of every trainer and every model. One that is not in a table fails the suite."""

import tempfile
from dataclasses import FrozenInstanceError, is_dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from attacks.view import WHITE_BOX, Access, AccessError
from audit.mechanism import DPSGD
from audit.registry import MODELS, TRAINERS, available, build, identity
from audit.training.base import SweepTrainer, Trainer
from audit.training.ensemble.trainer import Ensemble
from audit.training.lora import LoRA
from audit.training.models import CNN, MLP, Softmax
from audit.training.nonprivate import NonPrivate
from audit.training.opacus import Opacus
from audit.training.text_models import CharacterGRU, CharacterLSTM, CharacterNGram, CharacterTransformer
from canaries import Mislabelled
from canaries.errors import InputError
from canaries.records import ArrayRecords, Dataset, TextRecords
from canaries.secrets import Secrets
from tests.training.tiny_lm import save

FOLDER = tempfile.TemporaryDirectory()
TRAINER_TABLE = [
    Opacus(steps=3, sample_rate=0.5),
    Opacus(steps=3, sample_rate=0.5, grad_sample_mode="ghost"),
    NonPrivate(steps=3, sample_rate=0.5),
    Ensemble(steps=3, sample_rate=0.5),
]
MODEL_TABLE = [
    Softmax(),
    MLP((5,)),
    CNN((4,), groups=2),
    CharacterNGram(context=3, embedding=2, hidden=4),
    CharacterGRU(embedding=2, hidden=4, length=12),
    CharacterLSTM(embedding=2, hidden=4, length=12),
    CharacterTransformer(width=4, heads=2, length=12),
    LoRA(path=save(Path(FOLDER.name)), layers=1, length=12, rank=2),
]

RNG = np.random.default_rng(0)
IMAGES = Dataset(
    "images", *(ArrayRecords(RNG.normal(size=(16, 1, 4, 4)), RNG.integers(3, size=16), 3) for _ in range(3))
)
TEXTS = Dataset("texts", *(TextRecords(tuple(f"{part} {i}" for i in range(16))) for part in ("train", "pool", "test")))
DATA = {"array": IMAGES, "text": TEXTS}
MADE = {
    "array": Mislabelled().make(IMAGES, 4, np.random.default_rng(1)),
    "text": Secrets(digits=3, repetitions=(1, 3), template="{name}:{secret}").make(TEXTS, 4, np.random.default_rng(1)),
}
ROWS = np.array([[1, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1]], dtype=bool)

every_trainer = pytest.mark.parametrize("trainer", TRAINER_TABLE, ids=repr)
PAIRS = [(trainer, model) for trainer in TRAINER_TABLE for model in MODEL_TABLE]
REFUSED = [pair for pair in PAIRS if isinstance(pair[0], Opacus) and pair[1].name in ("gru", "lstm", "transformer")]
every_pair = pytest.mark.parametrize(
    ("trainer", "model"),
    [pair for pair in PAIRS if pair not in REFUSED],
    ids=lambda plugin: getattr(plugin, "grad_sample_mode", plugin.name),
)


def probabilities(trainer, rows=ROWS, seeds=(11, 12, 13)):
    """What the models answer: losses of the test part and of the canaries, float64[models, records]."""
    kind = trainer.model.kind
    view = trainer.train(DATA[kind], MADE[kind], rows, list(seeds))
    return np.concatenate([view.loss(DATA[kind].test), view.loss(MADE[kind].records)], axis=1)


def test_every_trainer_and_every_model_is_in_a_table():
    assert {type(trainer) for trainer in TRAINER_TABLE} == set(available(TRAINERS).values())
    assert {type(model) for model in MODEL_TABLE} == set(available(MODELS).values())


@every_trainer
def test_it_is_a_frozen_dataclass_that_its_identity_builds(trainer):
    assert is_dataclass(trainer)
    assert isinstance(trainer, SweepTrainer)
    assert isinstance(trainer, Trainer)
    assert type(trainer)() == type(trainer)()
    assert build(TRAINERS, identity(trainer)) == trainer
    with pytest.raises(FrozenInstanceError):
        trainer.steps = 4


@every_trainer
def test_what_it_tells_the_accountant(trainer):
    quiet = trainer.with_noise(0.0)
    assert type(quiet) is type(trainer)
    if trainer.mechanism is None:
        assert quiet.mechanism is None
        with pytest.raises(InputError, match="cannot claim a finite epsilon"):
            trainer.with_noise(1.0)
        return
    assert trainer.with_noise(2.5).mechanism == DPSGD(0.5, 3, 2.5)
    assert replace(trainer, steps=7, sample_rate=1.0).with_noise(2.5).mechanism == DPSGD(1.0, 7, 2.5)
    assert quiet.mechanism == DPSGD(0.5, 3, 0.0)
    assert trainer.with_noise(2.5).with_noise(0.0) == quiet


@every_pair
def test_a_view_of_every_model_with_full_access(trainer, model):
    trainer = replace(trainer, model=model)
    trainer.check(DATA[model.kind], MADE[model.kind])
    view = trainer.train(DATA[model.kind], MADE[model.kind], ROWS, [1, 2, 3])
    assert view.models == 3
    assert view.access is (Access.PROBABILITIES if model.kind == "array" else Access.TOKEN_LOG_PROBABILITIES)
    loss = view.loss(DATA[model.kind].test)
    assert loss.shape == (3, 16)
    assert np.isfinite(loss).all()


@every_trainer
def test_its_views_grant_what_it_says(trainer):
    view = trainer.train(IMAGES, MADE["array"], ROWS, [1, 2, 3])
    for access in WHITE_BOX:
        if access in trainer.white_box:
            assert view.grant(access).access is access
            continue
        with pytest.raises(AccessError, match=f"the attack asked for {access}"):
            view.grant(access)


@pytest.mark.parametrize("initial", Ensemble.WAYS)
@pytest.mark.parametrize("model", MODEL_TABLE, ids=lambda model: model.name)
def test_initial_parameters_are_granted_only_where_all_models_share_them(model, initial, tmp_path):
    kind, path = model.kind, tmp_path / "initial.pt"
    torch.save(model.build(DATA[kind].train, 5).state_dict(), path)
    settings = {"initial": initial, "initial_path": str(path) if initial == "given" else "", "pretrain_steps": 2}
    trainer = Ensemble(steps=2, sample_rate=0.5, model=model, record="gradients", checkpoint_every=1, **settings)
    view = trainer.train(DATA[kind], MADE[kind], ROWS, [1, 2, 3])
    levels = [view.grant(access) for access in sorted(WHITE_BOX)]
    for opened in (*levels, *view.checkpoints().values()):
        if initial == "fresh":
            with pytest.raises(AccessError, match="each model drew its own in secret"):
                opened.initial_parameters()
        else:
            start = opened.initial_parameters()
            np.testing.assert_array_equal(start, np.broadcast_to(start[:1], opened.parameters().shape))


@every_pair
def test_equal_seeds_train_equal_models_whatever_torch_has_drawn(trainer, model):
    trainer = replace(trainer, model=model)
    torch.manual_seed(0)
    first = probabilities(trainer)
    torch.manual_seed(1)
    np.testing.assert_array_equal(first, probabilities(trainer))
    assert not np.allclose(first, probabilities(trainer, seeds=(21, 22, 23)), atol=1e-6)


@every_pair
def test_a_model_alone_is_the_same_as_among_others(trainer, model):
    trainer = replace(trainer, model=model)
    together = probabilities(trainer)
    # Bit for bit where models train one by one; where they share batched products, up to float32 rounding.
    tolerance = 1e-5 if isinstance(trainer, Ensemble) else 0.0
    for i in range(3):
        alone = probabilities(trainer, ROWS[i : i + 1], (11 + i,))[0]
        np.testing.assert_allclose(alone, together[i], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("trainer", "model"), REFUSED, ids=lambda plugin: getattr(plugin, "grad_sample_mode", plugin.name)
)
def test_models_that_opacus_does_not_support_are_refused_before_training(trainer, model):
    with pytest.raises(InputError, match=f"Trainer 'opacus' cannot train model '{model.name}'.*; use 'ensemble'"):
        replace(trainer, model=model).check(TEXTS, MADE["text"])


@every_trainer
def test_what_is_inserted_is_learnt(trainer):
    # Steps enough to memorise, without noise: the canaries that were in are the ones that the model knows.
    able = replace(trainer, model=MLP((64,)), steps=150, sample_rate=1.0, learning_rate=0.5).with_noise(0.0)
    view = able.train(IMAGES, MADE["array"], ROWS, [1, 2, 3])
    loss = view.loss(MADE["array"].records)
    assert loss[ROWS].mean() < 0.5 * loss[~ROWS].mean()


@every_trainer
def test_rows_and_seeds_must_match(trainer):
    with pytest.raises(InputError, match="as many seeds as rows of coins, got 2 and 3"):
        trainer.train(IMAGES, MADE["array"], ROWS, [1, 2])


@every_trainer
@pytest.mark.parametrize(("model", "kind"), [(CharacterNGram(), "array"), (Softmax(), "text"), (CNN(), "text")])
def test_data_of_another_kind_is_refused_before_training(trainer, model, kind):
    with pytest.raises(InputError, match=f"Model '{model.name}' "):
        replace(trainer, model=model).check(DATA[kind], MADE[kind])
