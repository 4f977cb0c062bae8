"""Runs to look at and to add to."""

import shutil

import pytest

from tests.sweep.tiny_sweep import run, tiny


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The tiny experiment, run once and not touched."""
    out = tmp_path_factory.mktemp("sweep") / "plain"
    counter = run(tiny(), out)
    assert (counter.total, counter.before, counter.done, counter.failed) == (6, 0, 6, 0)
    return out


@pytest.fixture
def copied(plain, tmp_path):
    """A copy of the plain run, to be added to."""
    return shutil.copytree(plain, tmp_path / "run")
