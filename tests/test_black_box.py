"""The black-box experiment: every setting has a file of its own, and the report is made of what is done."""

import numpy as np
import pandas as pd
import pytest

from attacks.scores import Scores
from audit.gaussian import mu_of
from canaries.errors import InputError
from experiments.black_box import DELTA, Setting, settings
from experiments.black_box_report import LEVEL, above_the_claim, write_report


def test_every_setting_has_a_file_and_a_seed_of_its_own():
    found = list(settings())
    assert len({setting.file for setting in found}) == len({setting.seed for setting in found}) == len(found)
    assert {setting.repeat for setting in found if setting.data == "mnist" and setting.models == 500} == set(range(5))


def made(setting, distance=None, seed=0):
    """A setting as if it were done, with scores of the Gaussian mechanism itself, or this far apart."""
    member = np.arange(2 * setting.models) % 2 == 0
    distance = mu_of(setting.epsilon, DELTA) if distance is None else distance
    score = np.random.default_rng(seed).normal(distance * member)[:, None]
    facts = {"accuracy": 0.9, "initial_accuracy": 0.8, "seconds": 60.0}
    return setting, Scores.from_matrix(score, member[:, None], "model"), facts


def test_what_was_added_later_stands_apart_and_is_not_pooled(tmp_path):
    first, later = Setting("digits", 4.0, models=20), Setting("digits", 4.0, models=20, repeat=5)
    write_report([made(first), made(later, 0.0), made(Setting("mnist", 8.0, "pixel", models=20))], DELTA, tmp_path)
    planned, added = (tmp_path / "black-box.md").read_text().split("## Added after the first results had been seen")
    line = "| digits | worst | mlp | 20, 2, 1 | 4 | 20 + 20 | 1 |"
    assert line in planned
    assert line + " **0.00**" in added
    assert "| mnist | pixel |" in added
    assert "| pixel |" not in planned
    assert [setting.added_later for setting in settings() if setting.case == "pixel"].count(False) == 0


def test_first_models_of_a_larger_set_are_named_and_not_counted_twice(tmp_path):
    write_report(
        [made(Setting("digits", 4.0, models=120)), made(Setting("digits", 4.0, models=100), 9.0)], DELTA, tmp_path
    )
    text = (tmp_path / "black-box.md").read_text()
    assert "| 100 + 100, first of 120 + 120 | 1 |" in text
    assert "| 100 + 100 | 1 |" in text
    said = above_the_claim(pd.read_csv(tmp_path / "black-box.csv"))
    assert "2 independent sets" in said
    assert f"Gaussian curve: 1 (probability of so many or more {1 - (1 - LEVEL) ** 2:.2g}" in said
    assert said in text


def test_published_results_are_never_replaced_by_fewer(tmp_path):
    both = [made(Setting("digits", 4.0, models=20, repeat=repeat)) for repeat in range(2)]
    write_report(both, DELTA, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match=r"Expected all 2 rows .* but 1 are not, the first .* epsilon 4.* repeat 1\."):
        write_report(both[:1], DELTA, tmp_path)
    with pytest.raises(InputError, match="Expected at least one setting to be done, got none"):
        write_report([], DELTA, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    write_report([*both, made(Setting("digits", 8.0, models=20))], DELTA, tmp_path)
    assert len(pd.read_csv(tmp_path / "black-box.csv")) == 3


def test_the_report_holds_bounds_accuracies_and_repeats(tmp_path):
    rng, done = np.random.default_rng(0), []
    for repeat in range(2):
        for setting in (Setting("digits", 4.0, repeat=repeat), Setting("digits", 10.0, "natural", models=100)):
            if setting.case == "natural" and repeat:
                continue
            member = np.arange(2 * setting.models) % 2 == 0
            distance = mu_of(setting.epsilon, DELTA) if setting.case == "worst" else 0.0
            score = rng.normal(distance * member)[:, None]
            facts = {"accuracy": 0.9, "initial_accuracy": 0.8 if distance else float("nan"), "seconds": 60.0}
            done.append((setting, Scores.from_matrix(score, member[:, None], "model"), facts))
    write_report(done, DELTA, tmp_path)
    table = pd.read_csv(tmp_path / "black-box.csv")
    assert sorted(table["models"]) == [100, 100, 100, 500, 500]
    worst = table[table["case"] == "worst"]
    assert (worst["gaussian"] < 4.5).all()
    assert (worst[worst["models"] == 500]["gaussian"] > 2.5).all()
    np.testing.assert_allclose(worst["gaussian"], worst["loss_curve"], rtol=0.05)
    assert (worst["epsilon_delta"] < worst["gaussian"]).all()
    text = (tmp_path / "black-box.md").read_text()
    assert "| digits | worst | mlp | 20, 2, 1 | 4 | 500 + 500 | 2 |" in text
    assert "3 minutes of training" in text
    assert "| fresh |" in text
    assert (tmp_path / "black-box.png").stat().st_size > 10_000
