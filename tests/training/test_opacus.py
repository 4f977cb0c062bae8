"""The Opacus trainer, held against DP-SGD written out by hand for softmax regression."""

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from scipy.stats import chi2, kstest

from audit.mechanism import DPSGD
from audit.training.models import CNN, MLP, Softmax
from audit.training.opacus import Opacus
from audit.training.text_models import CharacterNGram
from canaries import Mislabelled
from canaries.errors import InputError
from canaries.inclusion import training_set
from canaries.randomness import derive_seed
from canaries.records import ArrayRecords, Dataset, TextRecords
from canaries.secrets import Secrets

FALSE_ALARM = 1e-6
RECORDS, FEATURES, CLASSES = 24, 5, 3


def arrays(n, shape=(FEATURES,), seed=0):
    rng = np.random.default_rng(seed)
    return ArrayRecords(rng.normal(size=(n, *shape)), rng.integers(CLASSES, size=n), CLASSES)


DATA = Dataset("arrays", arrays(RECORDS), arrays(8, seed=1), arrays(10, seed=2))
CANARIES = Mislabelled().make(DATA, 4, np.random.default_rng(3))
NONE, SOME, ALL = (np.array(row, dtype=bool) for row in ([0, 0, 0, 0], [1, 0, 1, 0], [1, 1, 1, 1]))


@dataclass(frozen=True)
class OpenSoftmax(Softmax):
    """Softmax regression whose parameters the test may read."""

    def view(self, modules, example):
        view = super().view(modules, example)
        view.parameters = [
            np.concatenate(
                [module[1].weight.detach().double().numpy(), module[1].bias.detach()[:, None].numpy()], axis=1
            )
            for module in modules
        ]
        return view


@dataclass(frozen=True)
class OpenMLP(MLP):
    """An MLP whose parameters the test may read, in one flat array each."""

    def view(self, modules, example):
        view = super().view(modules, example)
        view.parameters = [torch.nn.utils.parameters_to_vector(m.parameters()).detach().numpy() for m in modules]
        return view


def trained(trainer, row=SOME, seed=7):
    return trainer.train(DATA, CANARIES, row[None], [seed]).parameters[0]


def by_hand(trainer, row=SOME, seed=7):
    """DP-SGD without noise in float64: clip each record's gradient, sum, divide by q * |train|, step."""
    records = training_set(DATA.train, CANARIES, row)
    x = np.column_stack([records.x.astype(float), np.ones(len(records))])
    module = trainer.model.build(DATA.train, derive_seed(seed, "parameters"))
    w = np.column_stack([module[1].weight.detach().numpy(), module[1].bias.detach().numpy()]).astype(float)
    coins = torch.Generator().manual_seed(derive_seed(seed, "batches"))
    first, second = np.zeros_like(w), np.zeros_like(w)
    for step in range(trainer.steps):
        batch = (torch.rand(len(records), generator=coins) < trainer.sample_rate).numpy()
        logits = x[batch] @ w.T
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        gradients = (p - np.eye(CLASSES)[records.y[batch]])[:, :, None] * x[batch][:, None, :]
        norms = np.linalg.norm(gradients, axis=(1, 2))
        factor = np.minimum(1, trainer.max_grad_norm / np.maximum(norms, 1e-12))
        gradient = (factor[:, None, None] * gradients).sum(axis=0) / (trainer.sample_rate * RECORDS)
        gradient += trainer.weight_decay * w
        share = step / trainer.steps
        decay = {"constant": 1, "linear": 1 - share, "cosine": 0.5 + 0.5 * np.cos(np.pi * share)}[trainer.schedule]
        if trainer.optimizer == "adam":
            first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
            corrected = np.sqrt(second / (1 - 0.999 ** (step + 1))) + 1e-8
            w = w - trainer.learning_rate * decay * first / (1 - 0.9 ** (step + 1)) / corrected
        else:
            first = trainer.momentum * first + gradient
            w = w - trainer.learning_rate * decay * first
    return w


