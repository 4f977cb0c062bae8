"""The pytest plugin, by pytest's own tester."""

import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

# Loaded here, for pytester unloads what a run of its own loads, and numpy cannot be loaded twice.
import audit.pytest_plugin  # noqa: F401

pytest_plugins = ["pytester"]

SUITE = """
import numpy as np
import pytest
import canaries

X = np.random.default_rng(0).normal(size=(400, 4))
Y = np.arange(400) % 2


def answers(x, y, seed, epsilon):
    # A memory of all records, told truly with the probability that epsilon allows, for each record by itself.
    rng = np.random.default_rng(seed)
    known = {row.tobytes(): label for row, label in zip(np.asarray(x, np.float32), y)}
    lie = 1 / (1 + np.exp(epsilon))

    def predict(asked):
        p = np.full((len(asked), 2), 0.5)
        for i, row in enumerate(np.asarray(asked, np.float32)):
            label = known.get(row.tobytes())
            if (label is not None) != (rng.random() < lie):
                p[i] = 0.1
                p[i, int(Y[0]) if label is None else label] = 0.9
        return p

    return predict


def leaky(x, y, seed):
    return answers(x, y, seed, 50.0)


def blind(x, y, seed):
    return lambda asked: np.full((len(asked), 2), 0.5)


pytestmark = pytest.mark.privacy_audit(models=8, control=leaky, count=40)


def test_refuted(privacy_audit):
    privacy_audit(leaky, (X, Y), canaries.UniformNoise()).assert_at_most(epsilon=0.5, delta=1e-8)


def test_good(privacy_audit):
    found = privacy_audit(blind, (X, Y), canaries.UniformNoise()).assert_at_most(epsilon=2, delta=1e-8)
    assert found.run.confidence == 0.999


def test_inconclusive(privacy_audit):
    audit = privacy_audit(blind, (X, Y), canaries.UniformNoise(), control=None)
    audit.assert_at_most(epsilon=2, delta=1e-8)


@pytest.mark.privacy_audit(models=2, confidence=0.9)
def test_nearer_markers_win(privacy_audit):
    audit = privacy_audit(blind, (X, Y), canaries.UniformNoise(), models=8, count=60)
    options = audit.options
    assert (options["models"], options["confidence"], options["count"]) == (8, 0.9, 60)
    audit.assert_at_most(epsilon=2, delta=1e-8)
"""


INSTALLED = any(entry.value == "audit.pytest_plugin" for entry in entry_points(group="pytest11"))
PLUGIN = [] if INSTALLED else ["-p", "audit.pytest_plugin"]


@pytest.fixture
def suite(pytester):
    pytester.makepyfile(SUITE)
    return pytester.runpytest("--strict-markers", *PLUGIN)


def test_outcomes_and_evidence(suite):
    suite.assert_outcomes(passed=2, failed=2)
    text = suite.stdout.str()
    refuted, _, inconclusive = text.partition("test_inconclusive")
    for part in ("REFUTED: leaky at epsilon 0.5", "attack loss", "epsilon >= ", "AUC 1.0", "8 models"):
        assert part in refuted
    assert "INCONCLUSIVE: blind at epsilon 2" in inconclusive
    assert "no positive control" in inconclusive
    assert "Traceback" not in text


SILENT = """
import numpy as np
import pytest
import canaries


def audited(privacy_audit):
    return privacy_audit(None, (np.zeros((4, 2)), np.zeros(4)), canaries.UniformNoise())


def test_asserts_nothing(privacy_audit):
    audited(privacy_audit)


def test_asks_for_nothing(privacy_audit):
    pass


def test_skips(privacy_audit):
    pytest.skip("not today")


def test_fails_by_itself(privacy_audit):
    audited(privacy_audit)
    assert False
"""


def test_an_audit_without_an_assertion_is_no_pass(pytester):
    pytester.makepyfile(SILENT)
    found = pytester.runpytest("--strict-markers", *PLUGIN)
    found.assert_outcomes(passed=2, errors=2, skipped=1, failed=1)
    found.stdout.fnmatch_lines(["*A privacy audit was asked for and nothing asserted of it*"])


MISTAKEN = """
import numpy as np
import pytest
import canaries

DATA = np.zeros((4, 2)), np.zeros(4)


def test_misspelt(privacy_audit):
    privacy_audit(None, DATA, canaries.UniformNoise(), model=4)


@pytest.mark.privacy_audit(64)
def test_by_position(privacy_audit):
    pass


def test_swallowed(privacy_audit):
    audit = privacy_audit(lambda x, y, seed: None, DATA, canaries.UniformNoise())
    with pytest.raises(Exception, match="more than 96 records"):
        audit.assert_at_most(epsilon=4, delta=1e-8)
"""


def test_mistaken_options_are_told_and_an_audit_that_did_not_run_is_no_pass(pytester):
    pytester.makepyfile(MISTAKEN)
    found = pytester.runpytest("--strict-markers", *PLUGIN)
    found.assert_outcomes(passed=1, failed=1, errors=2)
    found.stdout.fnmatch_lines(
        [
            "*marker privacy_audit takes options by name alone, got 64.*",
            "*nothing asserted of it*",
            "*Unknown key 'model' in the options of privacy_audit (did you mean 'models'?)*",
        ]
    )
    assert "Traceback" not in found.stdout.str()


def test_it_is_an_entry_point():
    table = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    assert table["project"]["entry-points"]["pytest11"] == {"firedamp": "audit.pytest_plugin"}


def test_the_marker_is_documented(pytester):
    result = pytester.runpytest("--markers", *PLUGIN)
    result.stdout.fnmatch_lines(["@pytest.mark.privacy_audit(*"])
