"""Workflow files for CI systems: sweep, gate, publish; trained models are kept between runs of the same code."""

from __future__ import annotations

import importlib.metadata
import re
import textwrap
from pathlib import Path

from canaries.errors import InputError

INSTALL = r"""
set -- $FIREDAMP
if [ -f requirements.txt ]; then set -- "$@" -r requirements.txt; fi
if [ -f setup.py ] || grep -qsE '^\[(project|tool\.poetry)\]' pyproject.toml; then set -- "$@" -e .; fi
pip install "$@"
"""
"""Firedamp and the repository in one go, so that pip finds versions that fit together."""

VERSIONS = "pip freeze | grep -iE 'firedamp|^(torch|opacus|numpy|scikit-learn)=' || true"
"""What trained models depend on besides the repository's own files; Firedamp from elsewhere names its commit."""

JUDGED = "case $? in 1|3|4) true ;; *) exit 1 ;; esac"
"""1, 3 and 4 are verdicts, and the gate's to judge."""

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
    timeout-minutes: 150
    permissions:
      contents: read
      security-events: write # for the findings in SARIF
    env:
      RUN: runs/ci
      # What pip installs Firedamp from; the repository's variable FIREDAMP wins.
      FIREDAMP: ${{ vars.FIREDAMP || '@SOURCE@' }}
      PIP_EXTRA_INDEX_URL: ${{ vars.PIP_EXTRA_INDEX_URL || 'https://download.pytorch.org/whl/cpu' }}
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.12"
      - name: Install
        run: |
          @INSTALL@
      - name: Versions
        id: versions
        run: echo "key=$({ @VERSIONS@; } | sha256sum | cut -c1-16)" >> "$GITHUB_OUTPUT"
      # Models of other code say nothing about this code: the key is of all that defines them. What an earlier job of
      # the same key trained comes back even if that job was stopped half-way.
      - name: Restore models
        id: models
        uses: actions/cache/restore@v4
        with:
          path: runs/ci
          key: >-
            @KEY@-${{ github.run_id }}-${{ github.run_attempt }}
          restore-keys: >-
            @KEY@-
      - name: Count models
        id: before
        run: echo "models=$(find "$RUN" -name '*.parquet' 2>/dev/null | wc -l)" >> "$GITHUB_OUTPUT"
      - name: Train and attack
        timeout-minutes: 120
        # 1, 3 and 4 are verdicts, and the gate's to judge.
        run: firedamp sweep '@EXPERIMENT@' --out "$RUN"@LOOKS@ || @JUDGED@
      - name: Anything new
        id: after
        if: always() && steps.before.conclusion == 'success'
        env:
          BEFORE: ${{ steps.before.outputs.models }}
        run: |
          now=$(find "$RUN" -name '*.parquet' 2>/dev/null | wc -l)
          if [ "$now" != "$BEFORE" ]; then echo "new=true" >> "$GITHUB_OUTPUT"; fi
      - name: Save models
        uses: actions/cache/save@v4
        if: always() && steps.after.outputs.new == 'true'
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

KEY = (
    "firedamp-${{ runner.os }}-${{ steps.versions.outputs.key }}-"
    "${{ hashFiles('@EXPERIMENT@', '**/*.py', '**/*.toml', '**/requirements*.txt', '**/*.lock') }}"
)

GITLAB = """\
# Written by `firedamp init-ci`. Include it from .gitlab-ci.yml:
#     include: firedamp.gitlab-ci.yml
firedamp:
  image: python:3.12
  timeout: 2h
  variables:
    # What pip installs Firedamp from; a CI/CD variable of the project wins.
    FIREDAMP: '@SOURCE@'
    PIP_EXTRA_INDEX_URL: https://download.pytorch.org/whl/cpu
  cache:
    key: firedamp-$CI_COMMIT_REF_SLUG
    fallback_keys: ["firedamp-$CI_DEFAULT_BRANCH"]
    paths: ["runs/ci-*"]
    when: always
  before_script:
    - |
      @INSTALL@
  script:
    # Models of other code say nothing about this code, so the run directory is named by what it was made of.
    - >-
      KEY=$({ git ls-files -s '@EXPERIMENT@' '*.py' '*.toml' '*requirements*.txt' '*.lock';
      @VERSIONS@; } | sha256sum | cut -c1-16)
    - mkdir -p runs && find runs -mindepth 1 -maxdepth 1 -name 'ci-*' ! -name "ci-$KEY" -exec rm -rf {} +
    # 1, 3 and 4 are verdicts, and the gate's to judge.
    - firedamp sweep '@EXPERIMENT@' --out "runs/ci-$KEY"@LOOKS@ || @JUDGED@
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


def write_ci_files(
    experiment: Path,
    provider: str = "both",
    root: Path = Path(),
    source: str | None = None,
    sequential: bool = True,
) -> tuple[Path, ...]:
    """Write the workflow files for `experiment`, a path relative to the repository's root; nothing is overwritten.

    Jobs install Firedamp from `source`, and the repository beside it where it can be installed or names requirements;
    modules of the repository can be named in the experiment either way.

    Args:
        experiment: the experiment, relative to `root`.
        provider: "github", "gitlab" or "both".
        root: the repository's root.
        source: what pip is told, words apart: a requirement, a URL, a path, options; "" where the repository brings
            Firedamp itself. By default this version by its name.
        sequential: whether jobs add models in batches and stop as soon as a claim is refuted (`audit.early_stop`).

    Raises:
        InputError: for an unknown provider, an experiment that is not there or is not named plainly, a source that a
            shell would take apart, or a file that is there already.
    """
    if provider not in (*FILES, "both"):
        raise InputError(f"Unknown provider '{provider}'; allowed: github, gitlab, both.")
    name = experiment.as_posix()
    if experiment.is_absolute() or set(name) & set("'\"`$\\*?[]{}\n"):
        raise InputError(f"Expected a plain path of an experiment relative to the repository's root, got '{name}'.")
    if not (root / experiment).is_file():
        raise InputError(f"Expected an experiment at '{root / experiment}', and there is none.")
    if source is None:
        source = f"firedamp=={importlib.metadata.version('firedamp')}"
    if set(source) & set("'\"`$\\*?{}\n"):
        raise InputError(f"Expected a source without quotes or what else a shell takes apart, got '{source}'.")
    source = source.replace(" @ ", "@")  # the shell takes words apart, and pip needs no blanks there
    wanted = [(root / path, text) for kind, (path, text) in FILES.items() if provider in (kind, "both")]
    for path, _ in wanted:
        if path.exists():
            raise InputError(f"'{path}' is there already; move it away first.")
    for path, text in wanted:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_filled(text, name, source, sequential), encoding="utf-8")
    return tuple(path for path, _ in wanted)


def _filled(text: str, experiment: str, source: str, sequential: bool) -> str:
    text = re.sub(r"( *)@INSTALL@\n", lambda found: textwrap.indent(INSTALL.lstrip(), found[1]), text)
    looks = " --sequential" if sequential else ""
    # Looks are counted in the run directory, so one that was begun in the other way is of no use: it is in the key.
    versions = f"{VERSIONS}; echo sweep{looks}"
    for mark, value in {"VERSIONS": versions, "LOOKS": looks, "JUDGED": JUDGED, "KEY": KEY}.items():
        text = text.replace(f"@{mark}@", value)
    return text.replace("@EXPERIMENT@", experiment).replace("@SOURCE@", source)
