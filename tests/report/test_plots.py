"""The plots draw the run's own numbers, and draw them again byte for byte."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from audit import curves, plots
from audit.results import Interval, RunResult
from audit.themes import DARK


def lines(ax: Any) -> dict[str, Any]:
    return {line.get_label(): line for line in ax.lines}


def xy(line: Any) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)


def bars(ax: Any) -> set[tuple[float, ...]]:
    """The ends of the vertical lines that stand at points."""
    return {tuple(segment[:, 1].round(6).tolist()) for c in ax.collections for segment in c.get_segments()}


def test_bound_points_are_the_bounds_and_infinity_stands_beyond_a_break(result: RunResult):
    figure = plots.bounds(result)
    assert figure is not None
    digits, text = figure.axes
    cells = curves.pipelines(result)["digits"]
    slot = curves.EpsilonAxis(curves.epsilons(cells)).slot
    for i, name in enumerate(("clopper-pearson", "gdp (parametric: assumes a curve)", "one-run")):
        x, y = xy(lines(digits)[f"loss · {name}"])
        np.testing.assert_allclose(x, [1, 2, 4, 8, math.nan, slot])
        np.testing.assert_array_equal(np.delete(y, 4), [cell.attacks[0].bounds[i].epsilon for cell in cells])
        assert math.isnan(y[4])
    assert [tick.get_text() for tick in digits.get_xticklabels()] == ["1", "2", "4", "8", "∞\n(no noise)"]
    assert slot > 8
    assert digits.get_title("left") == "digits"
    assert text.get_title("left") == "pydoc text"


def test_the_claim_is_the_diagonal_and_straight(result: RunResult):
    figure = plots.bounds(result)
    assert figure is not None
    ax = figure.axes[0]
    x, y = xy(lines(ax)[plots.CLAIM])
    np.testing.assert_array_equal(x, y)
    assert x[0] < 1
    assert x[1] > 8
    assert ax.get_xscale() == ax.get_yscale() == "function"


def test_ceilings_are_drawn_once_each_and_named(result: RunResult):
    figure = plots.bounds(result)
    assert figure is not None
    ax = figure.axes[0]
    drawn = [xy(line)[1] for line in ax.lines if line.get_label() == plots.CEILING]
    assert [set(y[~np.isnan(y)]) for y in drawn] == [{3.2767}, {4.618}, {2.914}]
    assert {text.get_text() for text in ax.texts} >= {"≤ 3.28 clopper-pearson", "≤ 4.62 gdp", "≤ 2.92 one-run"}


def test_parametric_series_are_hollow_and_dashed(result: RunResult):
    figure = plots.bounds(result)
    assert figure is not None
    for label, line in lines(figure.axes[0]).items():
        if "·" in label:
            assert (line.get_linestyle() == "--") == ("parametric" in label)
            assert (line.get_markerfacecolor() == "#ffffff") == ("parametric" in label)


def test_the_legend_names_every_series_once(result: RunResult):
    figure = plots.bounds(result)
    assert figure is not None
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(names) == len(set(names)) == 10
    assert names[-3:] == [plots.CLAIM, plots.CEILING, plots.REFUTED]


def test_extraction_draws_rate_exposure_and_auc_by_repetition(result: RunResult):
    figure = plots.extraction(result)
    assert figure is not None
    rate, exposure, auc = figure.axes
    assert list(xy(lines(rate)["16 copies"])[1][[0, 3, 5]]) == [0, 0, 96]
    assert list(xy(lines(exposure)["never inserted"])[1][:4]) == [1.4, 1.5, 1.4, 1.3]
    assert list(xy(lines(auc)["1 copy"])[1][[0, 5]]) == [0.5, 0.71]
    assert "never inserted" not in lines(auc)
    assert lines(exposure)["best possible"].get_ydata()[0] == pytest.approx(math.log2(1e8))
    assert lines(exposure)["chance"].get_ydata()[0] == pytest.approx(1.4427, abs=1e-3)
    assert (88.0, 100.0) in bars(rate)
    assert {(0.7, 1.45), (25.8, 26.55)} <= bars(exposure)  # never inserted at epsilon 1; 16 copies without noise
    assert {(0.38, 1.0), (0.88, 1.0)} <= bars(auc)
    assert not any(low < 0.38 for low, _ in bars(auc))


def test_each_curve_of_extraction_stands_beside_its_own_control(result: RunResult):
    figure = plots.extraction(result)
    assert figure is not None
    for ax, levels in zip(figure.axes, ([0, 96], [3.0, 26.5], [0.71, 1.0]), strict=True):
        dashed = [line for line in ax.lines if line.get_label() == "_control"]
        assert sorted(line.get_ydata()[0] for line in dashed) == pytest.approx(levels)
        colours = [lines(ax)[label].get_color() for label in ("1 copy", "16 copies")]
        assert [line.get_color() for line in dashed] == colours
    assert "without noise, same learning rate" in {text.get_text() for text in figure.legends[0].get_texts()}
    noisy = plots.extraction(replace(result, cells=tuple(c for c in result.cells if not c.claim.is_control)))
    assert noisy is not None
    assert not [line for ax in noisy.axes for line in ax.lines if line.get_label() == "_control"]


@pytest.mark.parametrize("count", [3, 8, 9])
def test_a_legend_is_as_wide_as_its_columns(count: int):
    labels = ["a", "long label"] + ["b"] * (count - 2)
    short, long = 0.7 + 0.072, 0.7 + 0.072 * 10
    assert curves.legend_width(labels, 1) == pytest.approx(long)
    assert curves.legend_width(labels, count) == pytest.approx(long + (count - 1) * short)
    assert curves.legend_width(["x"] * 8, 6) == pytest.approx(6 * short)  # two columns of two, four of one


def test_an_attack_that_ranks_nothing_has_no_panel_of_exposure(result: RunResult):
    unranked = tuple(
        replace(
            cell,
            attacks=tuple(
                replace(a, extraction=tuple(replace(row, exposure=math.nan) for row in a.extraction))
                for a in cell.attacks
            ),
        )
        for cell in result.cells
    )
    for shown, visible in ((result, 3), (replace(result, cells=unranked), 2)):
        figure = plots.extraction(shown)
        assert figure is not None
        assert sum(ax.get_visible() for ax in figure.axes[:3]) == visible


def test_roc_starts_at_the_floor_that_the_sample_allows(result: RunResult):
    figure = plots.roc(result)
    assert figure is not None
    ax = figure.axes[0]
    floor = min(curves.smallest_rate(c.attacks[0].scores) for c in result.cells[:5]) / 1.5
    assert ax.get_xlim() == pytest.approx((floor, 1))
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert list(lines(ax)) == ["random guess", "ε = 1", "ε = 2", "ε = 4", "ε = 8", "ε = ∞ (no noise)"]
    fpr, tpr = curves.roc(result.cells[3].attacks[0].scores) or ()
    np.testing.assert_array_equal(xy(lines(ax)["ε = 8"])[1], np.maximum(tpr, floor))
    np.testing.assert_array_equal(xy(lines(ax)["ε = 8"])[0], np.maximum(fpr, floor))


def test_utility_has_one_panel_for_each_measure(result: RunResult):
    figure = plots.utility(result)
    assert figure is not None
    assert [ax.get_ylabel() for ax in figure.axes] == ["accuracy", "test loss (nats)"]
    assert list(xy(figure.axes[0].lines[0])[1][[0, 3, 5]]) == [0.71, 0.90, 0.94]


def test_panels_without_content_are_left_out(result: RunResult, empty: RunResult):
    assert plots.figures(empty) == {}
    bare = tuple(replace(c, attacks=(), utility={}) for c in result.cells)
    assert plots.figures(replace(result, cells=bare)) == {}
    digits = replace(result, cells=result.cells[:5])
    assert list(plots.figures(digits)) == ["bounds", "roc", "utility"]


def test_values_that_are_not_finite_are_drawn_around(result: RunResult):
    cell = result.cells[3]
    nan = Interval(math.nan, math.nan, math.nan)
    bounds = tuple(replace(b, ceiling=math.inf) for b in cell.attacks[0].bounds)
    odd = replace(cell, attacks=(replace(cell.attacks[0], bounds=bounds, auc=nan),), utility={"accuracy": nan})
    control = replace(result.cells[4], utility={})
    for run in (
        replace(result, cells=(odd, control)),
        replace(result, cells=(control,)),
        replace(result, cells=(odd,)),
    ):
        for figure in plots.figures(run).values():
            assert plots.svg(figure)


def test_files_are_valid_and_the_same_again(result: RunResult, tmp_path: Path):
    text = replace(result, cells=result.cells[5:])
    first = plots.save_plots(text, tmp_path / "a" / "plots")
    second = plots.save_plots(text, tmp_path / "b")
    names = ("bounds", "extraction", "bits", "roc", "utility")
    assert [p.name for p in first] == [f"{name}.{kind}" for name in names for kind in ("png", "svg")]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
        if one.suffix == ".svg":
            assert ET.fromstring(one.read_bytes()).tag == "{http://www.w3.org/2000/svg}svg"
            assert b"<dc:date>" not in one.read_bytes()
        else:
            assert one.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
            assert b"IEND" in one.read_bytes()[-12:]


def test_another_process_draws_the_same_bytes(result: RunResult):
    code = (
        f"import sys, hashlib; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from conftest import make_result; from audit import plots\n"
        "print(hashlib.sha256(plots.svg(plots.utility(make_result()))).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    figure = plots.utility(result)
    assert figure is not None
    assert done.stdout.strip() == hashlib.sha256(plots.svg(figure)).hexdigest()


def test_users_text_is_neither_mathematics_nor_a_warning(hostile: RunResult):
    figures = plots.figures(replace(hostile, cells=hostile.cells[3:9]), DARK)
    assert list(figures) == ["bounds", "extraction", "bits", "roc", "utility"]
    for figure in figures.values():
        tags = {element.tag.split("}")[-1] for element in ET.fromstring(plots.svg(figure)).iter()}
        assert not tags & {"script", "image", "foreignObject", "a"}
