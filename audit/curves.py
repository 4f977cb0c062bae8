"""What the plots draw, as plain arrays: computing stands apart from drawing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from attacks.scores import Scores
from audit.bounds import Bound
from audit.formatting import setting
from audit.results import AttackResult, CellResult, Extraction, RunResult
from audit.secret_bits import allowed_by, required_bits
from audit.utility import TEXT_LOSS, UNIGRAM

Floats = NDArray[np.float64]
T = TypeVar("T")


@dataclass(frozen=True)
class BoundSeries:
    """The bounds of one attack by one estimator over claimed epsilon.

    Attributes:
        attack: the attack's name.
        estimator: the estimator's name, numbered where one attack uses it twice.
        parametric: true if any of them assumes the shape of the trade-off curve.
        points: (claimed epsilon, bound), in the order of epsilon.
    """

    attack: str
    estimator: str
    parametric: bool
    points: tuple[tuple[float, Bound], ...]


def pipelines(result: RunResult) -> dict[str, tuple[CellResult, ...]]:
    """Cells by pipeline, in the order of epsilon; a second cell at one epsilon becomes "name #2", so none is hidden."""
    grouped: dict[str, list[CellResult]] = {}
    for cell in result.cells:
        name, count = cell.audit, 1
        while any(other.claim.epsilon == cell.claim.epsilon for other in grouped.get(name, ())):
            count += 1
            name = f"{cell.audit} #{count}"
        grouped.setdefault(name, []).append(cell)
    return {name: tuple(sorted(cells, key=lambda c: c.claim.epsilon)) for name, cells in grouped.items()}


def epsilons(cells: Iterable[CellResult]) -> tuple[float, ...]:
    """The claimed epsilons, each once, in order; infinity last."""
    return tuple(sorted({cell.claim.epsilon for cell in cells}))


def unlearnt(cells: Iterable[CellResult]) -> tuple[float, ...]:
    """Claimed epsilons at which text models are on average no better on held-out text than the unigram model.

    What is not extracted there says nothing of privacy, for nothing was learnt.
    """
    measured = [cell for cell in cells if TEXT_LOSS in cell.utility and UNIGRAM in cell.utility]
    return tuple(c.claim.epsilon for c in measured if c.utility[TEXT_LOSS].value >= c.utility[UNIGRAM].value)


def bound_series(cells: Iterable[CellResult]) -> list[BoundSeries]:
    """One series for each attack and estimator of one pipeline, in the order in which they first appear."""
    found: dict[tuple[str, str], list[tuple[float, Bound]]] = {}
    for cell in cells:
        for attack in cell.attacks:
            seen: dict[str, int] = {}
            for bound in attack.bounds:
                seen[bound.estimator] = seen.get(bound.estimator, 0) + 1
                numbered = f" #{seen[bound.estimator]}" if seen[bound.estimator] > 1 else ""
                key = (attack.attack, bound.estimator + numbered)
                found.setdefault(key, []).append((cell.claim.epsilon, bound))
    return [
        BoundSeries(attack, estimator, any(bound.parametric for _, bound in points), tuple(points))
        for (attack, estimator), points in found.items()
    ]


def by_attack(
    cells: Iterable[CellResult], keep: Callable[[AttackResult], T | None]
) -> dict[str, list[tuple[float, T]]]:
    """What `keep` finds in each attack, as (claimed epsilon, it) by attack; attacks with nothing are left out."""
    found: dict[str, list[tuple[float, T]]] = {}
    for cell in cells:
        for attack in cell.attacks:
            if (value := keep(attack)) is not None:
                found.setdefault(attack.attack, []).append((cell.claim.epsilon, value))
    return found


def extraction_series(cells: Iterable[CellResult]) -> dict[str, dict[int, list[tuple[float, Extraction]]]]:
    """By attack and repetition count (0: never inserted, first): (claimed epsilon, how the secrets fared)."""
    series: dict[str, dict[int, list[tuple[float, Extraction]]]] = {}
    for cell in cells:
        for attack in cell.attacks:
            for row in attack.extraction:
                counts = series.setdefault(extraction_label(attack, row), {})
                counts.setdefault(row.repetitions, []).append((cell.claim.epsilon, row))
    return {label: dict(sorted(counts.items())) for label, counts in series.items()}


def extraction_label(attack: AttackResult, row: Extraction) -> str:
    """The attack's name; with the secrets' bits where it attacks secrets of several lengths."""
    several = len({other.exposure_max for other in attack.extraction}) > 1
    return f"{attack.attack} of {row.exposure_max:.1f} bits" if several else attack.attack


def length_series(cells: Iterable[CellResult]) -> dict[tuple[str, int], dict[float, list[Extraction]]]:
    """By attack and repetition count: secrets of several lengths, shortest first, by claimed epsilon; else nothing.

    Of attacks that name the likeliest value, for theory is about one guess.
    """
    series: dict[tuple[str, int], dict[float, list[Extraction]]] = {}
    for cell in cells:
        for attack in cell.attacks:
            for row in sorted(attack.extraction, key=lambda row: row.exposure_max):
                if row.repetitions and 1 in dict(row.top):
                    by_epsilon = series.setdefault((attack.attack, row.repetitions), {})
                    by_epsilon.setdefault(cell.claim.epsilon, []).append(row)
    return {key: found for key, found in series.items() if any(len(rows) > 1 for rows in found.values())}


def bits_needed(cells: Iterable[CellResult], probability: float = 0.01) -> dict[int, list[tuple[float, float]]]:
    """By repetition count: (claimed epsilon, bits that keep one guess at `probability` or less); inf if none do."""
    found: dict[int, list[tuple[float, float]]] = {}
    for cell in cells:
        for count in sorted({row.repetitions for a in cell.attacks for row in a.extraction if row.repetitions}):
            if not cell.claim.is_control:
                bits = required_bits(allowed_by(cell.claim, count), probability)
                found.setdefault(count, []).append((cell.claim.epsilon, bits))
    return dict(sorted(found.items()))


def roc(scores: Scores, centre: bool = True) -> tuple[Floats, Floats] | None:
    """False and true positive rates [points] of every threshold, pooled over models and canaries, references left out.

    Of centred scores, as the AUC beside it, unless `centre` is false. Equal scores move together, so a score that says
    nothing lies on the diagonal. None where one side is empty.
    """
    planted = scores.select(~scores.reference)
    planted = planted.centred() if centre else planted
    member, score = planted.member.ravel(), planted.score.ravel()
    if not 0 < member.sum() < len(member):
        return None
    levels, where = np.unique(-score, return_inverse=True)
    ins = np.bincount(where[member], minlength=len(levels)).cumsum() / member.sum()
    outs = np.bincount(where[~member], minlength=len(levels)).cumsum() / (~member).sum()
    return np.concatenate([[0.0], outs]), np.concatenate([[0.0], ins])


def smallest_rate(scores: Scores) -> float:
    """The smallest rate above zero that these scores can show on either side; 1 where there are none."""
    member = scores.member[:, ~scores.reference]
    return 1 / max(1, int(member.sum()), int((~member).sum()))


def chance_exposure(exposure_max: float) -> float:
    """Mean exposure in bits of a secret whose rank is uniform over 2 ** exposure_max; tends to 1 / ln 2 = 1.44.

    >>> round(chance_exposure(math.log2(1e8)), 3), chance_exposure(0.0)
    (1.443, 0.0)
    """
    if exposure_max > 50:
        return 1 / math.log(2)
    space = 2.0**exposure_max
    return exposure_max - math.lgamma(space + 1) / (space * math.log(2))


class EpsilonAxis:
    """Where each claimed epsilon stands: log(1 + epsilon), so that 0 has a place, and infinity beyond a break."""

    def __init__(self, epsilons: Iterable[float]) -> None:
        unique = sorted(set(epsilons))
        self.finite = tuple(e for e in unique if math.isfinite(e))
        self.has_inf = len(self.finite) < len(unique)
        places = [math.log1p(e) for e in self.finite] or [math.log1p(1)]
        step = (places[-1] - places[0]) / max(1, len(places) - 1) or 0.5
        self.left = places[0] - 0.6 * step if places[0] > 0.6 * step else 0.0
        self.end = places[-1] + 0.6 * step
        self.slot_place = places[-1] + 1.35 * step
        self.right = self.slot_place + 0.65 * step if self.has_inf else self.end
        self.slot = math.expm1(self.slot_place)
        self.step = step

    def at(self, epsilon: float, shift: float = 0.0) -> float:
        """The axis value for an epsilon, moved by `shift` of the distance between neighbours."""
        place = math.log1p(epsilon) if math.isfinite(epsilon) else self.slot_place
        return math.expm1(max(0.0, place + shift * self.step))

    def line(self, points: Sequence[tuple[float, float]], shift: float = 0.0) -> tuple[list[float], list[float]]:
        """The x and y of a line through the finite epsilons, broken by a NaN before infinity."""
        xs: list[float] = []
        ys: list[float] = []
        for epsilon, value in points:
            if math.isinf(epsilon) and xs:
                xs.append(math.nan)
                ys.append(math.nan)
            xs.append(self.at(epsilon, shift))
            ys.append(value)
        return xs, ys

    def steps(self, points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
        """The x and y of a stepped line that reaches half-way to the neighbours, broken before infinity."""
        xs: list[float] = []
        ys: list[float] = []
        places = [math.log1p(e) for e, _ in points if math.isfinite(e)]
        edges = [self.left, *((a + b) / 2 for a, b in itertools.pairwise(places)), self.end]
        for i, (epsilon, value) in enumerate(points):
            ends = (edges[i], edges[i + 1]) if math.isfinite(epsilon) else (self.end + 0.1 * self.step, self.right)
            gap = math.isinf(epsilon) and bool(xs)
            xs += [*([math.nan] * gap), *(math.expm1(end) for end in ends)]
            ys += [*([math.nan] * gap), value, value]
        return xs, ys

    def ticks(self, most: int = 9) -> dict[float, str]:
        """Axis values with their labels, the largest epsilon always among them."""
        every = max(1, math.ceil(len(self.finite) / most))
        named = {epsilon: setting(epsilon) for epsilon in reversed(self.finite[::-every])}
        return named | ({self.slot: "∞\n(no noise)"} if self.has_inf else {})


def log1p_ticks(limit: float) -> list[float]:
    """Round ticks from 0 to `limit` that keep their distance on a log(1 + y) axis."""
    candidates = [0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, *(2.0**k for k in range(1, 40))]
    ticks = [0.0]
    for tick in candidates[1:]:
        if tick <= limit and math.log1p(tick) - math.log1p(ticks[-1]) >= 0.09 * math.log1p(limit):
            ticks.append(tick)
    return ticks


def spread(places: Sequence[float], apart: float) -> list[float]:
    """The places, pushed up where they would be closer than `apart`."""
    result = list(places)
    last = -math.inf
    for i in sorted(range(len(places)), key=lambda i: places[i]):
        result[i] = last = max(places[i], last + apart)
    return result


def legend_width(labels: Sequence[str], columns: int) -> float:
    """About how wide a legend becomes, in inches."""
    chunks = np.array_split([len(label) for label in labels], columns)  # The first columns take what is left over.
    return sum(0.7 + 0.072 * int(chunk.max()) for chunk in chunks if len(chunk))
