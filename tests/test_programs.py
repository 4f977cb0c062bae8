"""Programs beside the command line, and the experiments, which all end through it."""

import subprocess
import sys
from pathlib import Path

import pytest

from audit.programs import run_program
from canaries.errors import InputError

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


def raises(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (InputError("Expected models >= 4, got 3."), "error: Expected models >= 4, got 3.\n"),
        (FileNotFoundError(2, "Gone", "x.gguf"), "error: Cannot read or write: [Errno 2] Gone: 'x.gguf'.\n"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(capsys, error, said):
    with pytest.raises(SystemExit) as stopped:
        run_program(raises(error))
    assert stopped.value.code == 2
    assert capsys.readouterr().err == said


def test_a_fault_keeps_its_traceback():
    with pytest.raises(KeyError):
        run_program(raises(KeyError("data")))


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (1, 1)])
def test_it_exits_with_what_main_returns(returned, code):
    with pytest.raises(SystemExit) as stopped:
        run_program(lambda: returned)
    assert stopped.value.code == code


def test_every_experiment_ends_through_it():
    programs = [path for path in EXPERIMENTS.glob("*.py") if "__main__" in path.read_text()]
    assert len(programs) > 10
    for path in programs:
        assert path.read_text().endswith('if __name__ == "__main__":\n    run_program(main)\n'), path.name


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (("black_box", "--only", "foo"), "expected names among digits, mnist, fashion, got 'foo'"),
        (("white_box", "--parts", "foo"), "invalid choice: 'foo'"),
        (("membership", "--out", "{out}", "--data", "nowhere"), "nowhere"),
    ],
)
def test_experiments_say_what_is_wrong_with_their_arguments(tmp_path, program, said):
    name, *arguments = program
    arguments = [argument.format(out=tmp_path) for argument in arguments]
    command = [sys.executable, "-m", f"experiments.{name}", *arguments]
    done = subprocess.run(command, check=False, cwd=EXPERIMENTS.parent, capture_output=True, text=True)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
