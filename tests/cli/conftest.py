"""The command line, called within this process; and a run for it to look at."""

import pytest

from audit import cli
from audit.config import parse
from audit.sweeping import sweep
from tests.tiny_experiment import TINY


@pytest.fixture
def call(capsys):
    """`python -m audit` within this process, which costs no start: exit code, standard output, standard error."""

    def main(*arguments):
        with pytest.raises(SystemExit) as stop:
            cli.main([str(argument) for argument in arguments])
        found = capsys.readouterr()
        return stop.value.code, found.out, found.err

    return main


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    out = tmp_path_factory.mktemp("cli") / "run"
    sweep(parse(TINY), out)
    return out
