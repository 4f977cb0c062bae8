"""The threat-model table: what each level of access gives an adversary, side by side."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from attacks.view import GRANTS, Access
from audit.curves import pipelines
from audit.report.tables import best
from audit.results import CellResult, RunResult
from audit.verdict import read_controls

LEVELS = tuple(sorted(Access, key=lambda access: (len(GRANTS[access]), list(Access).index(access))))
"""From the least released to the most."""


@dataclass(frozen=True)
class ThreatRow:
    """What a pipeline that releases this much, and no more, leaks at least.

    Attributes:
        pipeline: its name.
        epsilon: what it claims.
        access: what is released.
        attack: the attack, of all that this access allows, with the largest bound.
        lower_bound: that bound; chosen as in the table of attacks, and it holds with all others of the run.
        ceiling: the largest that it could have shown.
        parametric: true if the bound assumes the shape of the trade-off curve.
        seen: false if no attack that this access allows saw the canaries without noise (positive control): the bound
            then tells how weak those attacks are, and nothing about the level. True where there is no control.
    """

    pipeline: str
    epsilon: float
    access: Access
    attack: str
    lower_bound: float
    ceiling: float
    parametric: bool
    seen: bool = True


def threat_rows(result: RunResult) -> list[ThreatRow]:
    """One row for each level and claimed epsilon of every pipeline that was attacked at several levels.

    Whoever is granted more can run every attack that needs less, so bounds never fall from one level to one that
    contains it.
    """
    return [row for name, cells in pipelines(result).items() for row in _rows(name, cells)]


def _rows(name: str, cells: Iterable[CellResult]) -> list[ThreatRow]:
    cells = tuple(cells)
    used = {attack.access for cell in cells for attack in cell.attacks}
    levels = [level for level in LEVELS if level in used]
    if len(levels) < 2:
        return []
    rows = [_row(name, cell, level, _seen(cells, level)) for level in levels for cell in cells]
    return [row for row in rows if row is not None]


def _seen(cells: tuple[CellResult, ...], level: Access) -> bool:
    """Whether some attack that this level allows saw the canaries without noise, or nobody tried."""
    control = next((cell.attacks for cell in cells if cell.claim.is_control), None)
    seen = read_controls(control, (), level=0.0).seen
    return seen is None or any(a.attack in seen for cell in cells for a in cell.attacks if a.access in GRANTS[level])


def _row(name: str, cell: CellResult, level: Access, seen: bool) -> ThreatRow | None:
    found = [
        ThreatRow(name, cell.claim.epsilon, level, attack.attack, *best(attack.bounds), seen)
        for attack in cell.attacks
        if attack.access in GRANTS[level]
    ]
    bounded = [row for row in found if not math.isnan(row.lower_bound)]
    return max(bounded, key=lambda row: (not row.parametric, row.lower_bound), default=None)
