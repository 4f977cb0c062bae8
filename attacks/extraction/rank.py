"""The rank of a secret among all values of its space: counted, or bounded and estimated where they are too many."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attacks.extraction.task import Task
from attacks.view import BLOCK, TextView
from canaries.randomness import generator

TEMPERATURES = (1.0, 2.0, 4.0, np.inf)
"""Of the distributions that sampled values are drawn from: the model's own, flatter ones, and the uniform one."""


@dataclass(frozen=True, eq=False)
class Rivals:
    """For each pair of a model and a secret, how many other values are as likely as the true one, or likelier.

    Attributes:
        least: float64[pairs], found by the search: there are no fewer.
        most: float64[pairs], with all that the search left out: there are no more.
    """

    least: NDArray[np.float64]
    most: NDArray[np.float64]

    @property
    def exact(self) -> NDArray[np.bool_]:
        """bool[pairs]: where the search left nothing out."""
        return self.least == self.most


@dataclass(frozen=True, eq=False)
class _Level:
    """Beginnings of values, all of one length, that may still become rivals.

    Attributes:
        pair: int64[m], ascending.
        path: int64[m, characters].
        state: int64[m].
        so_far: float64[m], log-probability.
        own: bool[m], it is the beginning of the true value.
    """

    pair: NDArray[np.int64]
    path: NDArray[np.int64]
    state: NDArray[np.int64]
    so_far: NDArray[np.float64]
    own: NDArray[np.bool_]

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> _Level:
        return _Level(self.pair[rows], self.path[rows], self.state[rows], self.so_far[rows], self.own[rows])


