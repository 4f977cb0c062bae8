"""Training without privacy: neither clipped nor noisy, and it says so."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from audit.training.models import Softmax
from audit.training.nonprivate import NonPrivate
from canaries import Mislabelled
from canaries.errors import InputError
from canaries.inclusion import training_set
from canaries.randomness import derive_seed
from canaries.records import ArrayRecords, Dataset, TextRecords

RNG = np.random.default_rng(0)
PARTS = [ArrayRecords(RNG.normal(size=(20, 4)), RNG.integers(3, size=20), 3) for _ in range(3)]
DATA = Dataset("arrays", *PARTS)
CANARIES = Mislabelled().make(DATA, 4, np.random.default_rng(1))
ROW = np.array([True, False, True, True])
PLAIN = NonPrivate(model=Softmax(), steps=5, sample_rate=1.0, learning_rate=0.5, momentum=0.5)


def probabilities(trainer, seeds=(3,), rows=ROW[None]):
    return trainer.train(DATA, CANARIES, rows, list(seeds)).probabilities(DATA.test.x)


def test_it_is_gradient_descent_on_the_summed_loss_over_the_expected_batch_size():
    records = training_set(DATA.train, CANARIES, ROW)
    module = Softmax().build(DATA.train, derive_seed(3, "parameters"))
    x, y = torch.from_numpy(records.x), torch.from_numpy(records.y)
    velocity = [torch.zeros_like(p) for p in module.parameters()]
    for _ in range(5):
        loss = torch.nn.functional.cross_entropy(module(x), y, reduction="sum") / len(DATA.train)
        gradients = torch.autograd.grad(loss, list(module.parameters()))
        velocity = [0.5 * v + g for v, g in zip(velocity, gradients, strict=True)]
        with torch.no_grad():
            for p, v in zip(module.parameters(), velocity, strict=True):
                p.sub_(0.5 * v)
    with torch.no_grad():
        expected = torch.softmax(module(torch.from_numpy(DATA.test.x)), dim=1).numpy()
    np.testing.assert_allclose(probabilities(PLAIN)[0], expected, atol=1e-6)


def test_it_memorises_what_it_saw():
    trainer = replace(PLAIN, steps=200, learning_rate=2.0)
    view = trainer.train(DATA, CANARIES, np.stack([ROW, ~ROW]), [1, 2])
    loss = view.loss(CANARIES.records)
    assert loss[0, ROW].mean() < loss[1, ROW].mean()
    assert loss[1, ~ROW].mean() < loss[0, ~ROW].mean()


def test_seeds_and_neighbours():
    poisson = replace(PLAIN, sample_rate=0.3)
    together = probabilities(poisson, (1, 2), np.stack([~ROW, ROW]))
    np.testing.assert_array_equal(together[1], probabilities(poisson, (2,))[0])
    assert not np.allclose(probabilities(poisson, (1,)), probabilities(poisson, (2,)))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_empty_batches_do_no_harm(optimizer):
    assert np.isfinite(probabilities(replace(PLAIN, sample_rate=0.001, optimizer=optimizer))).all()


def test_it_claims_nothing():
    assert PLAIN.mechanism is None
    assert PLAIN.with_noise(0.0) == PLAIN
    with pytest.raises(
        InputError, match="'non-private' adds no noise, so it cannot claim a finite epsilon; use 'opacus'"
    ):
        PLAIN.with_noise(1.0)


def test_data_that_does_not_fit_is_refused():
    texts = TextRecords(tuple(f"line {i}" for i in range(20)))
    with pytest.raises(InputError, match="Model 'softmax' learns from array records, got text"):
        PLAIN.check(Dataset("texts", texts, texts, texts), CANARIES)
