"""What no rule can be right for is refused by name."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from audit.training.ensemble.layout import Layout
from audit.training.ensemble.stacked import Stacked
from canaries.errors import InputError
from tests.training.ensemble.rules.by_autograd import by_loop, check


def test_spectral_normalisation_is_refused() -> None:
    with pytest.raises(InputError, match=r"_SpectralNorm\) keeps a state"):
        Stacked(nn.Sequential(spectral_norm(nn.Linear(3, 3))))


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm1d(3),
        nn.InstanceNorm1d(3, track_running_stats=True),
        nn.Dropout(0.5),
        nn.RReLU(),
        nn.GRU(3, 3, 2, dropout=0.5),
        nn.LSTM(3, 3, proj_size=2),
    ],
)
def test_refused_layers_are_named(layer: nn.Module) -> None:
    with pytest.raises(InputError, match=rf"'1\.0' \({type(layer).__name__}\)"):
        Stacked(nn.Sequential(nn.Linear(3, 3), nn.Sequential(layer)))


class Placed(nn.Module):
    """Positions that all records share, looked up once for all: no gradient of theirs can be told apart."""

    def __init__(self, time: int) -> None:
        super().__init__()
        self.tokens, self.places, self.output = nn.Embedding(7, 4), nn.Embedding(time, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.output((self.tokens(x) + self.places(torch.arange(x.shape[1]))).tanh())


@pytest.mark.parametrize("time", [1, 2, 3, 5, 6, 12])
def test_an_input_that_is_no_batch_is_refused_whatever_its_length(time: int) -> None:
    """The batch has 6 rows, so a length of 6 or 12 could pass for it."""
    layout = Layout(2, 3)
    with pytest.raises(InputError, match=r"Layer 'places' \(Embedding\) gets an input of shape .* expand"):
        check(Placed(time), torch.randint(7, (layout.rows, time)), layout, by_loop)


def test_a_model_without_parameters_is_refused() -> None:
    with pytest.raises(InputError, match="no trainable parameters"):
        Stacked(nn.ReLU())
