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

TOML = """
name = "tiny"
epsilons = [4.0]
delta = 1e-5
[[audits]]
name = "a"
models = 2
attacks = ["loss"]
estimators = ["one-run"]
data = { name = "digits", train = 20, pool = 10, test = 5 }
canaries = { design = "mislabelled", count = 4, references = 2 }
trainer = { name = "opacus", model = "softmax", steps = 1, sample_rate = 1.0 }
"""


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


def test_trained_models_are_kept_by_a_key_over_the_code(repository):
    github, gitlab = write_ci_files(Path("audits/tiny.toml"), "both", repository)
    steps = YAML(typ="safe").load(github)["jobs"]["privacy"]["steps"]
    restore = next(step for step in steps if step.get("uses", "").startswith("actions/cache/restore"))
    assert {"audits/tiny.toml", "**/*.py"} <= set(re.findall(r"'([^']+)'", restore["with"]["key"]))
    assert "restore-keys" not in restore["with"]  # other code's models must not stand in
    assert YAML(typ="safe").load(gitlab)["firedamp"]["cache"]["paths"] == ["runs/"]


def run(line, folder, **env):
    return subprocess.run(["bash", "-ec", line], check=False, capture_output=True, text=True, cwd=folder, env=env)


def test_the_commands_run(repository):
    """GitLab's script whole, and GitHub's own lines, with this interpreter's Firedamp."""
    github, gitlab = write_ci_files(Path("audits/tiny.toml"), "both", repository)
    shim = repository / "bin" / "firedamp"
    shim.parent.mkdir()
    # One worker: others would only import torch again.
    shim.write_text(f'#!/bin/sh\n[ "$1" = sweep ] && set -- "$@" --jobs 1\nexec "{sys.executable}" -m audit "$@"\n')
    shim.chmod(0o755)
    env = os.environ | {"PATH": f"{shim.parent}:{os.environ['PATH']}", "RUN": "runs/ci"}
    (repository / "runs" / "ci-old").mkdir(parents=True)
    assert run("git init -q . && git add audits", repository, **env).returncode == 0

    script = YAML(typ="safe").load(gitlab)["firedamp"]["script"]
    done = run("\n".join(script), repository, **env)
    assert done.returncode == 3, done.stderr  # two models: the gate calls it inconclusive, and fails the job
    (made,) = (repository / "runs").iterdir()
    assert made.name.startswith("ci-")
    assert made.name != "ci-old"
    assert (made / "gate.junit.xml").is_file()

    (repository / "runs" / "ci").symlink_to(made)
    summary = repository / "summary.md"
    for step in YAML(typ="safe").load(github)["jobs"]["privacy"]["steps"]:
        if step.get("name") in ("Gate", "Summary"):  # training is the same line as GitLab's
            done = run(step["run"], repository, **env, GITHUB_STEP_SUMMARY=str(summary))
            assert done.returncode == (3 if step["name"] == "Gate" else 0), done.stderr
    assert summary.read_text().startswith("## Firedamp: not passed")


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


def test_nothing_is_overwritten(repository):
    write_ci_files(Path("audits/tiny.toml"), "gitlab", repository)
    with pytest.raises(InputError, match="is there already"):
        write_ci_files(Path("audits/tiny.toml"), "both", repository)
    assert not (repository / ".github").exists()
