"""One attack under two configurations in one audit: from the experiment file to the report and the gate."""

import json

import numpy as np
import pytest

import attacks
import audit
from audit import registry
from audit.config import parse
from audit.gate import check
from audit.policy import Policy, TprBudget
from audit.report import summary_json, write_report
from audit.runs import load_result
from audit.sweeping import sweep
from canaries import Mislabelled
from canaries.errors import InputError

FIXED = {"name": "lira", "variance": "fixed", "label": "lira-fixed"}
TABLE = {
    "name": "labelled",
    "epsilons": [4.0],
    "delta": 1e-5,
    "audits": [
        {
            "name": "digits",
            "models": 16,
            "attacks": [FIXED, {"name": "lira", "variance": "per-example"}, "loss"],
            "estimators": ["one-run"],
            "data": {"name": "digits", "train": 30, "pool": 60, "test": 5},
            "canaries": {"design": "mislabelled", "count": 20, "references": 12},
            "trainer": {"name": "ensemble", "model": "softmax", "steps": 4, "sample_rate": 1.0, "learning_rate": 4.0},
        }
    ],
}
TITLES = ["lira-fixed", "lira", "loss"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return sweep(parse(TABLE), tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def result(run):
    return load_result(run.path)


def test_each_keeps_its_own_scores_bounds_and_queries(result):
    for cell in result.cells:
        assert [attack.attack for attack in cell.attacks] == TITLES
        fixed, own, _ = cell.attacks
        assert (fixed.scores.score != own.scores.score).any()
        assert [len(attack.bounds) for attack in cell.attacks] == [1, 1, 1]
        assert [attack.queries for attack in cell.attacks] == [32, 32, 32]
    (family,) = {b.confidence for cell in result.cells for attack in cell.attacks for b in attack.bounds}
    assert family == pytest.approx(1 - 0.05 / 9)  # 6 bounds and 3 tests of the claim


def test_a_label_changes_no_score(result, tmp_path):
    plain = json.loads(json.dumps(TABLE))
    del plain["audits"][0]["attacks"][0]["label"]
    del plain["audits"][0]["attacks"][1:]
    alone = load_result(sweep(parse(plain), tmp_path).path)
    for labelled, bare in zip(result.cells, alone.cells, strict=True):
        np.testing.assert_array_equal(labelled.attacks[0].scores.score, bare.attacks[0].scores.score)


def test_the_report_and_the_summary_name_both(result, tmp_path):
    text = write_report(result, tmp_path / "report.html").read_text(encoding="utf-8")
    assert all(title in text for title in TITLES)
    cells = summary_json(result)["cells"]
    assert [attack["attack"] for attack in cells[0]["attacks"]] == TITLES


def test_the_gate_names_both(result):
    found = check(result, Policy(max_tpr=(TprBudget(limit=0.0, fpr=0.5),)))
    said = [
        finding.message
        for finding in found.findings
        if "true positive rate" in finding.message or "members" in finding.message
    ]
    assert {title for title in TITLES if any(f"Attack {title} " in message for message in said)} == set(TITLES)


def test_a_function_s_audit_takes_labels_too():
    rng = np.random.default_rng(0)
    data = rng.normal(size=(60, 3)), rng.integers(0, 2, 60)

    def train(x, y, seed):
        return lambda asked: np.full((len(asked), 2), 0.5)

    both = [attacks.RMIA(), attacks.RMIA(gamma=2.0, label="rmia-strict")]
    found = audit.run(train, data, Mislabelled(), both, 8, audit.Claim(1.0, 1e-5), count=4, references=2)
    assert [attack.attack for attack in found.run.cells[0].attacks] == ["rmia", "rmia-strict"]


def test_a_label_is_part_of_the_identity_only_where_there_is_one():
    labelled, bare = registry.build(registry.ATTACKS, FIXED), registry.build(registry.ATTACKS, "lira")
    assert registry.identity(bare) == {"name": "lira", "models": 0, "variance": "fixed"}
    assert registry.identity(labelled) == {**registry.identity(bare), "label": "lira-fixed"}
    assert registry.build(registry.ATTACKS, registry.identity(labelled)) == labelled
    assert (labelled.title, bare.title) == ("lira-fixed", "lira")


@pytest.mark.parametrize(
    ("label", "sentence"),
    [
        ("loss", "'loss' cannot be the label of attack 'lira': it is another's name"),
        ("two words", "Expected a label that matches .* for attack 'lira', got 'two words'"),
        ("lira", "attacks of different names, got lira, lira; give one a label of its own"),
    ],
)
def test_labels_that_would_mislead_are_refused(label, sentence):
    with pytest.raises(InputError, match=sentence):
        registry.attack_titles([attacks.LiRA(label=label), attacks.LiRA()])
