"""The page: everything is there, nothing is loaded, and nothing that a user wrote becomes markup."""

from __future__ import annotations

import base64
import math
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from audit import plots
from audit.formatting import confidence, lower, number, upper
from audit.report import render, write_report
from audit.results import Interval, Outcome, RunResult, ScopedInterval

VOID = {"meta", "img", "br", "source"}
EVIL_TAG = "<script>alert"


class Page(HTMLParser):
    """Tags, attributes, and the text of the page; checks that tags nest."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.headings: list[str] = []
        self.words: list[str] = []
        self.feed(source)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for key, value in attrs if key in ("src", "href", "srcset", "action", "data")]
        assert not any(key.startswith("on") for key, _ in attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture
def without_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the words: the plots take most of the time."""
    monkeypatch.setattr(plots, "figures", lambda *_: {})


def test_every_bound_appears_with_what_it_needs(result: RunResult, page: str):
    text = Page(page).text
    for cell in result.cells:
        for attack in cell.attacks:
            for bound in attack.bounds:
                assert f"{lower(bound.epsilon)} (≤ {upper(bound.ceiling)})" in text
                assert f"{attack.attack} · {bound.estimator}" in text
                assert all(words in text for words in (*bound.assumptions, *bound.corrected_for))
                assert f"δ 1e-5 · confidence {confidence(bound.confidence)} · adjacency {bound.adjacency}" in text
    assert "models 24, canaries 8, members 96, non members 96" in text
    assert "at ε = 8: models 24, guessed 3" in text


def test_sections_come_in_order(page: str):
    assert Page(page).headings == [
        "NOT REFUTED",
        "How to read this",
        "Verdicts",
        "Attacks",
        "What releasing less buys",
        "Records at risk",
        "Extraction of secrets",
        "Every bound, with what it needs",
        "Extraction and exposure against ε",
        "ROC",
        "Utility",
        "What was claimed",
        "How the run was made",
        "Failed units",
    ]


def test_it_says_what_the_numbers_mean(result: RunResult, page: str):
    text = Page(page).text
    assert result.verdict.reason in text
    assert "A weak attack proves nothing" in text
    assert "that is nothing for 16 copies" in text
    assert "23 of 24 models" in text
    assert "12 queries a model, 1 a canary" in text
    assert "1200 queries a model, 100 a canary" in text
    assert "seen: p <1e-6" in text
    assert "96.0% (88.0–100%)" in text
    assert "RuntimeError: loss is not finite" in text
    assert '"epsilons": [ 1, 2, 4, 8, "inf" ]' in text
    assert "versions.numpy 2.3.1" in text


def test_rates_exposures_and_aucs_of_secrets_have_their_intervals(result: RunResult, page: str):
    text = Page(page).text
    rows = [row for cell in result.cells for attack in cell.attacks for row in attack.extraction]
    assert rows
    for row in rows:
        interval = row.exposure_interval
        assert f"{number(row.exposure)} ({number(interval.low)}–{number(interval.high)}) of 26.6 bits" in text
        if row.auc_interval:
            low, high = number(row.auc_interval.low), number(row.auc_interval.high)
            assert f"AUC {number(row.auc)} ({low}–{high})" in text


def test_intervals_of_these_models_or_these_secrets_alone_are_marked(result: RunResult, without_plots: None):
    cell = result.cells[0]
    attack = next(attack for cell in result.cells for attack in cell.attacks if attack.extraction)
    for about, mark in (("models", "‡ "), ("canaries", "§ "), ("", "")):
        exposure, auc = ScopedInterval(3.5, 1.25, 5.75, about), ScopedInterval(0.625, 0.375, 0.875, about)
        row = replace(attack.extraction[-1], models=5, rate=Interval(0.5, 0.25, 0.75), auc=0.625, auc_interval=auc)
        row = replace(row, exposure=3.5, exposure_interval=exposure)
        marked = replace(cell, attacks=(replace(attack, extraction=(row,)),))
        text = Page(render(replace(result, cells=(marked,)))).text
        assert f"3.50 (1.25–5.75) {mark}of 26.6 bits" in text
        assert f"AUC 0.625 (0.375–0.875) {mark}" in text
        assert text.count("‡") == (3 if about == "models" else 1)  # once in the note
        assert text.count("§") == (3 if about == "canaries" else 1)


