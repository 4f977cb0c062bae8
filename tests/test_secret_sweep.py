"""Sweeps over secrets: fresh ones in each model, several lengths, the figures that they give, the experiment files."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from attacks.scores import Scores
from audit import curves, plots
from audit.config import load, parse
from audit.plan import plan
from audit.report import write_report
from audit.results import Interval, RunResult
from audit.runs import load_result
from audit.secret_bits import MOST_BITS, allowed_by
from audit.sweeping import sweep
from audit.training.datasets.texts import ALPHABET
from audit.utility import TEXT_LOSS, UNIGRAM, unigram_loss
from canaries.errors import InputError

FILES = sorted((Path(__file__).parent.parent / "experiments").glob("*.toml"))
TINY = {
    "name": "tiny",
    "epsilons": (4.0,),
    "delta": 1e-5,
    "audits": (
        {
            "name": "text",
            "models": 3,
            "attacks": ({"name": "extraction", "width": 20, "samples": 8},),
            "estimators": ("secret-guess", "exposure-rank"),
            "data": {"name": "pydoc", "train": 40, "pool": 1, "test": 10},
            "canaries": {
                "design": {"name": "secrets", "digits": (1, 3), "repetitions": (1, 4)},
                "count": 8,
                "references": 4,
                "sets": 2,
            },
            "trainer": {
                "name": "ensemble",
                "model": {"name": "ngram", "hidden": 8, "context": 4},
                "steps": 2,
                "sample_rate": 0.5,
            },
        },
    ),
}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("secrets") / "run"
    sweep(parse(TINY), out)
    return out


@pytest.fixture(scope="module")
def result(done: Path) -> RunResult:
    return load_result(done)


def test_models_take_their_secrets_in_turn(done: Path) -> None:
    (work,) = plan(parse(TINY))
    first, second = work.sets
    assert first.ids == second.ids
    assert not {s.value for s in first.secrets if len(s.value) == 3} & {
        s.value for s in second.secrets if len(s.value) == 3
    }
    assert len({unit for cell in work.cells for unit in cell.units}) == 6
    frame = pd.read_parquet(done / "scores" / "text")
    assert frame.groupby("model")["secret_set"].unique().map(list).to_dict() == {0: [0], 1: [1], 2: [0]}


def test_a_models_scores_do_not_depend_on_the_number_of_sets(done: Path, tmp_path: Path) -> None:
    table = json.loads(json.dumps(TINY))
    table["audits"][0]["canaries"]["sets"] = 1
    sweep(parse(table), tmp_path / "one")
    keys = ["epsilon", "canary"]
    one, two = (
        pd.read_parquet(out / "scores" / "text").query("model == 0").sort_values(keys).reset_index(drop=True)
        for out in (tmp_path / "one", done)
    )
    pd.testing.assert_frame_equal(one[["canary", "score", "exposure"]], two[["canary", "score", "exposure"]])


def test_secrets_of_each_length_are_a_row_of_their_own(result: RunResult) -> None:
    for cell in result.cells:
        rows = cell.attacks[0].extraction
        assert {(r.repetitions, round(2**r.exposure_max)) for r in rows} == {
            (count, size) for count in (0, 1, 4) for size in (10, 1000)
        }
        for row in rows:
            assert [k for k, _ in row.top] == [1, 100]
            assert not row.secrets or 0 <= row.exposure <= row.exposure_max + 1e-9
            if row.repetitions and not cell.claim.is_control:
                assert row.allowed == allowed_by(cell.claim, row.repetitions)(2**-row.exposure_max)
            else:
                assert row.allowed is None
        assert {b.estimator for b in cell.attacks[0].bounds} == {"secret-guess", "exposure-rank"}
    assert result.cells[0].claim.unit == "window of 40 characters"


def test_figures_of_secrets_draw_the_runs_own_numbers(result: RunResult, tmp_path: Path) -> None:
    secrets, bits, utility = plots.secrets(result), plots.bits(result), plots.utility(result)
    assert secrets is not None
    assert bits is not None
    assert utility is not None
    assert len([ax for ax in secrets.axes if ax.get_visible()]) == 4  # two counts, two lengths
    for ax in secrets.axes:
        assert {"top-1 extraction", "top-100 extraction", plots.ALLOWED, plots.CONTROL} <= {
            line.get_label() for line in ax.lines
        }
    needed, *lengths = [ax for ax in bits.axes if ax.get_visible()]
    points = curves.bits_needed(result.cells)
    assert sorted(points) == [1, 4]
    for count, found in points.items():
        ((epsilon, value),) = found
        assert epsilon == 4.0
        allowed = allowed_by(result.cells[0].claim, count)
        assert allowed(2**-value) <= 0.01 < allowed(2 ** -(value - 0.01)) * 1.02
    assert len(lengths) == 2
    (drawn,) = [line for line in lengths[0].lines if str(line.get_label()).startswith("ε = 4")]
    np.testing.assert_allclose(drawn.get_xdata(), np.log2([10, 1000]), atol=0.06)  # beside the control's
    assert UNIGRAM in {line.get_label() for line in utility.axes[0].lines}
    assert needed.get_yscale() == "log"
    renyi, claim = (next(x for x in lengths[0].lines if x.get_label() == name) for name in ("_renyi", "_allowed"))
    assert (np.diff(renyi.get_ydata()) <= 0).all()
    assert (np.asarray(renyi.get_ydata()) >= 2.0 ** -np.asarray(renyi.get_xdata())).all()
    np.testing.assert_array_equal(renyi.get_xdata(), claim.get_xdata())
    write_report(result, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "window of 40 characters" in page
    assert "The claim covers one copy" in page


def test_bits_without_end_stand_at_the_edge_and_records_are_told_from_epsilons(result: RunResult) -> None:
    claims = (result.cells[0].claim, replace(result.cells[0].claim, epsilon=500.0, delta=0.02, mechanism=None))
    cells = tuple(replace(result.cells[0], claim=claim) for claim in claims)
    assert [bits[1][1] for bits in curves.bits_needed(cells).values()] == [math.inf, math.inf]
    figure = plots.bits(replace(result, cells=cells))
    assert figure is not None
    edge = [line for line in figure.axes[0].lines if str(line.get_label()).startswith("_endless")]
    assert [list(line.get_ydata()) for line in edge] == [[MOST_BITS], [MOST_BITS]]
    looks = {
        (line.get_color(), line.get_marker())
        for ax in figure.axes
        for line in ax.lines
        if str(line.get_label()).endswith(("record", "records")) or str(line.get_label()).startswith("ε = ")
    }
    assert len(looks) == 4


def test_estimated_exposures_are_hollow_and_models_no_better_than_unigram_stand_in_a_band(result: RunResult) -> None:
    cell = result.cells[0]
    bad = replace(cell, utility={**cell.utility, TEXT_LOSS: cell.utility[UNIGRAM]})
    good = replace(cell, utility={**cell.utility, TEXT_LOSS: Interval(0.5, 0.5, 0.5)})
    rows = tuple(replace(row, exact=0.5) for row in cell.attacks[0].extraction)
    guessed = replace(good, attacks=(replace(cell.attacks[0], extraction=rows),))
    counted = replace(bad, attacks=(replace(cell.attacks[0], extraction=tuple(replace(r, exact=1.0) for r in rows)),))
    assert curves.unlearnt((bad,)) == (cell.claim.epsilon,)
    assert curves.unlearnt((good,)) == ()
    for shown, hollow, band in ((guessed, True, False), (counted, False, True)):
        for draw in (plots.extraction, plots.secrets, plots.utility):
            figure = draw(replace(result, cells=(shown,)))
            assert figure is not None
            names = {text.get_text() for text in figure.legends[0].get_texts()}
            assert (plots.UNLEARNT in names) == band
            assert (plots.ESTIMATED in names) == (hollow and draw is plots.extraction)


def test_means_of_what_is_proven_of_exposures_are_those_of_the_evidence(result: RunResult) -> None:
    attack = result.cells[0].attacks[0]
    scores = attack.scores
    (row,) = [row for row in attack.extraction if row.exact < 1 and row.repetitions]  # one digit is always counted
    here = scores.member & (scores.repetitions == row.repetitions) & ~scores.reference & (scores.space == 1000)
    floor, cap = (scores.evidence[f"exposure_{name}"][here].mean() for name in ("floor", "cap"))
    assert (row.exposure_floor, row.exposure_cap) == pytest.approx((floor, cap))
    assert floor < row.exposure < cap


def test_estimated_exposures_have_a_whisker_between_what_is_proven_of_them(result: RunResult) -> None:
    cell = result.cells[0]
    rows = tuple(
        replace(row, exact=0.5, exposure=3.0, exposure_floor=float(row.repetitions), exposure_cap=4.0 + row.repetitions)
        for row in cell.attacks[0].extraction
        if row.exposure_max > 4
    )
    figure = plots.extraction(
        replace(result, cells=(replace(cell, attacks=(replace(cell.attacks[0], extraction=rows),)),))
    )
    assert figure is not None
    ax = figure.axes[1]
    whiskers = [s for bars in ax.collections if bars.get_label() == "_proven" for s in bars.get_segments()]
    assert [list(segment[:, 1]) for segment in whiskers] == [[1.0, 5.0], [4.0, 8.0]]  # none for "never inserted"
    hollow, ends = ([line for line in ax.lines if line.get_label() == name] for name in ("_estimated", "_ends"))
    assert [set(segment[:, 0]) for segment in whiskers] == [set(line.get_xdata()) for line in hollow]
    assert [set(line.get_xdata()) for line in ends] == [set(line.get_xdata()) for line in hollow]
    assert [list(line.get_ydata()) for line in ends] == [[1.0, 5.0], [4.0, 8.0]]
    assert whiskers[0][0, 0] < whiskers[1][0, 0]  # side by side
    assert plots.PROVEN in {text.get_text() for text in figure.legends[0].get_texts()}


@pytest.mark.parametrize("change", [{"exact": 1.0}, {"exposure_floor": math.nan}], ids=["counted", "told nothing"])
def test_other_exposures_have_no_whisker(result: RunResult, change: dict[str, float]) -> None:
    cell = result.cells[0]
    rows = tuple(replace(row, **change) for row in cell.attacks[0].extraction)
    bare = replace(cell, attacks=(replace(cell.attacks[0], extraction=rows),))
    figure = plots.extraction(replace(result, cells=(bare,)))
    assert figure is not None
    assert "_proven" not in {bars.get_label() for ax in figure.axes for bars in ax.collections}
    assert plots.PROVEN not in {text.get_text() for text in figure.legends[0].get_texts()}
    exposures = [line for line in figure.axes[1].lines if str(line.get_label()).startswith(("1 cop", "4 cop"))]
    bars = {round(s[0, 0], 9): s[:, 1] for c in figure.axes[1].collections for s in c.get_segments()}
    assert len({line.get_xdata()[0] for line in exposures}) == 2  # side by side, for each has the bar of its interval
    for line in exposures:
        low, high = bars[round(line.get_xdata()[0], 9)]
        assert low < line.get_ydata()[0] < high


def test_an_attack_that_never_names_the_likeliest_value_has_no_panel_of_lengths(result: RunResult) -> None:
    def only(keep: tuple[int, ...]) -> RunResult:
        """As if the attack looked at these numbers of values alone."""
        cells = []
        for cell in result.cells:
            rows = [replace(row, top=tuple((k, row.top[0][1]) for k in keep)) for row in cell.attacks[0].extraction]
            cells.append(replace(cell, attacks=(replace(cell.attacks[0], extraction=tuple(rows)),)))
        return replace(result, cells=tuple(cells))

    for keep, panels in (((1, 10), 3), ((10,), 1), (tuple(range(10, 40)), 1)):
        changed = only(keep)
        figure = plots.bits(changed)
        assert figure is not None
        assert len([ax for ax in figure.axes if ax.get_visible()]) == panels  # What the claim needs, and two counts.
        figure = plots.secrets(changed)
        assert figure is not None
        named = {line.get_label() for line in figure.axes[0].lines} | {
            text.get_text() for text in figure.legends[0].get_texts()
        }
        assert {f"top-{k} extraction" for k in keep} <= named
        assert bool(curves.length_series(changed.cells)) == (1 in keep)


def test_without_ranked_secrets_there_are_no_such_figures(result: RunResult) -> None:
    bare = replace(
        result,
        cells=tuple(replace(c, attacks=tuple(replace(a, extraction=()) for a in c.attacks)) for c in result.cells),
    )
    assert plots.secrets(bare) is None
    assert plots.bits(bare) is None


def test_unigram_loss_is_that_of_character_counts() -> None:
    counts = {"a": 3 + 1, "b": 1 + 1, "c": 0 + 1}
    expected = -(math.log(counts["a"] / 7) + math.log(counts["c"] / 7)) / 2
    assert unigram_loss(["aab", "a"], ["ac"]) == pytest.approx(expected)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_experiment_files_are_valid(path: Path) -> None:
    assert load(path).all_epsilons[-1] == math.inf


def test_models_with_other_secrets_are_centred_apart() -> None:
    rng = np.random.default_rng(0)
    level = rng.normal(0, 50, (2, 30))  # of each secret, by set
    sets = np.arange(8) % 2
    scores = Scores.from_matrix(level[sets] + rng.normal(size=(8, 30)), rng.random((8, 30)) < 0.5, "canary")
    apart = replace(scores, secret_set=sets).centred().score
    assert np.abs(apart).max() < 10 < np.abs(scores.score).max()
    assert not np.allclose(apart, scores.centred().score)
    fresh = replace(scores, secret_set=np.arange(8))
    np.testing.assert_array_equal(fresh.centred().score, scores.score)


@pytest.mark.parametrize("attack", ["extraction", "best-first", "decoding", "sampling"])
@pytest.mark.parametrize("trainer", ["ensemble", "opacus"])
def test_secrets_that_no_attack_could_spell_are_refused_before_training(attack: str, trainer: str) -> None:
    table: dict[str, Any] = json.loads(json.dumps(TINY))
    audit = table["audits"][0]
    audit |= {"attacks": [attack], "estimators": ["secret-guess"], "models": 1}
    audit["canaries"]["sets"] = 1
    audit["canaries"]["design"] = {"name": "secrets", "template": "{name} {digits:1}\u00e9{digits:1}"}
    audit["trainer"] |= {"name": trainer, "model": {"name": "ngram", "hidden": 8, "tokens": "bytes"}}
    with pytest.raises(InputError, match=r"secrets may hold ASCII characters alone, got '0123456789\u00e9'"):
        plan(parse(table))
    audit |= {"attacks": ["secret-membership"], "estimators": ["one-run"]}  # which spells nothing
    (work,) = plan(parse(table))
    assert "\u00e9" in work.sets[0].secrets[0].value


@pytest.mark.parametrize("trainer", ["ensemble", "opacus", "non-private"])
def test_canaries_outside_the_alphabet_are_named_with_the_way_out(trainer: str) -> None:
    table: dict[str, Any] = json.loads(json.dumps(TINY))
    audit = table["audits"][0]
    audit["canaries"]["design"] = {"name": "secrets", "template": "{name} {email:2}"}
    audit["trainer"] |= {"name": trainer}
    table["epsilons"] = [math.inf]
    sentence = (
        r"^The texts of 'secrets' canaries do not fit the model: Character '@' at place 9 of text 0 is outside .*; "
        r'tokens = "bytes" or a larger `alphabet` would hold it\.$'
    )
    with pytest.raises(InputError, match=sentence):
        plan(parse(table))
    for way_out in ({"tokens": "bytes"}, {"alphabet": ALPHABET + "@"}):
        audit["trainer"]["model"] = {"name": "ngram", "hidden": 8, "context": 4, **way_out}
        (work,) = plan(parse(table))
        assert "@example." in work.sets[0].secrets[0].value
