"""The threat-model table: the best that each level of access allows."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import pytest
from rich.console import Console

from attacks.view import GRANTS, Access
from audit.report import print_report, render
from audit.report.threat_model import LEVELS, threat_rows
from audit.results import AttackResult, CellResult, RunResult


def test_levels_come_in_order_of_what_they_grant():
    assert set(LEVELS) == set(Access)
    for i, level in enumerate(LEVELS):
        assert not any(GRANTS[level] < GRANTS[earlier] for earlier in LEVELS[:i])


@pytest.fixture
def cell(result: RunResult) -> CellResult:
    """Five levels, of which two in the middle are weaker than what stands below them."""
    base = result.cells[3].attacks[0]

    def attack(name: str, access: str, epsilon: float) -> AttackResult:
        return replace(base, attack=name, access=access, bounds=(replace(base.bounds[0], epsilon=epsilon),))

    found = (
        attack("gradient", "gradients", 2.5),
        attack("loss", "loss", 1.5),
        attack("gap", "labels", 0.5),
        attack("weights", "weights", 1.0),
        attack("confidence", "probabilities", 0.2),
    )
    return replace(result.cells[3], attacks=found)


def test_more_access_never_shows_less(result: RunResult, cell: CellResult):
    rows = threat_rows(replace(result, cells=(cell,)))
    assert [(r.access, r.attack, r.lower_bound) for r in rows] == [
        ("labels", "gap", 0.5),
        ("loss", "loss", 1.5),
        ("probabilities", "loss", 1.5),
        ("weights", "loss", 1.5),
        ("gradients", "gradient", 2.5),
    ]


def test_one_level_needs_no_table(result: RunResult, cell: CellResult):
    one = replace(cell, attacks=cell.attacks[:1])
    odd = replace(cell, attacks=(cell.attacks[0], replace(cell.attacks[1], access="something else")))
    assert threat_rows(replace(result, cells=(one,))) == []
    assert threat_rows(replace(result, cells=(odd,))) == []


def test_a_level_without_bounds_is_left_out(result: RunResult, cell: CellResult):
    attacks = tuple(replace(a, bounds=()) if a.attack == "gap" else a for a in cell.attacks)
    rows = threat_rows(replace(result, cells=(replace(cell, attacks=attacks),)))
    assert "labels" not in {row.access for row in rows}
    assert not any(math.isnan(row.lower_bound) for row in rows)


def test_a_bound_that_assumes_no_curve_comes_first(result: RunResult, cell: CellResult):
    parametric = replace(cell.attacks[0], bounds=(replace(cell.attacks[0].bounds[0], epsilon=4.0, parametric=True),))
    rows = threat_rows(replace(result, cells=(replace(cell, attacks=(parametric, *cell.attacks[1:])),)))
    assert (rows[-1].attack, rows[-1].parametric) == ("loss", False)


def test_the_terminal_shows_it(result: RunResult, cell: CellResult):
    console = Console(file=io.StringIO(), width=120)
    print_report(replace(result, cells=(cell,)), console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    line = next(line for line in text.splitlines() if "released: gradients" in line)
    assert line.split()[-1] == "2.50"


def test_a_level_whose_attacks_miss_the_canaries_without_noise_is_inconclusive(result: RunResult, cell: CellResult):
    """The label attack sees nothing even without noise; whoever gets more is judged by what sees them."""

    def seen_without_noise(p_values: dict[str, float]) -> list[tuple[str, bool]]:
        attacks = tuple(replace(a, seen_p=p_values.get(a.attack, 1e-9)) for a in cell.attacks)
        control = replace(cell, claim=replace(cell.claim, epsilon=math.inf), attacks=attacks)
        weak = replace(cell, attacks=tuple(replace(a, seen_p=0.5) for a in cell.attacks))
        found = replace(result, cells=(weak, control))
        return [(row.access, row.seen) for row in threat_rows(found) if row.epsilon == cell.claim.epsilon]

    assert all(seen for _, seen in seen_without_noise({}))
    assert seen_without_noise({"gap": 0.4}) == [
        ("labels", False),
        ("loss", True),
        ("probabilities", True),
        ("weights", True),
        ("gradients", True),
    ]
    assert all(row.seen for row in threat_rows(replace(result, cells=(cell,))))


def test_the_reports_say_inconclusive_and_show_no_bound(result: RunResult, cell: CellResult):
    blind = tuple(replace(a, seen_p=0.4 if a.attack == "gap" else 1e-9) for a in cell.attacks)
    found = replace(result, cells=(cell, replace(cell, claim=replace(cell.claim, epsilon=math.inf), attacks=blind)))
    console = Console(file=io.StringIO(), width=120)
    print_report(found, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    line = next(line for line in text.splitlines() if "released: labels" in line)
    assert "inconclusive" in line
    assert "0.50" not in line
    page = render(found)
    assert page.count('<span class="quiet">inconclusive</span>') == 2
