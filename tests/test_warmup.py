"""`tinygrad-relu warmup`: afterwards no process compiles anything, and no kernel is missing."""
from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import numpy as np
import pytest

import tinygrad_relu
from tinygrad_relu import kernels
from tinygrad_relu.kernels import every_kernel
from tinygrad_relu.kernels.formulas import ACTIVATIONS
from tinygrad_relu.kernels.loops.pointwise import loops, swap
from tinygrad_relu.kernels.loops.reduce import add_rows
from tinygrad_relu.kernels.machine.cache import cache_folder
from tinygrad_relu.kernels.machine.door import launch
from tinygrad_relu.kernels.machine.policy import Kernel
from tinygrad_relu.warmup import warmup

WARM = """
from tinygrad_relu.warmup import warmup
done = warmup(["float32"], {names}, jobs={jobs})
print(done.compiled, done.cached)
"""
USE = """
import numpy as np
from tinygrad_relu import functional as F, lab, nn, optim
rng = np.random.default_rng(0)
x, y = rng.standard_normal((50, 6)), rng.integers(0, 3, 50)
for activation in ("relu", "maxout"):
    model = nn.MLP([6, 8, 5, 3], activation=activation, rng=0)
    groups = [{"params": [p for p in model.parameters() if p.kind == "bias"], "weight_decay": 0.0},
              {"params": [p for p in model.parameters() if p.kind != "bias"]}]
    for optimizer in (optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4),
                      optim.SGD(groups, lr=0.1, dampening=0.5, momentum=0.5, weight_decay=0.1, decoupled=True),
                      optim.AdamW(model.parameters()), optim.Adam(model.parameters(), weight_decay=0.1)):
        for batch in (slice(0, 32), slice(32, 50), slice(0, 1)):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x[batch]), y[batch])
            loss.backward()
            optimizer.step()
    F.cross_entropy(model(x.astype("float32")), y, reduction="none").sum().backward()
    F.softmax(model(x)), F.log_softmax(model(x[0]))
for layer in (nn.RNN(6, 3, rng=0), nn.RNN(6, 3, nonlinearity="relu", bidirectional=True, rng=0), nn.GRU(6, 3, bias=False, rng=0),
              nn.LSTM(6, 3, num_layers=2, rng=0)):
    for sequence in (x, x[:1], x.reshape(25, 2, 6)):
        output, state = layer(sequence)
        output.sum().backward()
    lab.census(model, x, y)
"""
NAMES = """
from tinygrad_relu.kernels.machine.door import watch
from tinygrad_relu.kernels.machine.policy import Kernel
seen = set()
def note(kernel, arguments):
    seen.update([kernel.__name__] if isinstance(kernel, Kernel) else [])
    kernel(*arguments)
watching = watch(note)
watching.__enter__()
""" + USE + "print(sorted(seen))"


def run(script: str, folder: Path) -> str:
    """Run a script in a process that keeps its compiled kernels in `folder`."""
    paths = [str(Path(tinygrad_relu.__file__).parents[1]), os.environ.get("PYTHONPATH")]
    environment = os.environ | {"NUMBA_CACHE_DIR": str(folder), "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def names_in_use() -> str:
    """The kernels that the training launches, as a list in Python."""
    folder = cache_folder()
    return run(NAMES, folder.parents[1] if folder else Path(os.devnull))


def files_in(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.nbc")}


def test_nothing_is_compiled_after_the_warmup_of_these_tests(tmp_path: Path) -> None:
    """Training runs on a copy of the cache as it was before the first test (see conftest.py), and adds nothing to it."""
    folder = cache_folder()
    if folder is not None and (folder / "warm").exists():
        for name in (folder / "warm").read_text().splitlines()[1:]:
            copy = tmp_path / "tinygrad_relu" / folder.name / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes((folder / name).read_bytes())
    else:                                               # this file was named, and not the whole suite
        run(WARM.format(jobs=2, names=names_in_use()), tmp_path)
    before = files_in(tmp_path)
    run(USE, tmp_path)
    assert before and files_in(tmp_path) == before


@pytest.mark.thorough
def test_nothing_is_compiled_after_a_warmup(tmp_path: Path) -> None:
    names = names_in_use()
    compiled, cached = map(int, run(WARM.format(jobs=2, names=names), tmp_path).split())
    assert compiled > 0 and cached == 0
    files = files_in(tmp_path)
    assert len(files) == compiled
    run(USE, tmp_path)
    assert files_in(tmp_path) == files
    assert run(WARM.format(jobs=1, names=names), tmp_path).split() == ["0", str(compiled)]


def test_every_kernel_is_known_by_a_name_of_its_own() -> None:
    """`every_kernel` finds the kernels in the files of the package, and those that factories make from the records."""
    known = every_kernel()
    modules = [import_module(info.name) for info in walk_packages(kernels.__path__, f"{kernels.__name__}.")]
    defined = {id(value): value for module in modules for value in vars(module).values() if isinstance(value, Kernel)}
    made = {id(kernel): kernel for kernel in known.values() if id(kernel) not in defined}
    assert {known[kernel.__name__] for kernel in defined.values()} == set(defined.values())
    for name, record in ACTIVATIONS.items():
        assert set(loops(record)) <= set(made.values()), name
    assert len({(kernel.function.__module__, kernel.function.__qualname__) for kernel in known.values()}) == len(known)


@pytest.mark.parametrize("launched, complaint", [
    (lambda: launch(swap, np.zeros((1, 4, 4))[:, ::2], np.zeros((1, 4, 2))), "x is a ndarray of shape (1, 2, 4) and float64"),
    (lambda: launch(swap, np.zeros((1, 2, 4)), np.zeros((4, 2))), "out is a ndarray of shape (4, 2) and float64"),
    (lambda: launch(swap, np.zeros((1, 2, 4)), np.zeros((1, 4, 2), np.float32)), "out is a ndarray of shape (1, 4, 2) and float32"),
    (lambda: launch(swap, np.zeros((1, 2, 4))), "got 1 arguments, expected 2"),
    (lambda: launch(add_rows, np.zeros((1, 2, 4)), [0, 1], True, np.zeros((1, 4, 2))), "rows is a list; expected Integers"),
    (lambda: launch(swap, np.zeros((1, 2, 4), int), np.zeros((1, 4, 2), int)), "got an array of int64; expected float32 or float64"),
])
def test_a_checked_launch_refuses_what_the_kernel_does_not_declare(launched: Any, complaint: str) -> None:
    """The tests check every launch (see conftest.py)."""
    with pytest.raises(TypeError, match=re.escape(complaint)):
        launched()


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"warmup: name is 'relu_forwrad'.*did you mean 'relu_forward'"):
        warmup(names=["relu_forwrad"])
    with pytest.raises(ValueError, match="warmup: dtype is 'float16'"):
        warmup(["float16"])
