"""The training loop: equal to Opacus without noise, the right noise, and independent of company and portions."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from opacus import PrivacyEngine
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from audit.training.ensemble.augment import Augmentation
from audit.training.ensemble.engine import Task, Trained, Watch, fit
from audit.training.ensemble.flat import Flat
from audit.training.ensemble.optimisers import SGD, Adam
from audit.training.ensemble.recipe import Recipe
from audit.training.ensemble.sampling import Poisson, Shuffled
from audit.training.ensemble.stacked import Stacked
from audit.training.language import NGram, RecordLoss
from audit.training.speed import Speed
from canaries.errors import InputError
from canaries.randomness import generator

RECORDS = 60


def images() -> tuple[nn.Module, Tensor, Tensor, nn.Module]:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.GroupNorm(2, 4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 8, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8, 3),
    )
    return module, torch.randn(RECORDS, 1, 8, 8), torch.randint(3, (RECORDS,)), nn.CrossEntropyLoss()


def vectors() -> tuple[nn.Module, Tensor, Tensor, nn.Module]:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 3))
    return module, torch.randn(RECORDS, 10), torch.randint(3, (RECORDS,)), nn.CrossEntropyLoss()


def texts() -> tuple[nn.Module, Tensor, Tensor, nn.Module]:
    torch.manual_seed(0)
    tokens = torch.randint(1, 9, (RECORDS, 12))
    return NGram(9, context=4, embedding=3, hidden=16), tokens, tokens, RecordLoss(12)


def opacus(problem: tuple[nn.Module, Tensor, Tensor, nn.Module], recipe: Recipe, seed: int) -> Tensor:
    """Parameters after training one model on the ensemble's own batches."""
    module, x, y, criterion = problem
    flat = Flat(Stacked(module).shapes)
    kinds = {
        "sgd": lambda p: torch.optim.SGD(p, 1.0, momentum=recipe.momentum, weight_decay=recipe.weight_decay),
        "adam": lambda p: torch.optim.Adam(p, 1.0, weight_decay=recipe.weight_decay),
    }
    private, optimizer, _ = PrivacyEngine().make_private(
        module=module,
        optimizer=kinds[recipe.optimizer](module.parameters()),
        data_loader=DataLoader(TensorDataset(x, y), batch_size=RECORDS),
        noise_multiplier=0.0,
        max_grad_norm=recipe.max_grad_norm,
        poisson_sampling=False,
    )
    optimizer.expected_batch_size = recipe.sample_rate * RECORDS
    optimizer.attach_step_hook(lambda _: None)
    sampler = Poisson(RECORDS, generator(seed, "batches"))
    for step in range(recipe.steps):
        batch = torch.from_numpy(sampler.draw(recipe.sample_rate))
        optimizer.param_groups[0]["lr"] = recipe.learning_rate_at(step)
        optimizer.zero_grad()
        criterion(private(x[batch]), y[batch]).backward()
        optimizer.step()
    return flat.row(module)


def ensemble(
    problem: tuple[nn.Module, Tensor, Tensor, nn.Module],
    recipe: Recipe,
    seeds: list[int],
    speed: Speed | None = None,
    watch: Watch | None = None,
    members: list[np.ndarray] | None = None,
) -> Trained:
    module, x, y, criterion = problem
    criterion.reduction = "none"
    stacked = Stacked(module)
    task = Task(x, y, members or [np.arange(len(x))] * len(seeds), len(x), criterion)
    initial = Flat(stacked.shapes).row(module).expand(len(seeds), -1)
    return fit(stacked, recipe, task, seeds, initial, speed, watch)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("problem", [vectors, images, texts])
@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(learning_rate=0.5, max_grad_norm=0.5),
        Recipe(learning_rate=0.5, momentum=0.9, weight_decay=0.01, schedule="cosine", warmup=5),
        Recipe(learning_rate=0.01, optimizer="adam", weight_decay=0.01, schedule="linear"),
    ],
    ids=["sgd", "momentum", "adam"],
)
def test_twenty_steps_equal_opacus(problem, recipe: Recipe) -> None:  # type: ignore[no-untyped-def]
    recipe = replace(recipe, steps=20, noise_multiplier=0.0, sample_rate=0.4)
    found = ensemble(problem(), recipe, [3, 4]).parameters
    for row, seed in zip(found, (3, 4), strict=True):
        torch.testing.assert_close(row, opacus(problem(), recipe, seed), rtol=1e-4, atol=1e-5)


BUSY = Recipe(steps=6, sample_rate=0.3, rates=((3, 0.6),), noise_multiplier=0.7, momentum=0.5, learning_rate=0.5)


@pytest.mark.parametrize("problem", [vectors, images, texts])
@pytest.mark.parametrize(
    "speed",
    [
        Speed(rows=1),
        Speed(rows=16, models=3),
        Speed(rows=64, models=64),
        Speed(rows=4096, models=5),
        Speed(memory_mb=1),
    ],
    ids=str,
)
def test_alone_among_sixty_four_and_in_any_portions(problem, speed: Speed) -> None:  # type: ignore[no-untyped-def]
    alone = ensemble(problem(), BUSY, [7], Speed(rows=4096)).parameters
    seeds = [100, 7, 101] if speed.rows == 1 else [*range(100, 162), 7, 99]
    together = ensemble(problem(), BUSY, seeds, speed).parameters
    torch.testing.assert_close(together[seeds.index(7)], alone[0], rtol=2e-4, atol=2e-5)
    assert not torch.allclose(together[0], together[1], atol=1e-3)