QUIET = Opacus(
    model=OpenSoftmax(), steps=1, sample_rate=1.0, learning_rate=0.5, max_grad_norm=0.7, noise_multiplier=0.0
)


@pytest.mark.parametrize("row", [NONE, SOME, ALL], ids=["no canary", "some", "all"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"max_grad_norm": 1e-3},
        {"max_grad_norm": 1e3},
        {"sample_rate": 0.4},
        {"sample_rate": 0.4, "steps": 6},
        {"steps": 6, "momentum": 0.9},
        {"steps": 6, "schedule": "linear"},
        {"steps": 6, "schedule": "cosine", "sample_rate": 0.5},
        {"steps": 6, "weight_decay": 0.1},
        {"steps": 6, "optimizer": "adam", "learning_rate": 0.05},
        {"steps": 6, "optimizer": "adam", "learning_rate": 0.05, "sample_rate": 0.4, "schedule": "linear"},
    ],
    ids=str,
)
@pytest.mark.parametrize("mode", ["hooks", "ghost"])
def test_it_is_dp_sgd_divided_by_the_expected_batch_size(changes, row, mode):
    trainer = replace(QUIET, grad_sample_mode=mode, **changes)
    np.testing.assert_allclose(trained(trainer, row), by_hand(trainer, row), rtol=2e-4, atol=2e-6)


def test_one_more_record_moves_one_step_by_at_most_the_clipping_norm():
    # The divisor does not know that there is one record more.
    trainer = replace(QUIET, max_grad_norm=0.1)
    moved = np.linalg.norm(trained(trainer, np.array([True, False, False, False])) - trained(trainer, NONE))
    most = trainer.learning_rate * trainer.max_grad_norm / RECORDS
    assert moved <= most * (1 + 1e-3)
    assert moved == pytest.approx(most, rel=1e-3)  # its gradient is longer than the norm, so all of it is used


def noise(trainer, seed):
    """What the noise added to the parameters in one step, in units of sigma * C / expected * learning rate."""
    loud, quiet = trained(trainer, seed=seed), trained(replace(trainer, noise_multiplier=0.0), seed=seed)
    unit = trainer.learning_rate * trainer.noise_multiplier * trainer.max_grad_norm / (trainer.sample_rate * RECORDS)
    return (loud.astype(float) - quiet) / unit


@pytest.mark.parametrize("mode", ["hooks", "ghost"])
@pytest.mark.parametrize(("rate", "norm", "sigma"), [(1.0, 1.0, 3.0), (0.25, 0.1, 20.0)])
def test_the_noise_is_gaussian_of_sigma_times_norm_over_the_expected_batch_size(mode, rate, norm, sigma):
    trainer = replace(
        QUIET,
        model=OpenMLP((64,)),
        sample_rate=rate,
        max_grad_norm=norm,
        noise_multiplier=sigma,
        grad_sample_mode=mode,
        learning_rate=20.0,  # so that float32 rounding of the parameters is far below the noise
    )
    z = np.concatenate([noise(trainer, seed) for seed in range(8)])
    assert len(z) > 4000
    # A sound trainer fails with probability FALSE_ALARM, and less, at each line; seeds are fixed.
    assert chi2.ppf(FALSE_ALARM / 2, len(z)) < (z**2).sum() < chi2.isf(FALSE_ALARM / 2, len(z))
    assert kstest(z, "norm").pvalue > FALSE_ALARM


def test_noise_differs_between_models_and_steps():
    trainer = replace(QUIET, noise_multiplier=2.0, learning_rate=20.0)
    draws = np.stack([noise(trainer, seed).ravel() for seed in range(60)])
    correlation = np.corrcoef(draws)[np.triu_indices(60, 1)]
    assert np.abs(correlation).max() < 0.99
    two = noise(replace(trainer, steps=2, schedule="linear", max_grad_norm=1e-6), 0)  # steps of 1 and 1/2
    assert not np.allclose(two, 1.5 * noise(replace(trainer, max_grad_norm=1e-6), 0), atol=0.1)


