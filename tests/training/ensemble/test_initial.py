"""Initial parameters: shared, pretrained or given, from the configuration; canaries labelled by them."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from audit import registry
from audit.config import parse
from audit.plan import plan
from audit.training.ensemble import Ensemble
from audit.training.models import MLP
from canaries import Blank
from canaries.errors import InputError
from canaries.randomness import derive_seed
from canaries.records import ArrayRecords, Dataset

RNG = np.random.default_rng(0)


def records(n: int) -> ArrayRecords:
    y = RNG.integers(3, size=n)
    return ArrayRecords(RNG.normal(size=(n, 5)) + y[:, None], y, 3)


DATA = Dataset("blobs", records(40), records(60), records(30))
CANARIES = Blank(label=1).make(DATA, 2, np.random.default_rng(0))
TRAINER = Ensemble(model=MLP((4,)), steps=1, learning_rate=1e-12)
ROWS = np.zeros((2, 2), dtype=bool)


@pytest.fixture
def given(tmp_path):
    """A file of parameters, and the module that they come from."""
    module = TRAINER.model.build(DATA.train, 77)
    torch.save(module.state_dict(), tmp_path / "initial.pt")
    return str(tmp_path / "initial.pt"), module


def test_given_parameters_are_where_training_starts(given):
    path, module = given
    trainer = replace(TRAINER, initial="given", initial_path=path)
    trainer.check(DATA, CANARIES)
    wanted = TRAINER.model.view([module], DATA.train).probabilities(DATA.test.x)[0]
    for view in (trainer.train(DATA, CANARIES, ROWS, [1, 2]), trainer.initial_view(DATA)):
        for probabilities in view.probabilities(DATA.test.x):
            np.testing.assert_allclose(probabilities, wanted, rtol=1e-5)


@dataclass(frozen=True)
class HalfFrozen(MLP):
    """The first layer is frozen, and a buffer shifts the inputs."""

    def module(self, example):
        class Module(torch.nn.Module):
            def __init__(self, layers):
                super().__init__()
                self.layers = layers
                self.register_buffer("shift", torch.randn(()))

            def forward(self, x):
                return self.layers(x + self.shift)

        module = Module(super().module(example))
        module.layers[1].requires_grad_(False)
        return module


@pytest.mark.parametrize("initial", ["given", "shared", "pretrained"])
def test_frozen_parameters_and_buffers_start_there_too(initial, tmp_path):
    """Training moves nothing, at this learning rate: views answer as the module that all start from."""
    model = HalfFrozen((4,))
    changes = {"model": model, "initial": initial, "initial_seed": 5}
    module = model.build(DATA.train, derive_seed(5, "parameters"))
    if initial == "pretrained":
        changes |= {"pretrain_steps": 1, "pretrain_learning_rate": 1e-12}
    if initial == "given":
        module = model.build(DATA.train, 77)
        torch.save(module.state_dict(), tmp_path / "initial.pt")
        changes |= {"initial_path": str(tmp_path / "initial.pt")}
    trainer = replace(TRAINER, record="weights", **changes)
    trainer.check(DATA, CANARIES)
    wanted = model.view([module.eval()], DATA.train)
    for view in (trainer.train(DATA, CANARIES, ROWS, [1, 2]), trainer.initial_view(DATA)):
        for probabilities in view.probabilities(DATA.test.x):
            np.testing.assert_allclose(probabilities, wanted.probabilities(DATA.test.x)[0], rtol=1e-5)


def test_training_runs_on_the_given_frozen_parameters_and_buffers(tmp_path):
    """One step without noise, clipping or sampling is one step of plain SGD from the file's module."""
    model = HalfFrozen((4,))
    module = model.build(DATA.train, 77)
    torch.save(module.state_dict(), tmp_path / "frozen.pt")
    trainer = replace(TRAINER, model=model, initial="given", initial_path=str(tmp_path / "frozen.pt"))
    trainer = replace(trainer, learning_rate=0.5, sample_rate=1.0, noise_multiplier=0.0, max_grad_norm=1e6)
    view = trainer.train(DATA, CANARIES, ROWS[:1], [1])
    x, y = model.tensors(DATA.train)
    model.criterion()(module(x), y).backward()
    with torch.no_grad():
        for p in module.parameters():
            if p.grad is not None:
                p.sub_(p.grad, alpha=0.5)
    wanted = model.view([module.eval()], DATA.train).probabilities(DATA.test.x)[0]
    np.testing.assert_allclose(view.probabilities(DATA.test.x)[0], wanted, rtol=1e-4)


