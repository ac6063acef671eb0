"""The architecture: a layer imports only layers below it, one folder imports the compiler, and an import loads no extras."""
from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tinygrad_relu
from tinygrad_relu import functional
from tinygrad_relu.kernels.formulas import ACTIVATIONS
from tinygrad_relu.nn.activations import MODULES

HOUSE = Path(tinygrad_relu.__file__).parent
FLOORS = ["checks", "missing", "states", "files", "notebook", "text", "kernels", "autodiff", "ops", "interop", "tensor", "functional",
          "derivatives", "parameters", "nn", "optim", "profile", "capture", "checkpoint", "onnx", "data", "training", "inside", "lab", "sklearn", "play", "warmup", "doctor",
          "commands", "cli", "__main__"]     # each may import those listed before it
SOURCES = sorted(path for path in HOUSE.rglob("*.py") if path != HOUSE / "__init__.py")
COMPILERS = {"numba", "llvmlite"}
DECORATORS = {"njit", "jit", "vectorize", "guvectorize", "cfunc", "stencil", "jitclass", "register_jitable"}
OPTIONS = {"fastmath", "nogil", "cache", "error_model", "boundscheck", "jit_options", "inline", "forceobj"}
GUESTS = ["matplotlib", "jinja2", "scipy", "sklearn", "rich", "dask", "safetensors", "onnx", "onnxruntime", "mpmath", "hypothesis", "psutil", "pytest", "pandas", "torch", "jax", "bokeh", "distributed", "pyarrow", "IPython"]


def floor_of(path: Path) -> str:
    return path.relative_to(HOUSE).with_suffix("").parts[0]


def imports(path: Path) -> list[tuple[int, str]]:
    """Line and full dotted name of everything that a file imports, at the top or inside functions."""
    package = ["tinygrad_relu", *path.relative_to(HOUSE).parts[:-1]]
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[:len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *filter(None, [node.module])])
            found += [(node.lineno, f"{origin}.{alias.name}") for alias in node.names]
    return found


def test_every_file_is_in_a_layer():
    assert {floor_of(path) for path in SOURCES} <= set(FLOORS)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(HOUSE)))
def test_imports_point_down(path):
    for line, name in imports(path):
        parts = name.split(".")
        if parts[0] == "tinygrad_relu" and parts[1] != "__version__":
            assert parts[1] in FLOORS, f"{path.name}:{line} imports {name}, which is in no layer"
            above = FLOORS.index(parts[1]) > FLOORS.index(floor_of(path))
            assert not above, f"{path.name}:{line} imports {name}, which stands above it"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(HOUSE)))
def test_only_kernels_know_the_compiler(path):
    used = {name.split(".")[0] for _, name in imports(path)} & COMPILERS
    assert not used or floor_of(path) == "kernels", f"{path.name} imports {used}"


@pytest.mark.parametrize("path", [p for p in SOURCES if floor_of(p) == "kernels" and p.name != "policy.py"],
                         ids=lambda path: path.name)
def test_compile_options_stand_in_the_policy_alone(path):
    """No njit, jit or vectorize elsewhere, and none of their options."""
    for node in ast.walk(ast.parse(path.read_text())):
        word = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
        assert word not in DECORATORS
        if isinstance(node, ast.keyword):
            assert node.arg not in OPTIONS


def test_import_loads_no_optional_packages():
    """Packages for plots, tables, data sets and tests are imported only when they are used."""
    script = f"import sys, tinygrad_relu; print(*(name for name in {GUESTS} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True,
                          cwd=HOUSE.parent)
    assert done.stdout.split() == []


def test_the_main_job_needs_no_optional_package():
    script = f"import sys; sys.modules.update(dict.fromkeys({GUESTS}))\nfrom tinygrad_relu.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", script, "revive", "--widths", "8", "--kill-steps", "30", "--steps", "5",
                           "--treatments", "sgd", "adam"], capture_output=True, text=True, cwd=HOUSE.parent)
    assert done.returncode == 0 and "accuracy" in done.stdout, done.stderr


def test_every_module_has_a_record_and_a_function():
    """The converse is tested in test_activations.py."""
    assert set(MODULES) <= set(ACTIVATIONS) and all(hasattr(functional, name) for name in MODULES)