def count_rivals(view: TextView, task: Task, truth: NDArray[np.float64], width: int) -> Rivals:
    """Count by walking the tree of values, level by level, for all pairs in shared batches.

    A branch is dropped once nothing below it can be a rival, for log-probabilities only fall; so the count is exact,
    unless more than `width` branches of one pair are left at one length. Then its `width` likeliest go on, and all
    values below the others are counted in `most` alone. What is found for one pair depends on no other.

    Args:
        view: the models.
        task: the secrets.
        truth: float64[models, n], log-probability of the true values.
        width: branches of one pair at one length.
    """
    models, secrets = task.pairs(view)
    floor = truth.ravel() - view.tie
    least, left_out = np.zeros(len(models)), np.zeros(len(models))
    completions = np.array([float(c) for c in task.space.completions])
    pairs = np.arange(len(models))
    stack = [
        _Level(pairs, np.empty((len(pairs), 0), dtype=np.int64), pairs * 0, np.zeros(len(pairs)), pairs >= 0),
    ]
    while stack:
        level = stack.pop()
        if len(level.pair) * len(task.symbols) > 4 * BLOCK and level.pair[0] != level.pair[-1]:
            middle = level.pair[len(level.pair) // 2]
            middle = middle if middle > level.pair[0] else middle + 1
            stack += [level.take(level.pair < middle), level.take(level.pair >= middle)]
            continue
        text = np.concatenate([task.prefix[secrets[level.pair]], level.path], axis=1)
        below = level.so_far[:, None] + view.next_token_of(models[level.pair], text, task.symbols)
        after = task.after[level.state][:, task.symbols]
        true_token = task.value[secrets[level.pair], min(level.path.shape[1], task.value.shape[1] - 1)]
        own = level.own[:, None] & (task.symbols == true_token[:, None]) & (level.path.shape[1] < task.value.shape[1])
        alive = (after >= 0) & (below >= floor[level.pair][:, None])
        done = alive & task.final[after] & ~own
        np.add.at(least, level.pair, done.sum(axis=1))
        row, symbol = np.nonzero(alive & ~task.final[after])
        if not len(row):
            continue
        children = _Level(
            level.pair[row],
            np.column_stack([level.path[row], task.symbols[symbol]]),
            after[row, symbol],
            below[row, symbol],
            own[row, symbol],
        )
        kept = _likeliest(children, width)
        gone = children.take(~kept)
        np.add.at(left_out, gone.pair, completions[gone.state] - gone.own)
        stack.append(children.take(kept))
    return Rivals(least, least + left_out)


def _likeliest(level: _Level, width: int) -> NDArray[np.bool_]:
    """bool[m]: the `width` likeliest rows of each pair."""
    if len(level.pair) <= width:
        return np.ones(len(level.pair), dtype=bool)
    order = np.lexsort((-level.so_far, level.pair))
    sorted_pair = level.pair[order]
    place = np.arange(len(order)) - np.searchsorted(sorted_pair, sorted_pair)
    kept = np.empty(len(order), dtype=bool)
    kept[order] = place < width
    return kept


def sample_rivals(
    view: TextView, task: Task, truth: NDArray[np.float64], pairs: NDArray[np.int64], samples: int, seed: int
) -> NDArray[np.float64]:
    """float64[pairs]: an unbiased estimate of the number of rivals, for these pairs of `count_rivals`.

    Dell'Amico, Filippone (2015), "Monte Carlo Strength Evaluation": values are drawn from the model itself, and each
    that is a rival counts as one over the probability of drawing it. Shares of the draws are from flatter
    distributions, so that a model that is sure of a wrong value is still searched; each counts by the mixture of all
    (Veach, Guibas 1995, the balance heuristic). First characters are stratified. Each secret has random numbers of its
    own, the same for all models, so that errors average out over secrets.
    """
    models, secrets = (array[pairs] for array in task.pairs(view))
    uniforms = np.stack([_uniforms(generator(seed, "rank", int(c)), samples, task.space.longest) for c in task.columns])
    floor = truth.ravel()[pairs] - view.tie
    portion = max(1, BLOCK // (samples * len(task.symbols)))
    found = np.empty(len(pairs))
    for i in range(0, len(pairs), portion):
        chosen = slice(i, i + portion)
        found[chosen] = _sampled(view, task, models[chosen], secrets[chosen], floor[chosen], uniforms[secrets[chosen]])
    return found


def _uniforms(rng: np.random.Generator, samples: int, characters: int) -> NDArray[np.float64]:
    """float64[samples, characters]; within each temperature's share the first column is stratified."""
    u = rng.random((samples, characters))
    kinds = len(TEMPERATURES)
    for kind in range(kinds):
        mine = u[kind::kinds, 0]
        u[kind::kinds, 0] = (rng.permutation(len(mine)) + mine) / max(1, len(mine))
    return u


def _sampled(
    view: TextView,
    task: Task,
    models: NDArray[np.int64],
    secrets: NDArray[np.int64],
    floor: NDArray[np.float64],
    uniforms: NDArray[np.float64],
) -> NDArray[np.float64]:
    """float64[m]: the estimate for m pairs from uniforms [m, samples, characters]."""
    samples = uniforms.shape[1]
    uniforms = uniforms.reshape(-1, uniforms.shape[2])
    pair = np.repeat(np.arange(len(models)), samples)
    mixture = np.tile(np.arange(samples) % len(TEMPERATURES), len(models))
    path = np.empty((len(pair), 0), dtype=np.int64)
    state = np.zeros(len(pair), dtype=np.int64)
    log_p, log_q = np.zeros(len(pair)), np.zeros((len(TEMPERATURES), len(pair)))
    own = np.ones(len(pair), dtype=bool)
    rivals = np.zeros(len(models))
    rows = np.arange(len(pair))
    for level in range(uniforms.shape[1]):
        text = np.concatenate([task.prefix[secrets[pair[rows]]], path[rows]], axis=1)
        answer = view.next_token_of(models[pair[rows]], text, task.symbols)
        after = task.after[state[rows]][:, task.symbols]
        drawn_from = np.stack([_tempered(answer, after >= 0, t) for t in TEMPERATURES])
        cumulative = np.cumsum(drawn_from[mixture[rows], np.arange(len(rows))], axis=1)
        u = uniforms[rows, level] * cumulative[:, -1]
        symbol = (cumulative <= u[:, None]).sum(axis=1).clip(0, len(task.symbols) - 1)
        here = np.arange(len(rows)), symbol
        log_p[rows] += answer[here]
        log_q[:, rows] += np.log(drawn_from[:, *here])
        token = task.symbols[symbol]
        true = task.value[secrets[pair[rows]], min(level, task.value.shape[1] - 1)]
        own[rows] &= (token == true) & (level < task.value.shape[1])
        path = np.concatenate([path, np.zeros((len(path), 1), dtype=np.int64)], axis=1)
        path[rows, -1] = token
        state[rows] = after[here]
        complete = task.final[state[rows]]
        done = rows[complete]
        hit = done[(log_p[done] >= floor[pair[done]]) & ~own[done]]
        share = np.bincount(np.arange(samples) % len(TEMPERATURES), minlength=len(TEMPERATURES)) / samples
        weight = 1 / (share @ np.exp(log_q[:, hit]))
        rivals += np.bincount(pair[hit], weight, minlength=len(models))
        rows = rows[~complete]
        if not len(rows):
            break
    return rivals / samples


def _tempered(answer: NDArray[np.float64], allowed: NDArray[np.bool_], temperature: float) -> NDArray[np.float64]:
    """float64[m, k]: probabilities of the allowed symbols at a temperature, summing to one."""
    logits = np.where(allowed, np.maximum(answer, -1e9) / temperature, -np.inf)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)
