"""The black-box experiment: every setting has a file of its own, and the report is made of what is done."""

import numpy as np
import pandas as pd

from attacks.scores import Scores
from audit.gaussian import mu_of
from experiments.black_box import DELTA, Setting, settings
from experiments.black_box_report import write_report


def test_every_setting_has_a_file_and_a_seed_of_its_own():
    found = list(settings())
    assert len({setting.file for setting in found}) == len({setting.seed for setting in found}) == len(found)
    assert {setting.repeat for setting in found if setting.data == "mnist" and setting.models == 500} == set(range(5))


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
