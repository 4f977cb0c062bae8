"""Rates of what attacks say of canaries beside their scores, by how often a canary was inserted."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from attacks.scores import Scores
from audit.metrics import clustered_rate
from audit.results import EvidenceRate, Interval


def evidence_rates(scores: Scores, titles: Mapping[str, str]) -> tuple[EvidenceRate, ...]:
    """The rate of each evidence in `titles`, by repetition count and length of the secret; never inserted comes first.

    Intervals are those of extraction rates, see `clustered_rate`. Of a user with several records the rate is that of
    "of one of the user's records at least".

    Args:
        scores: of one attack, references included.
        titles: what each evidence, 0 or 1 for each pair of a model and a canary, is called; see `Attack.rates`.
    """
    return tuple(
        _rate(name, title, repetitions, scores.select(mine))
        for name, title in titles.items()
        if name in scores.evidence
        for repetitions, mine in _groups(scores)
    )


def _groups(scores: Scores) -> list[tuple[int, np.ndarray]]:
    """(repetition count, bool[canaries]), 0 for what was never inserted; a group for each length of the secret."""
    count = np.where(scores.reference, 0, scores.repetitions)
    keys = sorted(set(zip(count.tolist(), scores.space.tolist(), strict=True)))
    return [(repetitions, (count == repetitions) & (scores.space == space)) for repetitions, space in keys]


def _rate(name: str, title: str, repetitions: int, scores: Scores) -> EvidenceRate:
    said = np.asarray(scores.evidence[name]) > 0

    def share(pairs: np.ndarray) -> Interval:
        models, columns = np.nonzero(pairs)
        return clustered_rate(said[models, columns], models, scores.secret_numbers[models, columns])

    held = scores.member if repetitions else np.ones_like(scores.member)
    return EvidenceRate(
        evidence=name,
        title=title,
        repetitions=repetitions,
        bits=math.log2(float(scores.space.max())),
        pairs=int(held.sum()),
        models=int(held.any(axis=1).sum()),
        share=share(held),
        left_out_pairs=int((~held).sum()),
        left_out=share(~held) if repetitions and not held.all() else None,
    )
