"""Workflow files for CI systems: sweep, gate, publish; trained models are kept between runs of the same code."""

from __future__ import annotations

from pathlib import Path

from canaries.errors import InputError

GITHUB = """\
# Written by `firedamp init-ci`. Trains with and without canaries, attacks, and fails where the policy says so.
name: firedamp
on:
  push:
    branches: [main]
  pull_request:
permissions:
  contents: read
jobs:
  privacy:
    runs-on: ubuntu-latest
    timeout-minutes: 120
    permissions:
      contents: read
      security-events: write # for the findings in SARIF
    env:
      RUN: runs/ci
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.12"
      - run: pip install firedamp --extra-index-url https://download.pytorch.org/whl/cpu
      # Models of other code say nothing about this code, so no older cache may stand in: there are no restore-keys.
      - id: models
        uses: actions/cache/restore@v4
        with:
          path: runs/ci
          key: >-
            firedamp-${{ runner.os }}-${{
            hashFiles('@EXPERIMENT@', '**/*.py', '**/*.toml', '**/requirements*.txt', '**/*.lock') }}
      - name: Train and attack
        # 1, 3 and 4 are verdicts, and the gate's to judge.
        run: firedamp sweep '@EXPERIMENT@' --out "$RUN" || case $? in 1|3|4) true ;; *) exit 1 ;; esac
      - uses: actions/cache/save@v4
        if: always() && steps.models.outputs.cache-hit != 'true'
        with:
          path: runs/ci
          key: ${{ steps.models.outputs.cache-primary-key }}
      - name: Gate
        run: firedamp gate "$RUN"
      - name: Summary
        if: always()
        run: if [ -f "$RUN/gate.md" ]; then cat "$RUN/gate.md" >> "$GITHUB_STEP_SUMMARY"; fi
      - uses: github/codeql-action/upload-sarif@v3
        if: always() && hashFiles('runs/ci/gate.sarif') != ''
        continue-on-error: true # where code scanning is switched off
        with:
          sarif_file: runs/ci/gate.sarif
      - uses: actions/upload-artifact@v4
        if: always()
        with:
          name: firedamp
          path: |
            runs/ci/report.html
            runs/ci/summary.json
            runs/ci/gate.*
"""

GITLAB = """\
# Written by `firedamp init-ci`. Include it from .gitlab-ci.yml:
#     include: firedamp.gitlab-ci.yml
firedamp:
  image: python:3.12
  timeout: 2h
  cache:
    key: firedamp-$CI_COMMIT_REF_SLUG
    fallback_keys: ["firedamp-$CI_DEFAULT_BRANCH"]
    paths: [runs/]
    when: always
  before_script:
    - pip install firedamp --extra-index-url https://download.pytorch.org/whl/cpu
  script:
    # Models of other code say nothing about this code, so the run directory is named by what it was made of.
    - KEY=$(git ls-files -s '@EXPERIMENT@' '*.py' '*.toml' '*requirements*.txt' '*.lock' | sha256sum | cut -c1-16)
    - mkdir -p runs && find runs -mindepth 1 -maxdepth 1 ! -name "ci-$KEY" -exec rm -rf {} +
    # 1, 3 and 4 are verdicts, and the gate's to judge.
    - firedamp sweep '@EXPERIMENT@' --out "runs/ci-$KEY" || case $? in 1|3|4) true ;; *) exit 1 ;; esac
    - firedamp gate "runs/ci-$KEY"
  artifacts:
    when: always
    paths: ["runs/ci-*/report.html", "runs/ci-*/summary.json", "runs/ci-*/gate.*"]
    reports:
      junit: "runs/ci-*/gate.junit.xml"
"""

FILES = {
    "github": (Path(".github/workflows/firedamp.yml"), GITHUB),
    "gitlab": (Path("firedamp.gitlab-ci.yml"), GITLAB),
}


def write_ci_files(experiment: Path, provider: str = "both", root: Path = Path()) -> tuple[Path, ...]:
    """Write the workflow files for `experiment`, a path relative to the repository's root; nothing is overwritten.

    Raises:
        InputError: for an unknown provider, an experiment that is not there or is not named plainly, or a file that
            is there already.
    """
    if provider not in (*FILES, "both"):
        raise InputError(f"Unknown provider '{provider}'; allowed: github, gitlab, both.")
    name = experiment.as_posix()
    if experiment.is_absolute() or set(name) & set("'\"`$\\*?[]{}\n"):
        raise InputError(f"Expected a plain path of an experiment relative to the repository's root, got '{name}'.")
    if not (root / experiment).is_file():
        raise InputError(f"Expected an experiment at '{root / experiment}', and there is none.")
    wanted = [(root / path, text) for kind, (path, text) in FILES.items() if provider in (kind, "both")]
    for path, _ in wanted:
        if path.exists():
            raise InputError(f"'{path}' is there already; move it away first.")
    for path, text in wanted:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("@EXPERIMENT@", name), encoding="utf-8")
    return tuple(path for path, _ in wanted)
