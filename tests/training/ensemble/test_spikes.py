"""Gradients of one coordinate: where they lie, and that they are sampled, clipped and recorded like any other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from audit.training.ensemble.engine import Task, Trained, Watch, fit
from audit.training.ensemble.flat import Flat
from audit.training.ensemble.recipe import Recipe
from audit.training.ensemble.sampling import Poisson
from audit.training.ensemble.spikes import Spikes, spikes, spread
from audit.training.ensemble.stacked import Stacked
from audit.training.speed import Speed
from canaries.errors import InputError
from canaries.randomness import generator
from canaries.records import GradientRecords

RECORDS = 12


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.data())
def test_coordinates_are_distinct_and_span_all_layers(sizes: list[int], data: st.DataObject) -> None:
    places = data.draw(st.integers(1, sum(sizes)))
    found = spread(sizes, places)
    assert len(set(found.tolist())) == len(found) == places
    assert 0 <= found.min()
    assert found.max() < sum(sizes)
    shares = np.histogram(found, np.concatenate([[0], np.cumsum(sizes)]))[0]
    full = shares == sizes
    if not full.all():  # Those with room have equal shares, but for one, and no other has more.
        assert shares.max() - shares[~full].min() <= 1


def test_more_than_the_model_has_parameters() -> None:
    with pytest.raises(InputError, match="at most 10 gradient canaries, one for each parameter, got 11"):
        spread([4, 6], 11)


@pytest.mark.parametrize(("length", "value"), [(1.0, 0.3), (-1.0, -0.3), (7.0, 0.3), (0.5, 0.15), (-0.5, -0.15)])
def test_clipping(length: float, value: float) -> None:
    made = spikes(GradientRecords(np.array([length]), np.array([2]), 3), {"w": torch.Size([4, 2])}, 0.3)
    assert made.coordinates.tolist() == [5]
    assert made.clipped(0.3).item() == pytest.approx(value, rel=1e-5)
    assert abs(made.clipped(0.3).item()) <= 0.3


def problem() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return (
        nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)),
        torch.randn(RECORDS, 3),
        torch.arange(RECORDS) % 2,
    )


EXTRA = Spikes(torch.tensor([1, 17, 25]), torch.tensor([0.4, -9.0, 0.1]))
RECIPE = Recipe(steps=4, sample_rate=0.6, noise_multiplier=0.0, max_grad_norm=0.4, learning_rate=0.5, dtype="float64")


def train(recipe: Recipe, members: list[np.ndarray], watch: Watch | None = None, rows: int = 4096) -> Trained:
    module, x, y = problem()
    stacked = Stacked(module)
    task = Task(x, y, members, RECORDS, nn.CrossEntropyLoss(reduction="none"), EXTRA)
    initial = Flat(stacked.shapes).row(module).expand(len(members), -1)
    return fit(stacked, recipe, task, list(range(len(members))), initial, Speed(rows=rows), watch)


MEMBERS = [np.arange(RECORDS), np.r_[np.arange(RECORDS), RECORDS + np.arange(3)], np.r_[np.arange(RECORDS), 14, 14]]
WATCH = Watch(every=1, records=RECORDS + np.arange(3), known=RECORDS)


def test_clipped_sums_equal_a_slow_reference() -> None:
    """Each record's gradient alone, clipped, and each spike as a gradient of its own, summed over the same batches."""
    found = train(RECIPE, MEMBERS, WATCH)
    module, x, y = problem()
    module, x = module.double(), x.double()
    flat, clipped = Flat(Stacked(module).shapes), [0.4, -0.4, 0.1]
    for k, members in enumerate(MEMBERS):
        sampler, row = Poisson(len(members), generator(k, "batches")), flat.row(module)
        for step in range(4):
            known, extra = torch.zeros(26).double(), torch.zeros(26).double()
            current = flat.load(problem()[0].double(), row)
            for position in members[sampler.draw(0.6)]:
                if position >= RECORDS:
                    extra[EXTRA.coordinates[position - RECORDS]] += clipped[position - RECORDS]
                    continue
                current.zero_grad()
                nn.functional.cross_entropy(current(x[[position]]), y[[position]]).backward()
                gradient = torch.cat([p.grad.flatten() for p in current.parameters()])
                known += gradient * min(1.0, 0.4 / float(gradient.norm()))
            for c, coordinate in enumerate(EXTRA.coordinates):
                product = float((known + extra)[coordinate]) * clipped[c] / (0.6 * RECORDS)
                assert found.products[k, step, c] == pytest.approx(product, rel=1e-4, abs=1e-7)
                share = float(known[coordinate]) * clipped[c] / (0.6 * RECORDS)
                assert found.known[k, step, c] == pytest.approx(share, rel=1e-4, abs=1e-7)
            row = row - 0.5 * (known + extra) / (0.6 * RECORDS)
            torch.testing.assert_close(found.checkpoints[step + 1][k], row, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.norms[0, 0], [0.4, 9.0, 0.1], rtol=1e-6)


def test_without_them_training_is_as_ever() -> None:
    module, x, y = problem()
    stacked = Stacked(module)
    task = Task(x, y, MEMBERS[:1], RECORDS, nn.CrossEntropyLoss(reduction="none"))
    noisy = replace(RECIPE, noise_multiplier=1.0)
    plain = fit(stacked, noisy, task, [0], Flat(stacked.shapes).row(module).unsqueeze(0)).parameters
    assert torch.equal(train(noisy, MEMBERS[:1], WATCH).parameters, plain)


def test_alone_and_in_any_portions() -> None:
    noisy = replace(RECIPE, noise_multiplier=0.7)
    together = train(noisy, MEMBERS, WATCH, rows=6)
    torch.testing.assert_close(together.parameters[:1], train(noisy, MEMBERS[:1], WATCH).parameters)
    np.testing.assert_allclose(together.products, train(noisy, MEMBERS, WATCH).products, rtol=1e-9, atol=1e-12)


def test_only_gradients_and_no_records() -> None:
    found = train(replace(RECIPE, sample_rate=1.0, steps=1), [RECORDS + np.arange(3)], WATCH)
    np.testing.assert_allclose(found.products[0, 0], np.array([0.16, 0.16, 0.01]) / RECORDS, rtol=1e-5)
    assert not found.known.any()
