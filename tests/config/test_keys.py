"""Keys of the experiment file: unknown and missing ones are one sentence."""

import pytest

from tests.config.mistakes import changed, refusal, without


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("delt", "Unknown key 'delt' in the file (did you mean 'delta'?); allowed: accountant, audits, confidence,"),
        ("audits.0.modles", "Unknown key 'modles' in [audits.0] (did you mean 'models'?); allowed: attacks, canaries,"),
        (
            "audits.0.data.trian",
            "audits.0.data: Unknown key 'trian' in data set 'digits' (did you mean 'train'?); allow",
        ),
        (
            "audits.0.canaries.coutn",
            "Unknown key 'coutn' in [audits.0.canaries] (did you mean 'count'?); allowed: count,",
        ),
        (
            "audits.0.trainer.stpes",
            "audits.0.trainer: Unknown key 'stpes' in trainer 'opacus' (did you mean 'steps'?);",
        ),
        (
            "gate.max_bound",
            "Unknown key 'max_bound' in [gate] (did you mean 'max_lower_bound'?); allowed: baseline,",
        ),
    ],
)
def test_unknown_keys(path, sentence):
    assert refusal(changed(path, 1)).startswith(sentence)


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (
            "audits.0.trainer.model",
            {"name": "mlp", "hiden": [3]},
            "audits.0.trainer: Trainer 'opacus': Unknown key 'hiden' in model 'mlp' (did you mean 'hidden'?); "
            "allowed: hidden.",
        ),
        (
            "audits.0.attacks",
            ["loss", {"name": "noise-robustness", "copys": 3}],
            "audits.0.attacks.1: Unknown key 'copys' in attack 'noise-robustness' (did you mean 'copies'?); "
            "allowed: copies, label, scales.",
        ),
        (
            "audits.0.estimators",
            [{"name": "one-run", "guess": 3}],
            "audits.0.estimators.0: Unknown key 'guess' in estimator 'one-run' (did you mean 'guesses'?); "
            "allowed: centre, guesses.",
        ),
        (
            "audits.0.canaries.design",
            {"name": "blank", "lable": 1},
            "audits.0.canaries.design: Unknown key 'lable' in canary design 'blank' (did you mean 'label'?); "
            "allowed: label.",
        ),
    ],
)
def test_unknown_keys_inside_plugins(path, value, sentence):
    assert refusal(changed(path, value)) == sentence


@pytest.mark.parametrize(
    "path",
    [
        *("name", "epsilons", "delta", "audits"),
        *(f"audits.0.{key}" for key in ("name", "data", "canaries", "trainer", "models", "attacks", "estimators")),
        *("audits.0.canaries.design", "audits.0.canaries.count"),
    ],
)
def test_missing_keys(path):
    assert refusal(without(path)) == f"Key '{path}' is missing."
