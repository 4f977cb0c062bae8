"""The membership experiment on a handful of made-up images: it ends, it resumes, and its tables hold what they say."""

import gzip
import struct

import numpy as np
import pandas as pd
import pytest

from experiments.membership import Setup, trained
from experiments.membership_report import ALONE, COUNTS, FEW, MANY, write_report


def write_idx(path, array):
    head = b"\x00\x00\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(head + array.astype(np.uint8).tobytes()))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for part, count in (("train", 61), ("t10k", 2000)):
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", rng.integers(256, size=(count, 28, 28)))
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", np.arange(count) % 10)
    setup = Setup(str(folder), records=40, population=20, models=6, epochs=20, batch=10)
    return setup, trained(setup, folder), folder


def test_what_is_done_is_not_redone(made):
    setup, answers, folder = made
    before = {path: path.stat().st_mtime_ns for path in folder.glob("model-*.npz")}
    assert len(before) == 6
    (folder / "model-002.npz").unlink()
    again = trained(setup, folder)
    np.testing.assert_array_equal(again.probabilities, answers.probabilities)
    after = {path: path.stat().st_mtime_ns for path in folder.glob("model-*.npz")}
    assert {path for path in before if after[path] != before[path]} == {folder / "model-002.npz"}


def test_the_report_says_who_was_attacked_how(made, tmp_path):
    setup, answers, _ = made
    _, records, coins = setup.make()
    assert answers.probabilities.shape == (6, 60, 10)
    write_report(answers.probabilities, records, coins, 4, tmp_path, "A few models")
    table = pd.read_csv(tmp_path / "membership.csv")
    assert len(table) == len(ALONE) + len(FEW) * len(COUNTS) + len(MANY)
    found = table.set_index(["attack", "known_models"])["auc"]
    assert found["rmia", "all"] > 0.8  # labels have nothing to do with the images: they can only be remembered
    assert table["auc"].between(0, 1).all()
    risks = pd.read_csv(tmp_path / "membership-risk.csv")
    assert len(risks) == 40
    assert risks["auc"].is_monotonic_decreasing
    assert "A few models" in (tmp_path / "membership.md").read_text(encoding="utf-8")
    assert (tmp_path / "membership.png").stat().st_size > 10_000