def test_no_noise_keeps_the_clipping():
    trainer = replace(QUIET, max_grad_norm=1e-4).with_noise(0.0)
    start = by_hand(replace(trainer, max_grad_norm=1e-30))
    moved = np.linalg.norm(trained(trainer) - start)
    assert 0 < moved <= trainer.learning_rate * 1e-4 * (RECORDS + SOME.sum()) / RECORDS


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("model", [OpenSoftmax(), OpenMLP((6, 4))], ids=repr)
def test_ghost_clipping_is_the_same_as_hooks(optimizer, model):
    trainer = replace(QUIET, model=model, steps=8, sample_rate=0.5, noise_multiplier=1.0, optimizer=optimizer)
    hooks, ghost = trained(trainer), trained(replace(trainer, grad_sample_mode="ghost"))
    np.testing.assert_allclose(hooks, ghost, atol=1e-5)


RARE = replace(QUIET, sample_rate=0.01, steps=12)


@pytest.mark.parametrize("mode", ["hooks", "ghost"])
def test_empty_batches_are_steps_too(mode):
    trainer = replace(RARE, grad_sample_mode=mode)
    coins = torch.Generator().manual_seed(derive_seed(7, "batches"))
    sizes = [int((torch.rand(RECORDS + 2, generator=coins) < 0.01).sum()) for _ in range(12)]
    assert 0 < sizes.count(0) < 12
    np.testing.assert_allclose(trained(trainer), by_hand(trainer), rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("mode", ["hooks", "ghost"])
def test_empty_batches_are_noisy_too(mode):
    # The noise is far above any gradient, so after 12 steps its variance is 12 times that of one.
    trainer = replace(RARE, grad_sample_mode=mode, noise_multiplier=100.0)
    z = np.concatenate([noise(trainer, seed).ravel() for seed in range(12)])
    assert chi2.ppf(FALSE_ALARM / 2, len(z)) < (z**2).sum() / 12 < chi2.isf(FALSE_ALARM / 2, len(z))


NOISY = replace(QUIET, steps=4, sample_rate=0.5, noise_multiplier=1.0)


def test_equal_seeds_train_equal_models_and_others_do_not():
    np.testing.assert_array_equal(trained(NOISY, seed=1), trained(NOISY, seed=1))
    assert not np.allclose(trained(NOISY, seed=1), trained(NOISY, seed=2))


def test_the_state_of_torch_s_generator_neither_matters_nor_changes():
    torch.manual_seed(0)
    first = trained(NOISY)
    torch.manual_seed(1)
    np.testing.assert_array_equal(first, trained(NOISY))


# Threads share the list of warning filters, so one may see the other's list: noise, which no result depends on.
@pytest.mark.filterwarnings("ignore:Full backward hook is firing", "ignore:Secure RNG turned off")
def test_threads_train_the_same_models():
    trainer = replace(NOISY, model=OpenMLP((16,) * 12), steps=1)  # many layers, so that drawing them takes long
    alone = [trained(trainer, seed=seed) for seed in range(4)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # so that threads meet everywhere
    try:
        with ThreadPoolExecutor(4) as pool:
            for i, found in enumerate(pool.map(lambda i: trained(trainer, seed=i % 4), range(160))):
                np.testing.assert_array_equal(found, alone[i % 4])
    finally:
        sys.setswitchinterval(before)


@pytest.mark.parametrize("mode", ["hooks", "ghost"])
def test_a_model_alone_is_the_same_as_among_others(mode):
    trainer = replace(NOISY, grad_sample_mode=mode)
    together = trainer.train(DATA, CANARIES, np.stack([ALL, SOME, NONE]), [5, 7, 9]).parameters
    np.testing.assert_array_equal(together[1], trained(trainer, SOME, 7))
    np.testing.assert_array_equal(together[2], trained(trainer, NONE, 9))


def test_the_mechanism_is_what_the_accountant_must_know():
    assert NOISY.mechanism == DPSGD(0.5, 4, 1.0)
    assert NOISY.with_noise(3.5).mechanism == DPSGD(0.5, 4, 3.5)
    assert replace(NOISY.with_noise(3.5), noise_multiplier=1.0) == NOISY


def test_rows_and_seeds_must_match():
    with pytest.raises(InputError, match="as many seeds as rows of coins, got 1 and 2"):
        NOISY.train(DATA, CANARIES, np.stack([ALL, SOME]), [1])


TEXTS = Dataset(
    "texts",
    *(TextRecords(tuple(f"line {i} of the {part} part" for i in range(12))) for part in ("train", "pool", "test")),
)
SECRETS = Secrets(template="{name}: {secret}", digits=3, repetitions=(1, 4)).make(TEXTS, 4, np.random.default_rng(0))


@pytest.mark.parametrize("mode", ["hooks", "ghost"])
def test_a_character_model_learns(mode):
    trainer = Opacus(
        model=CharacterNGram(context=4, embedding=4, hidden=16),
        steps=12,
        sample_rate=0.5,
        learning_rate=0.05,
        optimizer="adam",
        noise_multiplier=0.1,
        grad_sample_mode=mode,
    )
    after = trainer.train(TEXTS, SECRETS, ALL[None], [1]).loss(TEXTS.test)
    before = replace(trainer, steps=1, learning_rate=1e-9).train(TEXTS, SECRETS, ALL[None], [1]).loss(TEXTS.test)
    assert (after < 0.8 * before).all()


@pytest.mark.parametrize("mode", ["hooks", "ghost"])
def test_a_cnn_learns_images_of_8_by_8(mode):
    # Class k has its bright spot in corner k.
    rng = np.random.default_rng(0)
    y = rng.integers(CLASSES, size=60)
    x = rng.normal(0, 0.1, (60, 1, 8, 8))
    for image, label in zip(x, y, strict=True):
        image[0, 4 * (label // 2) : 4 * (label // 2) + 4, 4 * (label % 2) : 4 * (label % 2) + 4] += 1
    parts = [ArrayRecords(x[i : i + 20], y[i : i + 20], CLASSES) for i in (0, 20, 40)]
    images = Dataset("images", *parts)
    trainer = Opacus(
        model=CNN((4, 8), groups=2),
        steps=40,
        sample_rate=1.0,
        learning_rate=1.0,
        noise_multiplier=0.05,
        grad_sample_mode=mode,
    )
    canaries = Mislabelled().make(images, 4, np.random.default_rng(0))
    trainer.check(images, canaries)
    labels = trainer.train(images, canaries, NONE[None], [0]).labels(images.test.x)
    assert (labels[0] == images.test.y).mean() > 0.9


@pytest.mark.parametrize(
    ("model", "data", "canaries", "sentence"),
    [
        (CNN(), DATA, CANARIES, r"Model 'cnn' needs images of shape \[n, channels, height, width\], got \(24, 5\)"),
        (CharacterNGram(), DATA, CANARIES, "Model 'ngram' learns from text records, got arrays"),
        (MLP(), TEXTS, SECRETS, "Model 'mlp' learns from array records, got text"),
        (
            CharacterNGram(length=8),
            TEXTS,
            SECRETS,
            r"Model 'ngram' reads 8 characters a record, got \d+ in record 10\.",
        ),
        (
            CharacterNGram(alphabet="line 0"),
            TEXTS,
            SECRETS,
            "Character 'o' at place 7 of text 0 is outside the model's alphabet 'line 0'",
        ),
    ],
    ids=["cnn of rows", "text model of arrays", "array model of texts", "too long", "strange character"],
)
def test_data_that_does_not_fit_is_refused_before_training(model, data, canaries, sentence):
    with pytest.raises(InputError, match=sentence):
        Opacus(model=model).check(data, canaries)


def test_images_too_small_for_the_poolings_are_refused():
    small = Dataset("small", *(arrays(8, (1, 2, 8), seed) for seed in range(3)))
    canaries = Mislabelled().make(small, 2, np.random.default_rng(0))
    with pytest.raises(InputError, match="Images of 2x8 are too small for 2 poolings"):
        Opacus(model=CNN()).check(small, canaries)
