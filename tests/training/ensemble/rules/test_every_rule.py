"""All rules have tests; parameters that are shared, frozen or left out of the loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audit.training.ensemble.gradients import per_example
from audit.training.ensemble.layout import Layout
from audit.training.ensemble.rules import RULES, FallbackRule
from audit.training.ensemble.stacked import Stacked
from tests.training.ensemble.rules.by_autograd import by_loop, check, criterion, draw


def test_every_rule_is_tested() -> None:
    tested = {
        "LinearRule", "Conv2dRule", "EmbeddingRule", "LayerNormRule", "GroupNormRule", "RNNRule", "GRURule", "LSTMRule",
        "CellRule", "AttentionRule", "PReLURule", "FallbackRule",
    }  # fmt: skip
    assert {rule.__name__ for rule in (*RULES, FallbackRule)} == tested


class Tied(nn.Module):
    """Output weights are the embedding's, and one layer is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.twice = nn.Linear(4, 4)
        self.output = nn.Linear(4, 7)
        self.output.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.twice(self.twice(self.embed(x)).tanh()))


def test_shared_parameters() -> None:
    layout = Layout(2, 3, 2)
    check(Tied(), torch.randint(7, (layout.rows, 5)), layout, by_loop)


def test_frozen_parameters_have_no_gradient() -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    module[0].requires_grad_(False)
    found = per_example((s := Stacked(module)), draw(s, 2), torch.randn(6, 3), torch.zeros(6), Layout(2, 3), criterion)
    assert set(found.terms) == {"1.weight", "1.bias"}


def test_layers_that_the_loss_ignores_have_zero_gradient() -> None:
    class Ignoring(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.ignored = nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            self.ignored(x)
            return self.used(x)

    layout = Layout(2, 3)
    check(Ignoring(), torch.randn(layout.rows, 3), layout)
