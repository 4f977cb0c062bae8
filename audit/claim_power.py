"""How likely an ideal attack is to refute a claim, where a pipeline adds less noise than it claims."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from attacks.scores import Scores
from audit.claim import Claim
from audit.claim_test import GUESSES, all_claimed
from audit.estimators.calibrated import Simulation, arms, draws_for, gaussian_statistic, ranks_of
from audit.estimators.coins import guesses_each_way, needs_coins
from audit.estimators.independent import needs_one_canary
from audit.estimators.one_run_fdp import fdp_refutes
from audit.estimators.secret_guess import SecretGuess
from audit.estimators.threshold import Floats
from audit.loss_curve import Curve, curve_of
from canaries.errors import InputError
from canaries.randomness import generator

LESS_NOISE = 0.5
"""The alternative: this share of the claimed noise multiplier."""

Invert = Callable[[Floats], Floats]

PIPELINES = 1000
MOST_COINS = 4_000_000


def power_against_less_noise(
    scores: Scores, claim: Claim, level: float, noise: float = LESS_NOISE, seed: int = 0
) -> float | None:
    """P(the claim's own test refutes it), if `noise` times its noise is added and the attack is ideal; simulated.

    An ideal attack ranks by the likelihood ratio (Neyman, Pearson 1933), so the position of a score with the canary
    among those without follows the trade-off curve of the mechanism that was really run. Attacks that see less refute
    less often: this is the most that so many models or coins are good for.

    Args:
        scores: how many scores there are with the canary and without; what they are does not count.
        claim: with a mechanism.
        level: of the test.
        noise: share of the claimed noise multiplier that is really added, in (0, 1).
        seed: of the simulation.

    Returns:
        The share of 1,000 pipelines, fewer with very many coins; None where no curve is claimed, or none fits.

    Raises:
        InputError: for a share of the noise, or a level, out of range.
    """
    if not 0 < noise < 1 or not 0 < level < 1:
        raise InputError(f"Expected a share of the noise and a level in (0, 1), got {noise} and {level}.")
    scores = scores.select(~scores.reference)
    if not scores.ids or claim.is_control or claim.mechanism is None or not claim.has_curve:
        return None
    copies = int(scores.repetitions.max())
    claimed, _ = all_claimed(claim, copies)
    less = replace(claim.mechanism, noise_multiplier=noise * claim.mechanism.noise_multiplier)
    real = curve_of(less, copies, claim.adjacency)
    if SecretGuess().inapplicable(scores) is None:
        level /= 2  # Two tests of the same scores, and the claim's test pays for both.
    if needs_one_canary(scores) is None:
        return _many_runs(scores, claimed, real, level, seed)
    return _one_run(scores.score.size, claimed, real, level, seed) if needs_coins(scores) is None else None


def _many_runs(scores: Scores, claimed: Invert, real: Curve, level: float, seed: int) -> float:
    ins, outs = arms(scores)
    if not (len(ins) and len(outs)):
        return 0.0
    draws = draws_for(level)
    ranks = ranks_of(ins, outs, draws)
    value = gaussian_statistic(ranks)
    null = Simulation.draw(ranks, draws, seed)
    expected = np.sort(value(null.counts(claimed(null.ins), np.arange(draws))))
    found = Simulation.draw(ranks, PIPELINES, seed + 1)
    seen = value(found.counts(real.invert(found.ins), np.arange(PIPELINES)))
    reached = draws - np.searchsorted(expected, seen, side="left")
    return float(np.mean((1 + reached) / (draws + 1) <= level))


def _one_run(coins: int, claimed: Invert, real: Curve, level: float, seed: int) -> float:
    half = guesses_each_way(GUESSES, coins)
    rng = generator(seed, "power")
    right = np.array([_right(coins, half, real, rng) for _ in range(max(50, min(PIPELINES, MOST_COINS // coins)))])
    low, high = -1, 2 * half + 1  # The fewest right guesses that refute lie above `low`, and at most at `high`.
    while high - low > 1:
        middle = (low + high) // 2
        refuted = fdp_refutes(claimed, coins, 2 * half, middle, np.array([level]))[0]
        low, high = (low, middle) if refuted else (middle, high)
    return float(np.mean(right >= high))


def _right(coins: int, half: int, real: Curve, rng: np.random.Generator) -> int:
    """Right guesses of an ideal attack about so many fair coins."""
    said = rng.random(coins) < 0.5
    position = rng.random(coins)
    position[said] = real.invert(position[said])
    order = np.lexsort((rng.random(coins), position))
    return int(said[order[:half]].sum() + (~said[order[coins - half :]]).sum())
