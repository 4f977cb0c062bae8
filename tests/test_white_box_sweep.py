"""White-box audits from an experiment file: refused before anything is trained, or run like any other."""

import copy

import numpy as np
import pytest

import audit
from attacks import Gradient, Loss
from audit.config import parse
from audit.runs import load_result
from audit.sweeping import sweep
from canaries import Blank, Dirac
from canaries.errors import InputError

WHITE = {
    "name": "white",
    "epsilons": [8.0],
    "delta": 1e-5,
    "audits": [
        {
            "name": "dirac",
            "models": 2,
            "attacks": ["gradient", "gradient-llr", "weights"],
            "estimators": ["one-run"],
            "data": {"name": "digits", "train": 30, "pool": 10, "test": 5},
            "canaries": {"design": "dirac", "count": 200, "references": 20},
            "trainer": {
                "name": "ensemble",
                "model": "softmax",
                "steps": 3,
                "sample_rate": 1.0,
                "record": "gradients",
                "checkpoint_every": 1,
            },
        }
    ],
}


def white(**changes):
    """The experiment with other keys of its audit; a key of the trainer starts with `trainer_`."""
    table = copy.deepcopy(WHITE)
    for key, value in changes.items():
        if key.startswith("trainer_"):
            table["audits"][0]["trainer"][key.removeprefix("trainer_")] = value
        else:
            table["audits"][0][key] = value
    return table


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"trainer_record": "weights"},
            "attack 'gradient' needs access to gradients, which trainer 'ensemble' does not give; 'ensemble' does with "
            'record = "gradients".',
        ),
        (
            {"trainer": "opacus", "attacks": ["weights"]},
            "attack 'weights' needs access to weights, which trainer 'opacus' does not give; 'ensemble' does with "
            'record = "weights".',
        ),
        (
            {"trainer_checkpoint_every": 0, "attacks": ["iterates"], "canaries": {"design": "blank", "count": 1}},
            "attack 'iterates' needs access to checkpoints, which trainer 'ensemble' does not give; 'ensemble' does "
            "with checkpoint_every = 1.",
        ),
        ({"attacks": ["loss"]}, "attack 'loss' cannot attack gradient canaries."),
        ({"trainer_record": "all"}, "Key 'record': expected 'none', 'weights' or 'gradients', got 'all'."),
    ],
)
def test_what_cannot_be_is_refused_when_the_file_is_read(changes, sentence):
    with pytest.raises(InputError) as refused:
        parse(white(**changes))
    assert str(refused.value).endswith(sentence)


def test_what_does_not_fit_is_refused_before_training(tmp_path):
    for changes, message in (
        ({"canaries": {"design": "dirac", "count": 651, "references": 0}}, "at most 650 gradient canaries"),
        ({"trainer": "opacus", "attacks": ["extraction"]}, "cannot attack gradient canaries"),
    ):
        with pytest.raises(InputError, match=message):
            sweep(parse(white(**changes)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_training_function_gives_answers_alone():
    data = (np.zeros((40, 2)), np.arange(40) % 2)
    for design, attack, message in (
        (Blank(), Gradient(), "Attack 'gradient' needs access to gradients; a training function gives answers alone"),
        (Dirac(), Loss(), "cannot attack gradient canaries"),
    ):
        with pytest.raises(InputError, match=message):
            audit.run(lambda x, y, seed: None, data, design, [attack], 2, audit.Claim(8, 1e-5), count=2, references=0)


def test_a_sweep_of_dirac_canaries(tmp_path):
    sweep(parse(white()), tmp_path / "run")
    result = load_result(tmp_path / "run")
    claimed, control = result.cells
    assert {a.access for a in claimed.attacks} == {"gradients", "weights"}
    assert all(a.family == "white-box" for a in claimed.attacks)
    for attack in control.attacks:
        assert attack.seen_p < 1e-6
    for attack in (*claimed.attacks, *control.attacks):
        assert attack.reference_p > 1e-4  # references are nowhere
        assert not np.isinf(attack.scores.score).any()
    # The same models' scores, by two attacks that agree at full batch.
    summed, ratio = (claimed.attacks[i].scores.score for i in (0, 1))
    assert np.corrcoef(summed.ravel(), ratio.ravel())[0, 1] > 1 - 1e-9


def test_attacks_on_data_canaries_at_every_level(tmp_path):
    table = white(
        attacks=["loss", "noise-robustness", "iterates", "weights", "gradient"],
        canaries={"design": "blank", "count": 1, "references": 2, "randomise": "model"},
        models=4,
        estimators=["gaussian-dp"],
    )
    sweep(parse(table), tmp_path / "run")
    cell = load_result(tmp_path / "run").cells[0]
    assert [a.access for a in cell.attacks] == ["loss", "labels", "checkpoints", "weights", "gradients"]
    assert cell.attacks[2].queries == 3 * 3