@pytest.mark.parametrize("sampling", ["poisson", "shuffled"])
def test_members_of_different_numbers(sampling) -> None:  # type: ignore[no-untyped-def]
    members = [np.arange(20), np.arange(RECORDS), np.r_[np.arange(40), 5, 5, 5]]
    recipe = replace(BUSY, sampling=sampling)
    together = ensemble(vectors(), recipe, [1, 2, 3], members=members).parameters
    for k in range(3):
        alone = ensemble(vectors(), recipe, [k + 1], members=members[k : k + 1]).parameters
        torch.testing.assert_close(together[k], alone[0], rtol=1e-4, atol=1e-6)


def test_noise_has_standard_deviation_sigma_c() -> None:
    """Sums of squares of 40 x 115 x 20 normal draws; the test fails a right program once in 10^6 runs."""
    recipe = Recipe(steps=1, sample_rate=0.5, noise_multiplier=3.0, max_grad_norm=0.2, learning_rate=1.0)
    seeds = list(range(400))
    noisy = ensemble(vectors(), recipe, seeds).parameters
    clean = ensemble(vectors(), replace(recipe, noise_multiplier=0.0), seeds).parameters
    noise = (noisy - clean).double() * (0.5 * RECORDS)
    count = noise.numel()
    ratio = float(noise.square().mean()) / (3.0 * 0.2) ** 2
    assert abs(ratio - 1) < 4.9 * math.sqrt(2 / count)
    assert abs(float(noise.mean())) < 4.9 * 3.0 * 0.2 / math.sqrt(count)
    between = torch.corrcoef(noise[:40])
    assert float((between - torch.eye(40)).abs().max()) < 6 / math.sqrt(noise.shape[1])


def test_float64() -> None:
    recipe = replace(BUSY, dtype="float64")
    assert ensemble(vectors(), recipe, [1]).parameters.dtype == torch.float64


def test_gradient_record() -> None:
    recipe = Recipe(steps=3, sample_rate=1.0, noise_multiplier=0.5, max_grad_norm=0.3, learning_rate=0.7)
    watched = np.array([0, 5, 59])
    found = ensemble(vectors(), recipe, [1, 2], Speed(rows=2), Watch(every=1, records=watched))
    assert found.products.shape == found.norms.shape == (2, 3, 3)
    module, x, y, criterion = vectors()
    flat = Flat(Stacked(module).shapes)
    before = torch.stack([flat.row(module)] * 2)
    for step in range(3):
        update = (before - found.checkpoints[step + 1]) / 0.7
        for k in range(2):
            flat.load(module, before[k])
            for c, record in enumerate(watched):
                module.zero_grad()
                criterion(module(x[[record]]), y[[record]]).backward()
                g = torch.cat([p.grad.flatten() for p in module.parameters()])
                assert found.norms[k, step, c] == pytest.approx(float(g.norm()), rel=1e-4)
                clipped = g * min(1.0, 0.3 / float(g.norm()))
                assert found.products[k, step, c] == pytest.approx(float(update[k] @ clipped), rel=1e-3, abs=1e-5)
        before = found.checkpoints[step + 1]
    assert torch.equal(before, found.parameters)


def test_gradients_are_averaged_over_augmentations_before_clipping() -> None:
    """Augmentations that change nothing change no result."""
    plain = replace(BUSY, noise_multiplier=0.0)
    once = ensemble(images(), plain, [1]).parameters
    four = ensemble(images(), replace(plain, augmentations=4), [1]).parameters
    torch.testing.assert_close(once, four, rtol=1e-4, atol=1e-5)
    shifted = replace(plain, augmentations=4, shift=2, flip=True)
    moved = ensemble(images(), shifted, [1, 2], Speed(rows=8)).parameters
    assert not torch.allclose(moved[0], once[0], atol=1e-3)
    torch.testing.assert_close(moved[:1], ensemble(images(), shifted, [1]).parameters, rtol=1e-4, atol=1e-5)


def test_augmentation_moves_images() -> None:
    x = torch.arange(12.0).view(1, 1, 3, 4)
    moves = torch.tensor([[[0, 0, 0], [1, -1, 0], [0, 0, 1]]])
    same, moved, mirrored = Augmentation(3, 1, True).apply(x, moves)
    assert torch.equal(same, x[0])
    assert moved[0].tolist() == [[0, 0, 0, 0], [1, 2, 3, 0], [5, 6, 7, 0]]
    assert torch.equal(mirrored, x[0].flip(-1))


