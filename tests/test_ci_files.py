"""Workflow files: valid by the schemas of their systems, and their commands really run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from audit.ci_files import write_ci_files
from canaries.errors import InputError
from tests.tiny_experiment import TOML


@pytest.fixture
def repository(tmp_path):
    (tmp_path / "audits").mkdir()
    (tmp_path / "audits" / "tiny.toml").write_text(TOML)
    return tmp_path


@pytest.mark.parametrize("provider", ["github", "gitlab"])
def test_files_keep_the_schema_of_their_system(repository, provider):
    (path,) = write_ci_files(Path("audits/tiny.toml"), provider, repository)
    schema = {"github": "vendor.github-workflows", "gitlab": "vendor.gitlab-ci"}[provider]
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def job(path):
    (found,) = YAML(typ="safe").load(path)["jobs"].values()
    return found


def test_trained_models_are_kept_by_a_key_over_code_and_versions(repository):
    github, gitlab = write_ci_files(Path("audits/tiny.toml"), "both", repository)
    steps = {step.get("name"): step for step in job(github)["steps"]}
    restore, save = steps["Restore models"]["with"], steps["Save models"]
    assert {"audits/tiny.toml", "**/*.py"} <= set(re.findall(r"'([^']+)'", restore["key"]))
    assert "steps.versions.outputs.key" in restore["key"]
    # Only what this very key began may stand in; each job saves under a name of its own, for caches never change.
    assert restore["key"] == restore["restore-keys"].strip() + "${{ github.run_id }}-${{ github.run_attempt }}"
    assert save["with"]["key"] == "${{ steps.models.outputs.cache-primary-key }}"
    assert save["if"].startswith("always() ")
    assert list(steps).index("Save models") < list(steps).index("Gate")
    assert steps["Train and attack"]["timeout-minutes"] < job(github)["timeout-minutes"]
    cache = YAML(typ="safe").load(gitlab)["firedamp"]["cache"]
    assert (cache["paths"], cache["when"]) == (["runs/ci-*"], "always")


PIP = """
if [ "$1" = install ]; then shift; printf '%s\\n' "$*" >> {installed}; exit; fi
exec "{python}" -m pip "$@"
"""
# As a console script: the working directory is not on its path. One worker: others would only import torch again.
COMMAND = """
if [ "$1" = sweep ]; then set -- "$@" --jobs 1; fi
exec "{python}" -P -c 'from audit.cli import main; main()' "$@"
"""


class Runner:
    """What a CI system does with the shell lines of a job: environment, outputs of steps, `if`, and no network.

    `firedamp` is this interpreter's; `pip install` only tells what it was asked for.
    """

    def __init__(self, repository, outputs=("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")):
        self.repository = repository
        bin = repository / ".bin"
        bin.mkdir()
        self.installed = bin / "installed"
        self._script(bin / "pip", PIP.format(installed=self.installed, python=sys.executable))
        self._script(bin / "firedamp", COMMAND.format(python=sys.executable))
        paths = os.pathsep.join(path for path in sys.path if path)
        self.env = os.environ | {"PATH": f"{bin}:{os.environ['PATH']}", "PYTHONPATH": paths}
        self.env |= {name: str(bin / name) for name in outputs}

    @staticmethod
    def _script(path, text):
        path.write_text(f"#!/bin/bash{text}")
        path.chmod(0o755)

    def __call__(self, lines, **env):
        return subprocess.run(
            ["bash", "-e", "-c", lines],
            check=False,
            capture_output=True,
            text=True,
            cwd=self.repository,
            env=self.env | env,
        )

    def outputs(self):
        found = dict(line.split("=", 1) for line in Path(self.env["GITHUB_OUTPUT"]).read_text().splitlines())
        Path(self.env["GITHUB_OUTPUT"]).unlink()
        return found


MODULE = """
from dataclasses import dataclass
from typing import ClassVar
from audit.training.opacus import Opacus


@dataclass(frozen=True)
class Ours(Opacus):
    name: ClassVar[str] = "ours"
