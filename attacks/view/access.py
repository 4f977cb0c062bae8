"""Access levels, and what each grants."""

from __future__ import annotations

import enum


class Access(enum.StrEnum):
    """Kinds of answer. Each grants what can be computed from it, and nothing else."""

    LABELS = "labels"
    LOSS = "loss"
    PROBABILITIES = "probabilities"
    TOKEN_LOG_PROBABILITIES = "token-log-probabilities"
    WEIGHTS = "weights"
    CHECKPOINTS = "checkpoints"
    GRADIENTS = "gradients"


ANSWERS = frozenset({Access.LABELS, Access.LOSS, Access.PROBABILITIES, Access.TOKEN_LOG_PROBABILITIES})
"""What can be asked of a final model from outside."""

WHITE_BOX = frozenset({Access.WEIGHTS, Access.CHECKPOINTS, Access.GRADIENTS})
"""What must be released or recorded besides: the trainer's configuration decides."""

GRANTS: dict[Access, frozenset[Access]] = {
    Access.LABELS: frozenset({Access.LABELS}),
    Access.LOSS: frozenset({Access.LOSS}),
    Access.PROBABILITIES: frozenset({Access.PROBABILITIES, Access.LOSS, Access.LABELS}),
    Access.TOKEN_LOG_PROBABILITIES: frozenset({Access.TOKEN_LOG_PROBABILITIES, Access.LOSS}),
    Access.WEIGHTS: ANSWERS | {Access.WEIGHTS},
    Access.CHECKPOINTS: ANSWERS | {Access.WEIGHTS, Access.CHECKPOINTS},
    Access.GRADIENTS: ANSWERS | WHITE_BOX,
}


class AccessError(PermissionError):
    """An attack asked a view for more than its access level grants."""