def table(path: str) -> dict:
    return {
        "name": "given",
        "epsilons": [4.0],
        "delta": 1e-5,
        "audits": [
            {
                "name": "a",
                "models": 2,
                "attacks": ["loss"],
                "estimators": ["one-run"],
                "data": {"name": "digits", "train": 30, "pool": 10, "test": 5},
                "canaries": {"design": {"name": "hot-pixel", "label": "least-likely"}, "count": 4, "references": 2},
                "trainer": {
                    "name": "ensemble",
                    "model": "softmax",
                    "initial": "given",
                    "initial_path": path,
                    "steps": 2,
                    "sample_rate": 1.0,
                },
            }
        ],
    }


def test_given_parameters_come_from_the_configuration_and_are_part_of_the_key(tmp_path):
    path = tmp_path / "initial.pt"
    torch.manual_seed(0)
    linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    torch.save(linear.state_dict(), path)
    (first,) = plan(parse(table(str(path))))
    p = linear(torch.from_numpy(first.sets[0].records.x)).softmax(1)
    np.testing.assert_array_equal(first.sets[0].records.y, p.argmin(1).numpy())
    (again,) = plan(parse(table(str(path))))
    assert again.cells[0].units == first.cells[0].units
    torch.save({name: value + 1e-4 for name, value in linear.state_dict().items()}, path)
    (other,) = plan(parse(table(str(path))))
    assert not set(first.cells[0].units) & set(other.cells[0].units)


def test_the_label_of_pretrained_parameters_is_that_of_the_model_that_all_start_from():
    trainer = replace(TRAINER, initial="pretrained", pretrain_steps=200, pretrain_learning_rate=0.02)
    view = trainer.initial_view(DATA)
    made = Blank(label="least-likely").make(
        DATA, 1, np.random.default_rng(0), initial=lambda records: view.probabilities(records.x)[0]
    )
    start = trainer.train(DATA, made, np.zeros((1, 1), dtype=bool), [5]).probabilities(made.records.x)
    assert made.records.y[0] == start[0, 0].argmin()
    assert TRAINER.initial_view(DATA) is None


def test_pretraining_by_sgd_learns_too():
    trainer = replace(TRAINER, initial="pretrained", pretrain_optimizer="sgd", pretrain_learning_rate=0.3)
    accuracy = [
        (t.initial_view(DATA).labels(DATA.test.x)[0] == DATA.test.y).mean()
        for t in (trainer, replace(trainer, initial="shared"))
    ]
    assert accuracy[0] > accuracy[1] + 0.2


def test_bad_settings(tmp_path):
    for changes, message in (
        ({"initial": "given"}, "initial_path with initial = 'given', and only with it"),
        ({"initial_path": "x.pt"}, "initial_path with initial = 'given', and only with it"),
        ({"initial": "random"}, "'fresh', 'shared', 'pretrained' or 'given', got 'random'"),
        ({"pretrain_steps": 0}, "pretrain_steps >= 1, got 0"),
        ({"pretrain_batch": 0}, "pretrain_batch >= 1, got 0"),
        ({"pretrain_learning_rate": 0.0}, "pretrain_learning_rate > 0, got 0.0"),
        ({"pretrain_optimizer": "lion"}, "'adam' or 'sgd', got 'lion'"),
    ):
        with pytest.raises(InputError, match=message):
            replace(TRAINER, **changes)
    missing = replace(TRAINER, initial="given", initial_path=str(tmp_path / "none.pt"))
    with pytest.raises(InputError, match="Cannot read the initial parameters"):
        missing.outside()
    (tmp_path / "text.pt").write_text("no tensors")
    torch.save(MLP((9,)).build(DATA.train, 0).state_dict(), tmp_path / "wide.pt")
    for name in ("none.pt", "text.pt", "wide.pt"):
        with pytest.raises(InputError, match="are no state dict of this model: "):
            replace(missing, initial_path=str(tmp_path / name)).check(DATA, CANARIES)


def test_the_fields_build_the_trainer_again():
    trainer = replace(TRAINER, initial="pretrained", pretrain_optimizer="sgd", pretrain_batch=16)
    assert registry.build(registry.TRAINERS, registry.identity(trainer)) == trainer
