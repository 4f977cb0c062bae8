"""What estimators of independent runs have in common: one score from each model, of one canary."""

from __future__ import annotations

from attacks.scores import Scores

INDEPENDENT_RUNS = (
    "models are trained and scored independently of each other",
    "models with and without the canary were made in the same way otherwise",
)


def needs_one_canary(scores: Scores) -> str | None:
    """Why these are no scores of independent runs, as the end of a sentence; None if they are.

    Canaries of one model depend on each other through the model, whatever the coins.
    """
    if len(scores.ids) != 1:
        return f"it needs independent runs of exactly one canary, got {len(scores.ids)} canaries in each model."
    return None