"""


def test_the_lines_for_github_run(repository):
    """Install, versions, sweep with a trainer of the repository, counts, gate and summary, as the job has them."""
    experiment = repository / "audits" / "tiny.toml"
    experiment.write_text(TOML.replace('name = "opacus"', 'name = "pipeline.training:Ours"'))
    (repository / "pipeline").mkdir()
    (repository / "pipeline" / "training.py").write_text(MODULE)
    (repository / "pyproject.toml").write_text('[project]\nname = "ours"\n')
    (repository / "requirements.txt").write_text("numpy\n")
    (github,) = write_ci_files(Path("audits/tiny.toml"), "github", repository, "firedamp[hf]>=0.1")
    runner, work = Runner(repository), job(github)
    source = re.search(r"'(.*)'", work["env"]["FIREDAMP"])[1]
    shell = {step["name"]: step["run"] for step in work["steps"] if "run" in step}
    env = {"RUN": work["env"]["RUN"], "FIREDAMP": source}

    assert runner(shell["Install"], **env).returncode == 0
    assert runner.installed.read_text() == "firedamp[hf]>=0.1 -r requirements.txt -e .\n"
    assert runner(shell["Versions"], **env).returncode == 0
    assert re.fullmatch("[0-9a-f]{16}", runner.outputs()["key"])
    assert runner(shell["Count models"], **env).returncode == 0
    before = runner.outputs()["models"]
    assert before == "0"
    done = runner(shell["Train and attack"], **env)
    assert done.returncode == 0, done.stderr
    assert "ours" in (repository / "runs" / "ci" / "run.json").read_text()
    assert runner(shell["Anything new"], **env, BEFORE=before).returncode == 0
    assert runner.outputs() == {"new": "true"}
    runner(shell["Count models"], **env)
    assert runner(shell["Anything new"], **env, BEFORE=runner.outputs()["models"]).returncode == 0
    assert not Path(runner.env["GITHUB_OUTPUT"]).exists()  # nothing to save where nothing was trained
    done = runner(shell["Gate"], **env)
    assert done.returncode == 3, done.stderr  # two models: the gate calls it inconclusive, and fails the job
    assert runner(shell["Summary"], **env).returncode == 0
    assert Path(runner.env["GITHUB_STEP_SUMMARY"]).read_text().startswith("## Firedamp: not passed")


def test_the_lines_for_gitlab_run(repository):
    (gitlab,) = write_ci_files(Path("audits/tiny.toml"), "gitlab", repository, "")
    runner, work = Runner(repository), YAML(typ="safe").load(gitlab)["firedamp"]
    (repository / "pyproject.toml").write_text('[project]\nname = "brings-firedamp"\n')
    for there in ("ci-old", "main"):
        (repository / "runs" / there).mkdir(parents=True)
    assert runner("git init -q . && git add audits").returncode == 0
    assert runner("\n".join(work["before_script"]), FIREDAMP=work["variables"]["FIREDAMP"]).returncode == 0
    assert runner.installed.read_text() == "-e .\n"
    done = runner("\n".join(work["script"]))
    assert done.returncode == 3, done.stderr
    made, kept = sorted((repository / "runs").iterdir())
    assert kept.name == "main"  # a baseline of the repository's
    assert re.fullmatch("ci-[0-9a-f]{16}", made.name)
    assert (made / "gate.junit.xml").is_file()


def test_a_crash_is_no_verdict(repository):
    (github,) = write_ci_files(Path("audits/tiny.toml"), "github", repository)
    (line,) = [step["run"] for step in job(github)["steps"] if step.get("name") == "Train and attack"]
    for code, expected in {0: 0, 1: 0, 3: 0, 4: 0, 2: 1, 70: 1, 130: 1, 137: 1}.items():
        done = subprocess.run(["bash", "-e", "-c", f"firedamp() {{ return {code}; }}\n{line}"], check=False)
        assert done.returncode == expected


def test_a_project_without_a_package_is_not_installed(repository):
    (github,) = write_ci_files(
        Path("audits/tiny.toml"), "github", repository, "firedamp @ git+https://git.example.org/f@v1"
    )
    (line,) = [step["run"] for step in job(github)["steps"] if step.get("name") == "Install"]
    (repository / "pyproject.toml").write_text("[tool.ruff]\nline-length = 100\n")
    assert "'firedamp@git+https://git.example.org/f@v1'" in github.read_text()
    runner = Runner(repository)
    assert runner(line, FIREDAMP="./wheels/firedamp.whl --no-index").returncode == 0
    assert runner.installed.read_text() == "./wheels/firedamp.whl --no-index\n"


@pytest.mark.parametrize(
    ("experiment", "provider", "sentence"),
    [
        ("audits/tiny.toml", "jenkins", "Unknown provider 'jenkins'; allowed: github, gitlab, both"),
        ("none.toml", "both", "and there is none"),
        ("a'b.toml", "both", "a plain path"),
        ("/x.toml", "both", "a plain path"),
    ],
)
def test_bad_input(repository, experiment, provider, sentence):
    with pytest.raises(InputError, match=sentence):
        write_ci_files(Path(experiment), provider, repository)
    assert not (repository / ".github").exists()


@pytest.mark.parametrize("source", ["a'b", 'a"b', "$(rm)", "a\nb", "`x`", "${{ x }}"])
def test_a_source_is_taken_literally(repository, source):
    with pytest.raises(InputError, match="Expected a source without quotes"):
        write_ci_files(Path("audits/tiny.toml"), "both", repository, source)


def test_nothing_is_overwritten(repository):
    write_ci_files(Path("audits/tiny.toml"), "gitlab", repository)
    with pytest.raises(InputError, match="is there already"):
        write_ci_files(Path("audits/tiny.toml"), "both", repository)
    assert not (repository / ".github").exists()


@pytest.mark.parametrize("provider", ["github", "gitlab"])
def test_a_job_may_stop_as_soon_as_a_claim_is_refuted(repository, provider):
    """By default; and models of the other kind of sweep are kept by another key."""
    (path,) = write_ci_files(Path("audits/tiny.toml"), provider, repository)
    text = path.read_text()
    assert re.findall(r"firedamp sweep .*? --sequential \|\|", text)
    assert "|| true; echo sweep --sequential; }" in text
    path.unlink()
    write_ci_files(Path("audits/tiny.toml"), provider, repository, sequential=False)
    assert "--sequential" not in path.read_text()
    assert "|| true; echo sweep; }" in path.read_text()
