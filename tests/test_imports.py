"""Who may import whom, and what stays light: read from the source, and measured in a fresh interpreter."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ORDER = ("canaries", "attacks", "audit", "experiments")
LIGHT = ("audit", "audit.score_audit", "audit.gate", "audit.store", "audit.runs", "audit.api", "audit.report")


def modules():
    """Every module's source file, by dotted name."""
    found = {}
    for package in ORDER:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


@cache
def imports(module):
    """What a module imports anywhere in it, except for type checkers alone: (name, whether at the top level)."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    skipped = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    inside = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {(alias.name, node not in inside) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            # "from audit import registry" needs that module, and no name of the package.
            found |= {(name if name in MODULES else node.module, node not in inside) for name in names}
    return found


def top(name):
    return name.partition(".")[0]


def test_there_is_something_to_look_at():
    assert len(MODULES) > 60
    assert ("attacks.scores", True) in imports("attacks.base")
    assert ("canaries.errors", True) in imports("canaries.base")


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module):
    allowed = ORDER[: ORDER.index(top(module)) + 1]
    for name, _ in imports(module):
        if top(name) in (*ORDER, "tests"):
            assert top(name) in allowed, f"{module} imports {name}"


def test_no_module_imports_itself_in_a_circle():
    """Over imports at the top level; a package's __init__ is one of its modules."""
    graph = {
        module: {name for name, at_top in imports(module) if at_top and name in MODULES and name != module}
        for module in MODULES
    }
    done, path = set(), []

    def visit(module):
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module in done:
            return
        path.append(module)
        for name in sorted(graph[module]):
            visit(name)
        path.pop()
        done.add(module)

    for module in graph:
        visit(module)
    assert done == set(MODULES)


def test_imports_inside_functions_hide_no_circle():
    """They are there to be lazy: in the command line, and in the package's own doors."""
    lazy = {
        module
        for module in MODULES
        for name, at_top in imports(module)
        if not at_top and top(name) in ORDER and top(module) != "experiments"
    }
    assert lazy <= {"audit", "audit.cli", "audit.pytest_plugin"}


@pytest.mark.parametrize("module", [module for module in MODULES if top(module) != "experiments"])
def test_only_the_plot_modules_import_matplotlib(module):
    drawn = any(top(name) == "matplotlib" for name, _ in imports(module))
    assert not drawn or module.startswith("audit.plots.") or module == "audit.plots"


@pytest.mark.parametrize("module", [module for module in MODULES if top(module) in ("canaries", "attacks")])
def test_canaries_and_attacks_never_import_torch(module):
    assert not {top(name) for name, _ in imports(module)} & {"torch", "opacus", "dp_accounting"}


def loaded(code):
    """What a fresh interpreter has imported after `code`."""
    program = f"{code}\nimport sys\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT)
    return set(done.stdout.splitlines()[-1].split())


def test_bounds_scores_gate_store_and_report_run_without_torch():
    found = loaded(f"import {', '.join(LIGHT)}")
    assert {"audit", "attacks", "canaries", "numpy"} <= found
    assert not found & {"torch", "opacus"}


def test_a_user_s_own_pipeline_is_audited_without_torch():
    found = loaded(
        "import numpy as np, audit, canaries, attacks\n"
        "x, y = np.random.default_rng(0).normal(size=(60, 3)), np.arange(60) % 2\n"
        "train = lambda x, y, seed: lambda asked: np.full((len(asked), 2), 0.5)\n"
        "audit.run(train, (x, y), canaries.Mislabelled(), [attacks.Loss()], 2, audit.Claim(1.0, 1e-5), "
        "count=4, references=2)\n"
        "audit.bound(np.arange(5.0), np.arange(5.0), delta=1e-5)\n"
    )
    assert not found & {"torch", "opacus"}


HEAVY = {"torch", "opacus", "scipy", "pandas", "sklearn", "matplotlib", "pydantic", "pyarrow", "numpy"}


def test_a_plain_test_run_pays_for_nothing_of_ours(tmp_path):
    """With the plugin installed and no test that asks for it."""
    (tmp_path / "test_plain.py").write_text("def test_one():\n    assert True\n")
    found = loaded(
        "import os, pytest\n"
        "os.environ['PYTEST_DISABLE_PLUGIN_AUTOLOAD'] = '1'\n"  # others' plug-ins import what they like
        f"assert pytest.main(['-q', '-p', 'audit.pytest_plugin', '-p', 'no:cacheprovider', {str(tmp_path)!r}]) == 0"
    )
    assert "audit" in found
    assert not found & (HEAVY | {"attacks", "canaries"})


def test_public_names_are_there_when_asked_for():
    import audit

    for name in audit.__all__:
        assert getattr(audit, name).__name__ == name
    assert set(audit.__all__) <= set(dir(audit))
    assert audit.secret_bits.required_bits
    with pytest.raises(AttributeError, match="module 'audit' has no attribute 'nothing'"):
        _ = audit.nothing


def test_the_public_name_of_sweep_is_its_function():
    import audit
    from audit.sweeping import sweep

    assert audit.sweep is sweep
    assert audit.sweep is sweep  # also after what it lives in was imported
