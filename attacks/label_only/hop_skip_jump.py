"""HopSkipJump: the least distance to the decision boundary, from labels alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from attacks.label_only.base import Floats, LabelOnly
from attacks.view import ArrayView
from canaries.errors import InputError
from canaries.randomness import generator
from canaries.records import ArrayRecords

ROOM = 1 << 24
"""Features in one query of all models, at most (but at least one canary's): 64 MB. It changes no score."""


@dataclass(frozen=True)
class HopSkipJump(LabelOnly):
    """Score = Euclidean distance from the canary to the decision boundary, negative where its label is not given.

    Chen, Jordan, Wainwright (2020), "HopSkipJumpAttack: A Query-Efficient Decision-Based Attack", Algorithm 2 for
    Euclidean distance: from a point on the boundary, estimate the boundary's normal from the labels of random points
    around it (their equation 9, with the mean as baseline), step along it, and bisect back towards the canary. As an
    attack on membership: Choquette-Choo et al. (2021), Li and Zhang (2021). A canary whose label the model does not
    give is moved to where it does, and its distance counts as negative.

    All models and canaries go through the same steps with the same random directions (drawn from the seed and the
    canary's id), each with points of its own, and every search has a fixed length, so every model gets equally many
    queries. Differences from the paper: the start is the nearest of `starts` random points whose answer differs, not
    the first; the step's length is the first that succeeds of `halvings` halvings asked at once; features are not
    clipped to a range; the best iterate counts, not the last. Where no start differs (as where the other side is a
    small island) the score is plus or minus `radius`. The implementation of adversarial-robustness-toolbox 1.20 is not
    used: it takes one model and one record at a time, draws its starts without a seed, and makes as many queries as the
    answers ask for.

    Attributes:
        iterations: steps; 0 bisects from the start alone.
        directions: random points around the boundary in the first step, sqrt(t) times as many in step t.
        bisections: queries of each bisection: the boundary is found to 2^-bisections of the distance.
        halvings: lengths tried in each step.
        starts: random points that are tried as a start, in equal numbers at each radius.
        radius: the farthest start, in the units of the features; others lie at half of it, a quarter, ... down to
            1/128.
    """

    name: ClassVar[str] = "hop-skip-jump"

    iterations: int = 6
    directions: int = 40
    bisections: int = 12
    halvings: int = 8
    starts: int = 64
    radius: float = 32.0

    def __post_init__(self) -> None:
        least = {"iterations": 0, "directions": 1, "bisections": 1, "halvings": 1, "starts": 1}
        for field, low in least.items():
            if getattr(self, field) < low:
                raise InputError(f"Expected {field} >= {low} for attack '{self.name}', got {getattr(self, field)}.")
        if not 0 < self.radius < math.inf:
            raise InputError(f"Expected a finite radius > 0 for attack '{self.name}', got {self.radius}.")

    @property
    def budget(self) -> int:
        """Queries for each canary."""
        steps = range(1, self.iterations + 1)
        around = sum(self.around(t) for t in steps)
        return 1 + self.starts + self.bisections + around + len(steps) * (self.halvings + self.bisections)

    def around(self, step: int) -> int:
        """Random points around the boundary in step 1, 2, ..."""
        return math.ceil(self.directions * math.sqrt(step))

    def measure(self, view: ArrayView, records: ArrayRecords, ids: tuple[str, ...], seed: int) -> Floats:
        """The signed distance, float64[models, canaries], in the units of the features."""
        size = int(np.prod(records.x.shape[1:]))
        widest = max(self.starts, self.halvings, self.around(max(1, self.iterations)))
        together = max(1, ROOM // (view.models * size * widest))
        parts = []
        for first in range(0, len(records), together):
            some = slice(first, first + together)
            parts.append(self._distance(_Side.of(view, records.take(some)), ids[some], seed))
        return np.concatenate(parts, axis=1)

    def _distance(self, side: _Side, ids: tuple[str, ...], seed: int) -> Floats:
        """[models, canaries]."""
        streams = [generator(seed, self.name, canary) for canary in ids]
        size = side.x.shape[1]

        def draw(count: int) -> Floats:
            unit = np.stack([stream.standard_normal((count, size)) for stream in streams])
            return unit / np.linalg.norm(unit, axis=2, keepdims=True)  # [canaries, count, size]

        radii = np.sort(self.radius * 0.5 ** (np.arange(self.starts) % 8))
        points = side.x[:, None] + radii[:, None] * draw(self.starts)
        crossed = side.other(np.broadcast_to(points, (side.view.models, *points.shape)))
        found = crossed.any(axis=2)
        first = crossed.argmax(axis=2)  # Radii rise, so the first is the nearest.
        current = side.bisect(points[np.arange(len(ids)), first], self.bisections)
        best = side.distance(current)
        for t in range(1, self.iterations + 1):
            away = side.distance(current)
            normal = self._normal(side, current, away / size, draw(self.around(t)))
            lengths = away[..., None] / math.sqrt(t) * 0.5 ** np.arange(self.halvings)
            tried = current[:, :, None] + lengths[..., None] * normal[:, :, None]
            ok = side.other(tried)
            chosen = np.take_along_axis(tried, ok.argmax(axis=2)[..., None, None], axis=2)[:, :, 0]
            moved = ok.any(axis=2, keepdims=True)
            current = side.bisect(np.where(moved, chosen, current), self.bisections)
            best = np.minimum(best, side.distance(current))
        return np.where(side.given, 1.0, -1.0) * np.where(found, np.minimum(best, self.radius), self.radius)

    def _normal(self, side: _Side, current: Floats, delta: Floats, unit: Floats) -> Floats:
        """float64[models, canaries, size]: the direction into the other side, of unit length."""
        points = current[:, :, None] + delta[..., None, None] * unit
        answer = np.where(side.other(points), 1.0, -1.0)
        mean = answer.mean(axis=2, keepdims=True)
        weight = np.where(np.abs(mean) < 1, answer - mean, mean)
        gradient = np.einsum("mcb,cbf->mcf", weight, unit)
        return gradient / np.maximum(np.linalg.norm(gradient, axis=2, keepdims=True), 1e-300)


@dataclass(frozen=True, eq=False)
class _Side:
    """Canaries, and for each model the side of its boundary that they are not on.

    Attributes:
        view: the models.
        shape: of one record.
        x: float64[canaries, size].
        y: int64[canaries].
        given: bool[models, canaries], whether the model gives the canary its label.
    """

    view: ArrayView
    shape: tuple[int, ...]
    x: Floats
    y: NDArray[np.int64]
    given: NDArray[np.bool_]

    @classmethod
    def of(cls, view: ArrayView, records: ArrayRecords) -> _Side:
        """One query for each canary."""
        x = records.x.reshape(len(records), -1).astype(np.float64)
        return cls(view, records.x.shape[1:], x, records.y, view.labels(records.x) == records.y)

    def other(self, points: Floats) -> NDArray[np.bool_]:
        """bool[models, canaries, n]: which points [models, canaries, n, size] lie on the other side."""
        models, canaries, n = points.shape[:3]
        asked = points.astype(np.float32).reshape(models, canaries * n, *self.shape)
        labels = self.view.labels_each(asked).reshape(models, canaries, n)
        return (labels == self.y[:, None]) != self.given[..., None]

    def bisect(self, far: Floats, steps: int) -> Floats:
        """float64[models, canaries, size]: just beyond the boundary, between the canaries and points beyond it."""
        near = np.broadcast_to(self.x, far.shape if far.ndim == 3 else (self.view.models, *far.shape))
        far = np.broadcast_to(far, near.shape)
        low, high = np.zeros(near.shape[:2]), np.ones(near.shape[:2])
        for _ in range(steps):
            middle = (low + high) / 2
            beyond = self.other((near + middle[..., None] * (far - near))[:, :, None])[:, :, 0]
            low, high = np.where(beyond, low, middle), np.where(beyond, middle, high)
        return near + high[..., None] * (far - near)

    def distance(self, points: Floats) -> Floats:
        """float64[models, canaries]."""
        return np.linalg.norm(points - self.x, axis=2)
