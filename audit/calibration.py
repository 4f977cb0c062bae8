"""Calibrating scores made elsewhere on other models, so that bounds may be taken from them."""

from __future__ import annotations

from attacks.cross_model import LEAST_MODELS, CrossModel, held_out
from attacks.scores import Scores
from audit import registry
from canaries.errors import InputError
from canaries.randomness import generator


def calibrated_by(attack: str, scores: Scores, seed: int = 0) -> Scores:
    """Half of the models, held against the other half by the named attack (`attacks.cross_model.held_out`).

    Which half is drawn from the seed, whatever order the models come in: files are often sorted by membership.

    Args:
        attack: one that compares models, by name: "lira", "rmia", ...
        scores: its signals: for LiRA's forms the logit-scaled confidence, for the others minus the loss.
        seed: of the halves.

    Raises:
        InputError: for an attack that compares no models, fewer than four models, or where the models that are scored
            are members alone, or non-members alone, or the others are.
    """
    built = registry.build(registry.ATTACKS, attack)
    if not isinstance(built, CrossModel):
        comparing = [name for name, cls in registry.available(registry.ATTACKS).items() if issubclass(cls, CrossModel)]
        raise InputError(f"Attack '{attack}' compares no models; allowed: {', '.join(comparing)}.")
    if scores.models < LEAST_MODELS:
        raise InputError(f"Expected scores of at least {LEAST_MODELS} models to calibrate on, got {scores.models}.")
    order = generator(seed, "halves").permutation(scores.models)
    found = held_out(built, scores.take_models(order))
    planted = scores.member[order][:, ~scores.reference]
    known = len(order) - found.models
    for half, which in ((planted[:known], "compared with"), (planted[known:], "scored")):
        if half.all() or not half.any():
            side = "members" if half.size and half.all() else "non-members"
            raise InputError(
                f"Expected members and non-members in both halves of the {scores.models} models, but the "
                f"{len(half)} that are {which} hold {side} alone; give more models, or another seed."
            )
    return found
