"""One rule for each kind of layer; this table is the whole registry."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.utils import parametrize

from audit.training.ensemble.rules.attention import AttentionRule
from audit.training.ensemble.rules.base import Rule, Tape
from audit.training.ensemble.rules.cells import CellRule
from audit.training.ensemble.rules.conv2d import Conv2dRule
from audit.training.ensemble.rules.embedding import EmbeddingRule
from audit.training.ensemble.rules.fallback import FallbackRule
from audit.training.ensemble.rules.groupnorm import GroupNormRule
from audit.training.ensemble.rules.gru import GRURule
from audit.training.ensemble.rules.layernorm import LayerNormRule
from audit.training.ensemble.rules.linear import LinearRule
from audit.training.ensemble.rules.lstm import LSTMRule
from audit.training.ensemble.rules.prelu import PReLURule
from audit.training.ensemble.rules.refused import refuse
from audit.training.ensemble.rules.rnn import RNNRule

RULES: tuple[type[Rule[Any]], ...] = (
    LinearRule,
    Conv2dRule,
    EmbeddingRule,
    LayerNormRule,
    GroupNormRule,
    RNNRule,
    GRURule,
    LSTMRule,
    CellRule,
    AttentionRule,
    PReLURule,
)

__all__ = ["RULES", "FallbackRule", "Rule", "Tape", "refuse", "rule_for"]


def rule_for(layer: nn.Module) -> type[Rule[Any]] | None:
    """The rule of a layer; the fallback where it has parameters of its own and no rule; None where it has neither."""
    for rule in RULES:
        for kind in rule.kinds:
            if not isinstance(layer, kind) or type(layer).forward is not kind.forward:
                continue
            if rule.accepts(layer) and rule.standard(layer):
                return rule
    own = parametrize.is_parametrized(layer) or any(True for _ in layer.parameters(recurse=False))
    return FallbackRule if own else None
