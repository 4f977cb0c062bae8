"""The rows behind the page and the terminal hold the run's own numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from attacks.scores import Scores
from audit import curves
from audit.report import tables
from audit.results import RunResult


def test_verdicts_are_the_cells(result: RunResult):
    rows = tables.verdict_rows(result)
    assert [(r.pipeline, r.epsilon) for r in rows] == [(c.audit, c.claim.epsilon) for c in result.cells]
    for row, cell in zip(rows, result.cells, strict=True):
        assert row.verdict is cell.verdict
        if cell.verdict:
            assert (row.lower_bound, row.ceiling) == (cell.verdict.lower_bound, cell.verdict.ceiling)
            assert row.control_p is None
    assert rows[4].lower_bound == 3.2767
    assert rows[2].models_done < rows[2].models_planned


def test_a_control_pays_for_its_number_of_attacks(result: RunResult):
    control = result.cells[4]
    attacks = tuple(replace(a, seen_p=p) for a, p in zip(control.attacks, (0.02, 0.3), strict=True))
    run = replace(result, cells=(replace(control, attacks=attacks),))
    assert tables.verdict_rows(run)[0].control_p == pytest.approx(0.04)


def test_attacks_stay_together_and_their_best_bound_assumes_no_curve(result: RunResult):
    rows = tables.attack_rows(result)
    assert [r.attack for r in rows] == ["loss"] * 5 + ["noise-robustness"] * 5 + ["exposure"] * 5
    assert [r.lower_bound for r in rows[:5]] == [0, 0.1234, 0.5678, 1.2345, 3.2767]
    assert {r.ceiling for r in rows[:10]} == {3.2767}
    assert not any(r.parametric for r in rows)


def test_a_parametric_bound_stands_in_only_where_there_is_no_other(result: RunResult):
    attack = result.cells[3].attacks[0]
    only = replace(attack, bounds=tuple(b for b in attack.bounds if b.parametric))
    none = replace(attack, bounds=())
    run = replace(result, cells=(replace(result.cells[3], attacks=(only, none)),))
    first, second = tables.attack_rows(run)
    assert first.parametric
    assert first.lower_bound == only.bounds[0].epsilon
    assert math.isnan(second.lower_bound)


def test_secrets_are_covered_by_the_group_guarantee(result: RunResult):
    rows = tables.extraction_rows(result)
    assert [r.found.repetitions for r in rows] == [0] * 5 + [1] * 5 + [16] * 5
    by = {(r.found.repetitions, r.epsilon): r for r in rows}
    assert by[16, 8.0].covered_by == (128, 1.0)  # a delta of 1: nothing is guaranteed
    assert by[1, 8.0].covered_by == (8, 1e-5)
    assert by[0, math.inf].covered_by == (0, 0)
    assert by[16, math.inf].covered_by == (math.inf, 1.0)


def test_every_bound_is_in_the_rows_and_in_one_group(result: RunResult):
    bounds = [b for c in result.cells for a in c.attacks for b in a.bounds]
    assert {id(r.bound) for r in tables.bound_rows(result)} == {id(b) for b in bounds}
    groups = tables.bound_groups(result)
    assert sorted(id(b) for g in groups for b in g.bounds.values()) == sorted(id(b) for b in bounds)
    assert len(groups) == 7
    assert list(groups[0].samples) == [""]
    assert list(groups[-1].samples) == ["1", "2", "4", "8", "inf"]


def test_bounds_that_need_other_things_are_not_thrown_together(result: RunResult):
    cell = result.cells[0]
    bound = cell.attacks[0].bounds[0]
    twice = replace(cell.attacks[0], bounds=(bound, bound, replace(bound, delta=1e-6)))
    groups = tables.bound_groups(replace(result, cells=(replace(cell, attacks=(twice,)),)))
    assert [g.shared.delta for g in groups] == [1e-5, 1e-5, 1e-6]
    names = [s.estimator for s in curves.bound_series((replace(cell, attacks=(twice,)),))]
    assert names == ["clopper-pearson", "clopper-pearson #2", "clopper-pearson #3"]


def test_a_second_cell_at_one_epsilon_is_not_hidden(result: RunResult):
    run = replace(result, cells=(result.cells[0],) * 3)
    assert list(curves.pipelines(run)) == ["digits", "digits #2", "digits #3"]
    assert len(tables.verdict_rows(run)) == 3


def test_claims_and_utility(result: RunResult):
    assert [r.noise_multiplier for r in tables.claim_rows(result)[:5]] == [3.1, 1.73, 1.02, None, 0.0]
    assert [r.utility.value for r in tables.utility_rows(result)[:5]] == [0.71, 0.80, 0.86, 0.90, 0.94]
    assert tables.claimed_epsilons(result) == (1, 2, 4, 8, math.inf)


def test_roc_of_a_perfect_a_blind_and_a_one_sided_attack():
    member = np.array([[True, False, True, False]])
    perfect = Scores.from_matrix(member.astype(float), member, "canary")
    assert [list(x) for x in curves.roc(perfect) or ()] == [[0, 0, 1], [0, 1, 1]]
    blind = Scores.from_matrix(np.zeros((1, 4)), member, "canary")
    assert [list(x) for x in curves.roc(blind) or ()] == [[0, 1], [0, 1]]
    assert curves.roc(replace(perfect, reference=np.array([False, True, False, True]))) is None


def test_chance_exposure_is_the_mean_over_ranks():
    ranks = np.arange(1, 1001)
    assert curves.chance_exposure(math.log2(1000)) == pytest.approx(np.mean(math.log2(1000) - np.log2(ranks)))
    assert curves.chance_exposure(100.0) == pytest.approx(1 / math.log(2))