def test_whole_secrets_and_their_negative_control_are_labelled(result: RunResult, without_plots: None):
    cell = result.cells[0]
    attack = cell.attacks[0]
    attack = replace(
        attack,
        bounds=tuple(replace(bound, whole=7.125) for bound in attack.bounds),
        chance_p={"guessed": 0.25, "exposure": 0.125},
    )
    text = Page(render(replace(result, cells=(replace(cell, attacks=(attack,)),)))).text
    assert "whole secret 7.12" in text
    assert "finds them: 0.25" in text  # the smaller of two, times two


def test_nothing_is_loaded_from_anywhere(page: str):
    parsed = Page(page)
    assert "script" not in parsed.tags
    assert "link" not in parsed.tags
    outside = [link for link in parsed.links if not link.startswith(("data:image/svg+xml;base64,", "#"))]
    assert outside == []
    assert "default-src 'none'" in page
    images = [base64.b64decode(link.split(",")[1]) for link in parsed.links if link.startswith("data:")]
    assert len(images) == 10
    assert all(b"<svg" in image for image in images)


def test_text_from_users_is_escaped(hostile: RunResult, without_plots: None):
    source = render(hostile)
    parsed = Page(source)
    assert "script" not in parsed.tags
    assert EVIL_TAG not in source
    assert parsed.text.count(EVIL_TAG) >= 20
    assert not [link for link in parsed.links if "evil" in link]
    assert "{{ 7 * 7 }}" in parsed.text


@pytest.mark.parametrize("outcome", list(Outcome))
def test_the_banner_shows_the_outcome(empty: RunResult, outcome: Outcome):
    source = render(replace(empty, verdict=replace(empty.verdict, outcome=outcome)))
    assert f'class="banner {outcome.lower().replace("_", "-")}"' in source
    assert f"<h2>{outcome.replace('_', ' ')}</h2>" in source


def test_a_run_with_nothing_in_it_is_a_short_page(empty: RunResult):
    parsed = Page(render(replace(empty, config={}, provenance={})))
    assert parsed.headings == ["INCONCLUSIVE", "How to read this", "How the run was made"]
    assert "img" not in parsed.tags


def test_pipelines_with_different_epsilons_share_a_table(result: RunResult, without_plots: None):
    cells = (result.cells[0], result.cells[4], result.cells[7])
    text = Page(render(replace(result, cells=cells))).text
    assert "pydoc text –" in text


def test_what_is_not_a_number_is_a_dash(result: RunResult, without_plots: None):
    attack = result.cells[0].attacks[0]
    nan = replace(attack.auc, value=math.nan, low=math.nan, high=math.nan)
    odd = replace(attack, auc=nan, seen_p=math.nan, reference_p=None, bounds=())
    source = render(replace(result, cells=(replace(result.cells[0], attacks=(odd,)),)))
    assert "nan" not in Page(source).text.lower()


def test_written_files_are_the_same_again(result: RunResult, without_plots: None, tmp_path: Path):
    path = write_report(result, tmp_path / "new" / "report.html")
    assert path.read_text(encoding="utf-8") == render(result)


@pytest.mark.usefixtures("without_plots")
def test_membership_metrics_and_records_at_risk_are_shown(result: RunResult) -> None:
    page = Page(render(result))
    assert "4.56% (2.34–7.89%)" in page.text
    assert "1.23% (0–3.45%)" in page.text
    assert "Records at risk" in page.headings
    assert "natural-00000 0.910 (0.600–0.970) p 0.004; 11 in, 13 out" in page.text
    assert "natural-00005" not in page.text  # the worst five


def test_a_group_that_the_claim_does_not_cover_is_said_to_have_nothing(
    result: RunResult, page: str, without_plots: None
) -> None:
    """At delta 1e-5, (8, 1e-5) leaves (128, 1) for 16 copies, and (0.5, 1e-5) leaves (8, 0.046)."""
    assert "At a claimed ε = 8, δ = 1e-5, that is nothing for 16 copies: δ grows to 1." in page
    assert "ε = 128" not in page
    strong = [replace(c, claim=replace(c.claim, epsilon=0.5)) for c in result.cells[5:6]]
    attack = strong[0].attacks[-1]
    allowed = replace(attack, extraction=tuple(replace(row, allowed=0.3) for row in attack.extraction))
    said = render(replace(result, cells=(replace(strong[0], attacks=(allowed,)),)))
    assert "At a claimed ε = 0.5, δ = 1e-5, that is ε = 8, δ = 0.0460 for 16 copies." in said
    assert "allows one guess of such a secret to be right with probability 0.300 at most" in said
