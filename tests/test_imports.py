"""What importing costs, and that imports inside the package point down only."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import skintricate

ROOT = Path(skintricate.__file__).parent
# From the top down: a module may import from its own part and from parts below.
LEVELS = [
    {"__main__", ""},
    {"model_selection"},
    {"estimators"},
    {"model", "names", "metrics", "serialization"},
    {"training"},
    {"layers", "losses", "optimizers", "initializers"},
    {"kernels"},
    {"backend"},
    {"exceptions", "configurable", "_version"},
]
LEVEL = {part: number for number, parts in enumerate(LEVELS) for part in parts}
# Siblings of the same level that may import each other.
SIBLINGS = {("layers", "initializers"), ("__main__", "")}
HEAVY = {"pyopencl", "tqdm", "pandas", "polars", "torch", "matplotlib", "IPython"}


def part_of(module):
    """Return the part of the package that a dotted name after ``skintricate`` belongs to."""
    return module.split(".")[0]


def imports_of(path):
    """Yield ``(line, part)`` of each import from the package in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} is a relative import"
            if node.module == "skintricate":
                # `from skintricate import layers` names a part, or what the top level exports.
                parts = [alias.name if alias.name in LEVEL else "" for alias in node.names]
                yield from ((node.lineno, part) for part in parts)
                continue
            names = [node.module]
        else:
            continue
        for name in names:
            if name == "skintricate" or name.startswith("skintricate."):
                yield node.lineno, part_of(name.partition(".")[2])


def modules():
    return sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path):
    own = part_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
    own = "" if own == "__init__" else own
    assert own in LEVEL, f"{own} has no place in the order of imports"
    for line, part in imports_of(path):
        assert part in LEVEL, f"{path}:{line} imports {part!r}, which has no place in the order"
        allowed = part == own or LEVEL[part] > LEVEL[own] or (own, part) in SIBLINGS
        top_level_modules = LEVEL[part] == LEVEL[own] == LEVEL["model"]
        assert allowed or top_level_modules, f"{path}:{line}: {own} imports {part}"


def test_every_part_has_a_place():
    parts = {path.stem if path.suffix == ".py" else path.name for path in ROOT.iterdir()} - {"__init__", "__pycache__"}
    assert parts <= set(LEVEL)


def run(code):
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("module", ["skintricate", "skintricate.estimators"])
def test_importing_loads_nothing_heavy(module):
    # scikit-learn itself imports pandas where it is installed.
    code = f"""
import sys, sklearn.base, sklearn.utils.validation
before = set(sys.modules)
import {module}
print(*{{name.split(".")[0] for name in set(sys.modules) - before}})
"""
    assert not HEAVY & set(run(code).split())


def test_importing_adds_little_to_scikit_learn():
    code = """
import sys, joblib, numpy, scipy.sparse, sklearn.base, sklearn.utils.validation, platformdirs
before = set(sys.modules)
import skintricate
print(*{name.split(".")[0] for name in set(sys.modules) - before} - {"skintricate"} - set(sys.stdlib_module_names))
"""
    assert len(run(code).split()) <= 3


def test_importing_makes_no_platform_call():
    code = """
import ctypes, os, sys
ctypes.CDLL = lambda *arguments, **keywords: sys.exit(f"CDLL{arguments}")
before = dict(os.environ)
import skintricate
assert "pyopencl" not in sys.modules
assert dict(os.environ) == before
from skintricate.backend import context, devices, runtimes
assert runtimes._loaded is None
assert not context._devices
assert devices._enumerate.cache_info().currsize == 0
"""
    run(code)
