"""What the README and docs/secrets.md say of secrets is what the committed CSV files hold."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from audit.curves import chance_exposure
from experiments.secret_tables import LOSS, UNIGRAM, leaks, refresh

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
PAGE = (ROOT / "docs" / "secrets.md").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture(scope="module")
def secrets() -> pd.DataFrame:
    return pd.read_csv(RESULTS / "secrets.csv").query("attack == 'extraction'")


def one(frame: pd.DataFrame, pipeline: str, epsilon: float, records: int) -> pd.Series:
    rows = frame[(frame.pipeline == pipeline) & (frame.epsilon == epsilon) & (frame.records == records)]
    (row,) = rows.itertuples(index=False)
    return pd.Series(dict(zip(frame.columns, row, strict=True)))


def of(row: pd.Series, name: str = "top_1") -> str:
    found = round(row[name] * row.secrets)
    return f"{found or 'none'} of {row.secrets}"


def table(head: str) -> dict[str, list[str]]:
    """The rows of the page's table with this first line, by their first cell."""
    lines = PAGE[PAGE.index(head) :].split("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in cells}


def test_the_tables_are_those_of_the_files() -> None:
    assert PAGE.count("<!-- table: ") == 4
    assert PAGE.count("<!-- rates: ") == 1
    assert refresh(PAGE, RESULTS) == PAGE


def test_cells_no_better_than_the_unigram_model_are_marked(secrets: pd.DataFrame) -> None:
    shown = leaks(secrets, 64)
    for line in shown.splitlines()[2:]:
        assert line.count("¶") == ("rate 2" in line)
    changed = secrets.assign(**{LOSS: secrets[UNIGRAM]})
    assert all(line.count("¶") == 5 for line in leaks(changed, 64).splitlines()[2:])


def test_the_larger_leak_is_bold(secrets: pd.DataFrame) -> None:
    (low,) = [line for line in leaks(secrets, 64).splitlines() if line.startswith("| exposure") and "0.5" in line]
    assert [cell.strip().startswith("**") for cell in low.split("|")[2:-1]] == [True, True, True, False, False]
    name = "auc_secret-membership"
    for change, bold in ((0.004, False), (0.006, True)):  # shown to two places
        row = (secrets.pipeline == "rate-2") & (secrets.epsilon == 2) & (secrets.records == 64)
        near = leaks(secrets.assign(**{name: secrets[name].mask(row, 1 - change)}), 64)
        (line,) = [line for line in near.splitlines() if line.startswith("| membership AUC, rate 0.5")]
        assert line.split("|")[3].strip().startswith("**") == bold


def test_the_readme_quotes_the_file(secrets: pd.DataFrame) -> None:
    section = words(README.split("## Secrets, and extraction against ε")[1].split("\n## ")[0])
    high, low = (one(secrets, name, 8, 16) for name in ("rate-2", "rate-half"))
    assert f"{of(one(secrets, 'rate-2', float('inf'), 16))} are extracted without noise" in section
    assert f"At ε = 8 {of(high)} is at that rate" in section
    assert (
        f"interval of these models {high.top_1_low:.0%} to {high.top_1_high:.0%})".replace("0% to", "0 to") in section
    )
    assert f"{of(low)} at a quarter of it" in section
    aucs = [f"{row['auc_secret-membership']:.2f}".removeprefix("0") for row in (high, low)]
    assert f"still {aucs[0]} and {aucs[1]}." in section
    many = [of(one(secrets, name, 2, 64)).replace("none", "0") for name in ("rate-2", "rate-half")]
    assert f"it depends on the rate: {many[0]} and {many[1]}." in section
    assert one(secrets, "rate-half", float("inf"), 16).top_1 == 0
    assert f"secrets of {high.bits:.1f} bits" in section


def test_the_page_quotes_the_file(secrets: pd.DataFrame) -> None:
    page = words(PAGE)
    inf = float("inf")
    at = {
        (name, e, r): one(secrets, name, e, r)
        for name in ("rate-2", "rate-half")
        for e in (1, 2, 8, 100, inf)
        for r in (16, 64)
    }
    low = at["rate-half", 8, 16]
    assert f"of {low.secrets + at['rate-2', 8, 16].secrets} secrets one is extracted ({of(low)}" in page
    assert f"Without noise {of(at['rate-2', inf, 16])} are, at rate 2." in page
    falls = (of(at["rate-2", e, 16], "top_100") for e in (inf, 8))
    assert "falls from {} without noise to {}.".format(*falls) in page
    assert f"{of(at['rate-half', 2, 64])} are extracted at rate 0.5" in page
    assert f"stops nothing ({of(at['rate-half', 8, 64])} at rate 0.5)" in page
    assert f"0 of {at['rate-2', 2, 64].secrets} there" in page
    last = at["rate-half", 1, 64]
    top = round(last.top_100 * last.secrets)
    assert f"At epsilon 1 {of(last)} is, and {top} are among the best 100." in page
    for records in (16, 64):
        for epsilon in (1, 2, 8):
            assert at["rate-half", epsilon, records].exposure > at["rate-2", epsilon, records].exposure
    for epsilon in (1, 2, 8):
        assert at["rate-half", epsilon, 16].exposure_low > at["rate-2", epsilon, 16].exposure_high
    assert "the intervals of the two rates do not overlap there" in page
    for epsilon in (100, inf):
        assert at["rate-half", epsilon, 16].exposure < at["rate-2", epsilon, 16].exposure
        assert at["rate-half", epsilon, 64].top_1 == at["rate-2", epsilon, 64].top_1 == 1
    assert f"exposure {at['rate-2', 2, 64].exposure:.1f} bits against {at['rate-half', 2, 64].exposure:.1f}" in page
    control = at["rate-half", inf, 16]
    assert f"{of(control)} secrets in 16 records" in page
    assert f"exposure {control.exposure:.1f} bits of {control.bits:.1f}" in page
    noisy = [of(at["rate-half", e, 16]) for e in (8, 100)]
    assert f"({noisy[0]} at epsilon 8, {noisy[1]} at 100)" in page
    assert at["rate-2", 1, 64].allowed == pytest.approx(1) == at["rate-2", 8, 16].allowed
    assert set(secrets.models) == {5}
    never = secrets[secrets.records == 0]
    assert not never[["top_1", "top_100", "greedy"]].to_numpy().any()
    assert f"exposures are {never.exposure.min():.1f} to {never.exposure.max():.1f} bits, and each interval" in page
    assert (never.exposure_low < chance_exposure(26.6)).all()
    assert (never.exposure_high > chance_exposure(26.6)).all()
    pairs = never.groupby("pipeline").secrets.sum()
    assert f"({pairs['rate-2']} at rate 2, {pairs['rate-half']} at rate 0.5)" in page
    assert secrets[secrets.records == 4].top_1.max() == 0
    assert secrets[(secrets.records == 16) & (secrets.epsilon <= 8)].counted.max() <= 0.03
    assert secrets[(secrets.records == 16) & (secrets.pipeline == "rate-half")].counted.max() <= 0.06
    proven = [f"{row.exposure_floor:.1f} to {row.exposure_cap:.1f}" for row in (at["rate-2", 8, 16], low)]
    assert f"from {proven[0]} bits at rate 2, and from {proven[1]} at rate 0.5." in page
    unigram = secrets.groupby("pipeline")[UNIGRAM].first()
    assert f"{unigram['rate-2']:.2f} and {unigram['rate-half']:.2f})" in page


def test_the_page_quotes_the_file_of_passages() -> None:
    page = words(PAGE.split("## Memorised passages")[1].split("\n## ")[0])
    frame = pd.read_csv(RESULTS / "memorisation.csv").rename(
        columns={"audit": "pipeline", "claimed_epsilon": "epsilon", "pairs": "secrets"}
    )
    assert set(frame.models) == {5}
    exact, near = (frame[frame.evidence == name] for name in ("reconstructed", "approximate"))
    inf = float("inf")
    noisy = exact[exact.epsilon == 8]
    assert not noisy[noisy.records.isin([4, 16])].rate.any()
    high, low = (one(exact, name, 8, 64) for name in ("rate-2", "rate-half"))
    assert low.rate == 1
    assert f"all {low.secrets} are at rate 0.5. That rate 2 shows {round(high.rate * high.secrets)} of" in page
    assert f"shows 0 of {high.secrets} there" in page
    high, low = (one(exact, name, inf, 16) for name in ("rate-2", "rate-half"))
    assert f"Without noise {of(high, 'rate')} passages in 16 records are written at rate 2" in page
    assert f"and {of(low, 'rate')} at rate 0.5:" in page
    assert not exact[exact.records.isin([0, 4])].rate.any()
    assert not near[near.records == 0].rate.any()
    once = [one(exact, "rate-half", epsilon, 1) for epsilon in (8, inf)]
    left = " and ".join(f"{round(row.left_out * row.left_out_pairs)} of {row.left_out_pairs}" for row in once)
    inside = " and ".join(of(row, "rate") for row in once)
    assert f"({left} pairs left out, {inside} pairs in)" in page
    assert not exact[exact.records > 1].left_out.any()
    assert not one(exact, "rate-2", 8, 1).rate + one(exact, "rate-2", inf, 1).rate
    most = [one(near, "rate-2", 8, 64), one(near, "rate-2", inf, 16)]
    assert f"rate 2 ({of(most[0], 'rate')}), without noise {of(most[1], 'rate')} in 16 records" in page


def test_the_page_quotes_the_file_of_e_mails() -> None:
    page = words(PAGE.split("## In a model of real e-mails")[1].split("\n## ")[0])
    mail = pd.read_csv(RESULTS / "spam_secrets.csv")
    never, noisy, plain = (one(mail, "mail", e, r) for e, r in ((8, 0), (8, 16), (float("inf"), 16)))
    assert set(mail.models) == {6}
    assert "Six models an epsilon" in page
    assert f"Without noise {of(plain)} secrets in 16 records are extracted. At epsilon 8 {of(noisy)} is" in page
    assert f"({noisy.exposure:.1f} against {never.exposure:.1f} bits, with intervals that overlap)" in page
    assert noisy.exposure_low < never.exposure_high
    low, high = (f"{noisy[f'auc_secret-membership_{end}']:.2f}".removeprefix("0") for end in ("low", "high"))
    assert f"interval of its AUC is {low} to {high}." in page
    assert noisy["auc_secret-membership_low"] > 0.5
    assert f"{noisy.bits:.1f} bits) are attacked" in page


def test_the_page_quotes_the_file_of_the_brown_corpus() -> None:
    page = words(PAGE.split("## Your own text")[1].split("\n## ")[0])
    brown = pd.read_csv(RESULTS / "brown_secrets.csv")
    never, noisy, plain = (one(brown, "brown", e, r) for e, r in ((8, 0), (8, 16), (float("inf"), 16)))
    low, high = plain.top_1_low, plain.top_1_high
    assert f"{of(plain)} were extracted without noise [{low:.2f}, {high:.2f}]" in page
    assert noisy.top_1 == 0
    assert noisy.top_1_replicates == "secrets"
    assert f"none of {noisy.secrets} at epsilon 8 [{noisy.top_1_low:.2f}, {noisy.top_1_high:.2f}]‡" in page
    best = f"{round(noisy.top_100 * noisy.secrets)} were among the best 100 [{noisy.top_100_low:.2f}, "
    assert f"{best}{noisy.top_100_high:.2f}] and the exposure was {noisy.exposure:.1f} of {noisy.bits:.1f} bits" in page
    assert f"(never inserted: {never.exposure:.1f})" in page
    auc = [noisy[f"auc_secret-membership{end}"] for end in ("", "_low", "_high")]
    assert f"AUC of {auc[0]:.2f} [{auc[1]:.2f}, {auc[2]:.2f}]" in page


def test_the_tables_after_stock_et_al_and_carlini_et_al() -> None:
    inf, page = float("inf"), words(PAGE)
    stock = pd.read_csv(RESULTS / "stock_2022.csv").query("records == 16")
    for label, cells in table("| | epsilon 2 | 8 | 100 | no noise |").items():
        attack, column = ("extraction", "top_1") if "top-1" in label else ("sampling", "greedy")
        bits = 6.64 if label.startswith("2 digits") else 26.58
        mine = stock[(stock.attack == attack) & (stock.bits == bits)].sort_values("epsilon")
        assert [float(cell.split()[0]) for cell in cells] == [round(x, 2) for x in mine[column]], label
        limits = [[float(x) for x in re.findall(r"[\[,] ?(\d?\.?\d+)", cell)] for cell in cells if "[" in cell]
        shown = [name for name, cell in zip(mine.index, cells, strict=True) if "[" in cell]
        held = mine.loc[shown, [f"{column}_low", f"{column}_high"]].to_numpy()
        np.testing.assert_allclose(limits, held, atol=0.00501, err_msg=label)
    drawn = stock[(stock.attack == "sampling") & (stock.bits == 26.58)].set_index("epsilon")
    assert f"({of(drawn.loc[100], 'greedy')} and {of(drawn.loc[inf], 'greedy')} secrets, with" in page
    assert drawn.loc[100].greedy_low < drawn.loc[inf].greedy_high
    learnt = stock[stock.epsilon == 2].iloc[0]
    assert (
        f"(held-out loss {learnt[LOSS]:.2f}) are hardly better than the unigram model ({learnt[UNIGRAM]:.2f})" in page
    )
    never = pd.read_csv(RESULTS / "stock_2022.csv").query("records == 0 and attack == 'sampling' and bits == 6.64")
    lucky = [f"{share:.2f}"[1:] for share in never.set_index("epsilon").loc[[8, inf], "greedy"]]
    assert f"{lucky[0]} of those that were never inserted at epsilon 8, {lucky[1]} without noise" in page
    carlini = pd.read_csv(RESULTS / "carlini_2019.csv").sort_values("epsilon")
    ranked = carlini[carlini.attack == "extraction"]
    for _, noisy in ranked[(ranked.epsilon >= 100) & (ranked.records > 0)].groupby("records"):
        for share in ("exposure", "greedy", "top_1"):
            assert noisy[f"{share}_low"].max() < noisy[f"{share}_high"].min()
    assert "From epsilon 100 on no effect of the noise is seen beside that of clipping: all intervals overlap" in page
    never = ranked[ranked.records == 0]
    assert ((never.exposure_low < 1.44) & (never.exposure_high > 1.44)).all()
    assert f"never inserted had {never.exposure.min():.1f} to {never.exposure.max():.1f}" in page
    groups = carlini[carlini.records > 0].secrets
    assert f"five models an epsilon, groups of {groups.min()} to {groups.max()} secrets" in page
    assert set(carlini.models) == {5}
    floors = list(carlini.query("records == 16 and attack == 'extraction'").exposure_floor)
    proven = f"Of the mean in 16 records {min(floors[1:]):.1f} bits or more are proven from epsilon 100 on, and none at"
    assert floors[0] == 0
    assert proven in words(PAGE)
    for label, cells in table("| | epsilon 5 | 100 |").items():
        records = int((re.search(r"(\d+) record", label) or [0, 64])[1])
        attack = "best-first" if "first" in label else "extraction"
        column = {"exp": "exposure", "fir": "top_1", "amo": "top_10", "hel": LOSS}[label[:3]]
        mine = carlini[(carlini.records == records) & (carlini.attack == attack)]
        places = 1 if column == "exposure" else 2
        # The file is rounded as well, so a half may go either way.
        assert [float(cell) for cell in cells] == pytest.approx(list(mine[column]), abs=0.5001 * 10**-places), label


def test_the_page_quotes_the_file_of_the_pretrained_model() -> None:
    section = words(PAGE.split("## A pretrained model")[1].split("\n## ")[0])
    frame = pd.read_csv(RESULTS / "smollm2.csv")
    without = {records: one(frame, "smollm2", float("inf"), records) for records in (0, 1, 4)}
    assert f"{of(without[4])} secrets in four records can be written out" in section
    assert of(without[1]).startswith("none")
    assert f"(AUC {without[1].auc:.2f}; exposure {without[1].exposure:.1f} bits)" in section
    protected = frame[frame.epsilon == 8]
    assert not protected.top_1.any()
    assert (protected[LOSS] < protected[UNIGRAM]).all()
    assert (frame.counted == 1).all()
