"""Models whose per-example gradients the ensemble would get wrong are refused before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audit.training.ensemble import Ensemble
from audit.training.ensemble.exactness import check_gradients
from audit.training.models import MLP
from canaries.base import CanarySet
from canaries.errors import InputError
from canaries.records import ArrayRecords, Dataset

LOSS = nn.CrossEntropyLoss(reduction="none")


def tried(module: nn.Module, dtype: torch.dtype = torch.float32, time: int = 6) -> None:
    x, y = torch.randn(8, time, 4), torch.randint(3, (8,))
    check_gradients(module, x, y, LOSS, dtype)


class Odd(nn.Module):
    """Two linear layers, and something between them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 5), nn.Linear(5, 3)

    def between(self, x: Tensor) -> Tensor:
        """Nothing."""
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.between(self.first(x)).relu()).mean(1)


class Centred(Odd):
    def between(self, x: Tensor) -> Tensor:
        return x - x.mean(0)


class Largest(Odd):
    def between(self, x: Tensor) -> Tensor:
        return x / x.abs().amax()


class Dropping(Odd):
    def between(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.3, self.training)


class Counting(Odd):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("passes", torch.zeros(()))

    def between(self, x: Tensor) -> Tensor:
        self.passes += 1
        return x * self.passes


class Rolled(Odd):
    def between(self, x: Tensor) -> Tensor:
        return x.transpose(0, 1).reshape(x.shape)


class Alone(Odd):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).squeeze()


class Broken(Odd):
    def between(self, x: Tensor) -> Tensor:
        raise KeyError("weight")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Centred, "Centred has other per-example gradients .* mixes the records"),
        (Largest, "Largest has other per-example gradients .* mixes the records"),
        (Rolled, "Rolled has other per-example gradients .* mixes the records"),
        (Dropping, "Dropping answers the same records differently .* random"),
        (Counting, "Counting answers the same records differently .* state"),
        (Alone, "Alone cannot be trained in an ensemble: "),
        (Broken, "Broken cannot be trained in an ensemble: KeyError: 'weight'"),
    ],
)
def test_refused(module: type[nn.Module], message: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    with pytest.raises(InputError, match=message):
        tried(module(), dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_accepted(dtype: torch.dtype) -> None:
    """Also records that are all alike, one record alone, and layers whose rounding is large."""
    torch.manual_seed(0)
    tried(Odd(), dtype)
    blank, y = torch.full((3, 1, 12, 12), 0.3), torch.tensor([0, 1, 2])
    layers = [nn.Conv2d(1, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU(), nn.MaxPool2d(2)]
    images = nn.Sequential(*layers, nn.Conv2d(4, 4, 3), nn.GroupNorm(4, 4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    check_gradients(images, blank, y, LOSS, dtype)
    check_gradients(images, 255 * torch.rand(1, 1, 12, 12), y[:1], LOSS, dtype)


def test_the_module_and_the_random_state_are_left_as_they_were() -> None:
    torch.manual_seed(0)
    module = Counting()
    x, y, state = torch.randn(3, 2, 4), torch.tensor([0, 1, 2]), torch.get_rng_state()
    before = {n: t.clone() for n, t in module.state_dict().items()}
    with pytest.raises(InputError):
        check_gradients(module, x, y, LOSS, torch.float64)
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])
        assert value.dtype == before[name].dtype


@dataclass(frozen=True)
class Normalised(MLP):
    """Centres what it sees over the batch."""

    def module(self, example):  # type: ignore[no-untyped-def]
        class Module(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.linear = nn.Linear(16, 3)

            def forward(self, x: Tensor) -> Tensor:
                return self.linear(x.flatten(1) - x.flatten(1).mean(0))

        return Module()


def test_the_trainer_checks_it() -> None:
    rng = np.random.default_rng(0)
    records = ArrayRecords(rng.normal(size=(20, 1, 4, 4)), rng.integers(0, 3, 20), 3)
    dataset = Dataset("noise", records, records, records)
    one = np.arange(1)
    canaries = CanarySet("made", ("a",), records.take(one), one + 1, np.zeros(1, dtype=bool))
    Ensemble(model=MLP()).check(dataset, canaries)
    with pytest.raises(InputError, match="mixes the records"):
        Ensemble(model=Normalised()).check(dataset, canaries)
