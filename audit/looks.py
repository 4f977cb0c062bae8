"""How often a run directory was looked at: every experiment that was swept there, in order."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any

from audit.config import Experiment
from audit.store import RunDirectory, jsonable


@dataclass(frozen=True)
class Looks:
    """The looks that were taken in a directory.

    Attributes:
        taken: digests of the experiments that were looked at, in order; "" for one that is not known any more.
        plain: whether the first was a plain sweep, which may spend the whole error.
    """

    taken: tuple[str, ...] = ()
    plain: bool = False

    @classmethod
    def of(cls, run: RunDirectory) -> Looks:
        """What run.json says; an earlier version did not write down a plain sweep, but its experiment is there."""
        if not run.exists():
            return cls()
        manifest = run.manifest()
        taken = tuple(manifest.get("looks") or [""] * (manifest.get("look") or 0))
        if not taken:
            return cls((_digest(manifest.get("experiment", {})),), plain=True)
        return cls(taken, bool(manifest.get("plain", False)))

    def after(self, experiment: Experiment, look: int | None) -> Looks:
        """With this experiment, which is look number `look` at least; None for a plain sweep."""
        mine = _digest(experiment.plain())
        if mine in self.taken:
            return self
        if not self.taken and look is None:
            return Looks((mine,), plain=True)
        return replace(self, taken=(*self.taken, *[""] * ((look or 1) - 1 - len(self.taken)), mine))

    def number(self, experiment: Experiment) -> int | None:
        """Which look the experiment is; None for the plain sweep that the directory began with."""
        number = self.taken.index(_digest(experiment.plain())) + 1
        return None if self.plain and number == 1 else number


def _digest(experiment: dict[str, Any]) -> str:
    """Equal where two looks judge the same models alike; a policy does not count."""
    plain = {key: value for key, value in experiment.items() if key not in ("name", "gate")}
    return hashlib.sha256(json.dumps(jsonable(plain), sort_keys=True).encode()).hexdigest()[:16]
