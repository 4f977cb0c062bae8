"""What one-run estimators have in common: coins in the order of their scores."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from attacks.scores import Scores
from canaries.errors import InputError
from canaries.randomness import generator

FAIR_COINS = (
    "each canary of each model was in by an independent fair coin",
    "scores come from the models and the canaries, never from the coins",
)


def ordered_coins(scores: Scores, centre: bool, seed: int) -> NDArray[np.bool_]:
    """bool[models * canaries]: what each coin said, from the lowest score to the highest; ties break by chance.

    The order depends on scores alone. `centre` takes out what belongs to the canary (`Scores.centred`).
    """
    score = scores.centred().score if centre else scores.score
    order = np.lexsort((generator(seed, "ties").permutation(score.size), score.ravel()))
    return scores.member.ravel()[order]


def guesses_each_way(share: float, coins: int) -> int:
    """How many of the highest scores are guessed "in", and as many of the lowest "out"; one at least, of two coins."""
    return min(max(1, round(share * coins / 2)), coins // 2)


def right_guesses(scores: Scores, share: float, centre: bool, seed: int) -> tuple[int, int, int]:
    """(coins, guesses, right guesses) where a `share` of the coins is guessed, half from either end."""
    said = ordered_coins(scores, centre, seed)
    half = guesses_each_way(share, said.size)
    return said.size, 2 * half, int(said[said.size - half :].sum() + (~said[:half]).sum())


def needs_coins(scores: Scores) -> str | None:
    """Why these are no scores of coins, as the end of a sentence; None if they are."""
    if scores.randomised != "canary":
        return "it needs an independent coin for each canary, but whole models were randomised."
    if not scores.score.size:
        return f"it needs a coin, got {scores.models} models of {len(scores.ids)} canaries."
    return None


def check_share(share: float) -> None:
    """Reject a share of guesses outside (0, 1]."""
    if not 0 < share <= 1 or math.isnan(share):
        raise InputError(f"Expected guesses in (0, 1], got {share}.")
