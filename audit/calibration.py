"""Calibrating scores made elsewhere on other models, so that bounds may be taken from them."""

from __future__ import annotations

from attacks.cross_model import LEAST_MODELS, CrossModel, held_out
from attacks.scores import Scores
from audit import registry
from canaries.errors import InputError


def calibrated_by(attack: str, scores: Scores) -> Scores:
    """Half of the models, held against the other half by the named attack (`attacks.cross_model.held_out`).

    Args:
        attack: one that compares models, by name: "lira", "rmia", ...
        scores: its signals: for LiRA's forms the logit-scaled confidence, for the others minus the loss.

    Raises:
        InputError: for an attack that compares no models, or fewer than four models.
    """
    built = registry.build(registry.ATTACKS, attack)
    if not isinstance(built, CrossModel):
        comparing = [name for name, cls in registry.available(registry.ATTACKS).items() if issubclass(cls, CrossModel)]
        raise InputError(f"Attack '{attack}' compares no models; allowed: {', '.join(comparing)}.")
    if scores.models < LEAST_MODELS:
        raise InputError(f"Expected scores of at least {LEAST_MODELS} models to calibrate on, got {scores.models}.")
    return held_out(built, scores)
