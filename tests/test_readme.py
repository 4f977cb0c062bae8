"""Every python and console block of the README runs, in order, in one empty directory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
ENV = os.environ | {"OMP_NUM_THREADS": "1"}
FENCE = re.compile(r"^```(python|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> list[tuple[str, str]]:
    return [(match[1], match[2]) for match in FENCE.finditer(README.read_text(encoding="utf-8"))]


def command(kind: str, text: str) -> list[list[str]]:
    if kind == "python":
        return [[sys.executable, "-c", text]]
    lines = [line.removeprefix("$ firedamp ") for line in text.splitlines() if line.startswith("$ ")]
    return [[sys.executable, "-m", "audit", *line.split()] for line in lines]


def test_there_are_blocks() -> None:
    assert {kind for kind, _ in blocks()} == {"python", "console"}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("readme")
    found = []
    for kind, text in blocks():
        for arguments in command(kind, text):
            done = subprocess.run(arguments, check=False, cwd=folder, capture_output=True, text=True, env=ENV)
            assert done.returncode == 0, f"{text}\n{done.stderr}"
            found.append(done.stdout)
    return found


def test_the_function_example_refutes_the_made_up_claim(outputs: list[str]) -> None:
    assert outputs[0].startswith("REFUTED: train at epsilon 4: Epsilon is at least 5.5")


def test_what_the_readme_shows_of_bound_is_what_it_prints(outputs: list[str]) -> None:
    shown = README.read_text(encoding="utf-8")
    for line in next(out for out in outputs if out.startswith("epsilon >=")).splitlines():
        assert line in shown