def test_poisson_rates() -> None:
    """Each record's count is binomial; the largest of 50 deviations stays under 5 sigma but once in 30,000 runs."""
    sampler = Poisson(50, np.random.default_rng(0))
    draws = [sampler.draw(0.2) for _ in range(4000)]
    counts = np.bincount(np.concatenate(draws), minlength=50)
    assert counts.shape == (50,)
    assert np.abs(counts - 800).max() < 5 * math.sqrt(4000 * 0.2 * 0.8)
    lengths = np.array([len(d) for d in draws])
    assert abs(lengths.var() - 8) < 5 * 8 * math.sqrt(2 / 4000)
    assert np.array_equal(sampler.draw(1.0), np.arange(50))


def test_empty_batches_are_noise_alone() -> None:
    recipe = Recipe(steps=3, sample_rate=1e-6, noise_multiplier=0.0)
    module = vectors()[0]
    found = ensemble(vectors(), recipe, [1]).parameters[0]
    assert torch.equal(found, Flat(Stacked(module).shapes).row(module))


def test_shuffled_batches_cover_each_epoch() -> None:
    sampler = Shuffled(10, np.random.default_rng(0))
    batches = [sampler.draw(0.4) for _ in range(6)]
    assert [len(b) for b in batches] == [4, 4, 2] * 2
    for epoch in (batches[:3], batches[3:]):
        assert sorted(np.concatenate(epoch)) == list(range(10))


@pytest.mark.parametrize("rate", [0.04, 0.1, 0.35, 0.46, 0.99, 1.0])
def test_shuffled_epochs_are_no_more_than_claimed(rate: float) -> None:
    """What the accountant is told, ceil(steps * rate) uses of a record, is never exceeded."""
    for records in (50, 53):
        sampler = Shuffled(records, np.random.default_rng(0))
        uses = np.bincount(np.concatenate([sampler.draw(rate) for _ in range(200)]))
        assert uses.max() <= math.ceil(200 * rate - 1e-9)


def test_shuffled_batches_need_a_record() -> None:
    with pytest.raises(InputError, match="at least one in 10 records"):
        Shuffled(10, np.random.default_rng(0)).draw(0.05)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_optimisers_are_torchs(decay: float) -> None:
    start = torch.randn(2, 5)
    pairs = [
        (SGD(decay, 0.0), lambda p: torch.optim.SGD([p], 0.1, weight_decay=decay)),
        (SGD(decay, 0.9), lambda p: torch.optim.SGD([p], 0.1, momentum=0.9, weight_decay=decay)),
        (Adam(decay), lambda p: torch.optim.Adam([p], 0.1, weight_decay=decay)),
    ]
    for mine, make in pairs:
        found, wanted = start.clone(), start.clone().requires_grad_()
        theirs = make(wanted)
        for _ in range(5):
            gradient = torch.randn(2, 5)
            mine.step(found, gradient.clone(), 0.1)
            wanted.grad = gradient
            theirs.step()
        torch.testing.assert_close(found, wanted.detach())


def test_schedules() -> None:
    recipe = Recipe(steps=10, learning_rate=2.0, warmup=4)
    assert [recipe.learning_rate_at(s) for s in (0, 1, 3, 4, 9)] == [0.5, 1.0, 2.0, 2.0, 2.0]
    assert replace(recipe, schedule="linear").learning_rate_at(7) == pytest.approx(1.0)
    assert replace(recipe, schedule="cosine").learning_rate_at(7) == pytest.approx(1.0)
    phased = Recipe(steps=10, sample_rate=0.1, rates=((2, 0.2), (7, 0.4)))
    assert list(phased.phases()) == [(2, 0.1), (5, 0.2), (3, 0.4)]
    assert [phased.rate_at(s) for s in (0, 1, 2, 6, 7, 9)] == [0.1, 0.1, 0.2, 0.2, 0.4, 0.4]


@pytest.mark.parametrize(
    "bad",
    [
        {"steps": 0},
        {"sample_rate": 0.0},
        {"learning_rate": -1.0},
        {"momentum": 1.0},
        {"max_grad_norm": 0.0},
        {"noise_multiplier": -1.0},
        {"augmentations": 0},
        {"rates": ((0, 0.5),)},
        {"rates": ((5, 2.0),)},
        {"shift": 1},
    ],
    ids=str,
)
def test_recipes_refuse_bad_values(bad: dict[str, object]) -> None:
    with pytest.raises(InputError, match="Expected"):
        Recipe(**bad)  # type: ignore[arg-type]


def test_speed_refuses_bad_values() -> None:
    with pytest.raises(InputError, match="rows > 0"):
        Speed(rows=0)
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="no CUDA device"):
            Speed(device="cuda")
    with pytest.raises(InputError, match="device 'auto', 'cpu', 'cuda' or 'cuda:0' and so on, got 'gpu'"):
        Speed(device="gpu")
    assert Speed(device="auto") == Speed(device="cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("problem", [vectors, images, texts])
def test_devices_agree(problem) -> None:  # type: ignore[no-untyped-def]
    here, there = (ensemble(problem(), BUSY, [1, 2], Speed(device=d)).parameters for d in ("cpu", "cuda"))
    torch.testing.assert_close(here, there, rtol=1e-3, atol=1e-4)
