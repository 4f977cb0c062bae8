"""The study of white-box audits: what the ideal mechanism shows, and a report that reads what is published."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from audit.mechanism import DPSGD
from experiments.white_box import ideal, limits
from experiments.white_box_report import FILES, write_report

RESULTS = Path(__file__).parents[1] / "docs" / "results"


@pytest.mark.parametrize(("rate", "sigma", "golden"), [(0.1, 0.9362, (4.57, 5.69)), (0.25, 1.7125, (6.68, 7.03))])
def test_limits_of_the_gaussian_reading_at_epsilon_8(rate, sigma, golden):
    """100 steps at delta 1e-5. The distance of 25,000 + 25,000 scores has a standard error of .01: .05 in epsilon."""
    mechanism = DPSGD(rate, 100, sigma)
    assert limits(mechanism, seed=1, models=50_000) == pytest.approx(golden, abs=0.25)


def test_at_full_batch_both_scores_say_the_same():
    member = np.arange(1000) % 2 == 0
    total, ratio = ideal(DPSGD(1.0, 20, 5.0), member, seed=0)
    np.testing.assert_allclose(ratio, total / 5.0 - 20 * 0.5 / 25.0, rtol=1e-9, atol=1e-9)
    assert total[member].mean() - total[~member].mean() == pytest.approx(20 / 5.0, abs=4.9 * np.sqrt(20 * 4 / 1000))


@pytest.mark.parametrize("part", FILES)
def test_a_part_by_itself_reads_the_published_tables_of_the_others(part, tmp_path):
    for file in RESULTS.glob("white_box*"):
        shutil.copy(file, tmp_path)
    took = (tmp_path / f"{FILES[part]}.txt").read_text().strip()
    write_report(part, pd.read_csv(RESULTS / f"{FILES[part]}.csv"), tmp_path, took)
    assert (tmp_path / "white_box.md").read_text() == (RESULTS / "white_box.md").read_text()
