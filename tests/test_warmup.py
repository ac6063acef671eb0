"""`tinygrad-relu warmup`: afterwards nobody compiles anything, and no kernel was forgotten."""
from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import numpy as np
import pytest

import tinygrad_relu
from tinygrad_relu import kernels
from tinygrad_relu.kernels.formulas import ACTIVATIONS
from tinygrad_relu.kernels.loops.affine import linear_activation
from tinygrad_relu.kernels.loops.loss import ERRORS, error_loss
from tinygrad_relu.kernels.loops.pointwise import loops
from tinygrad_relu.kernels.loops.recurrent import rnn
from tinygrad_relu.kernels.loops.units import unit_extremes
from tinygrad_relu.kernels.machine.door import watch
from tinygrad_relu.kernels.machine.policy import ByType, cache_folder
from tinygrad_relu.nn.activations import MODULES, Activation
from tinygrad_relu.warmup import SHARED, tasks, warmup

WARM = """
from tinygrad_relu.warmup import warmup
done = warmup(["float32"], ["relu", "maxout", "linear", "softmax", "moves", "recurrent", "optimizers", "census"], jobs={jobs})
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


def run(script: str, folder: Path) -> str:
    """Run a script in a process that keeps its compiled kernels in `folder`."""
    paths = [str(Path(tinygrad_relu.__file__).parents[1]), os.environ.get("PYTHONPATH")]
    environment = os.environ | {"NUMBA_CACHE_DIR": str(folder), "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def files_in(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.nb?")}


def test_nothing_is_compiled_after_the_warmup_of_these_tests(tmp_path: Path) -> None:
    """Training runs on a copy of the cache as it was before the first test (see conftest.py), and adds nothing to it."""
    folder = cache_folder()
    if folder is not None and (folder / "warm").exists():
        for name in (folder / "warm").read_text().splitlines():
            copy = tmp_path / "tinygrad_relu" / folder.name / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes((folder / name).read_bytes())
    else:                                               # this file was named, and not the whole suite
        run(WARM.format(jobs=2), tmp_path)
    before = files_in(tmp_path)
    run(USE, tmp_path)
    assert before and files_in(tmp_path) == before


@pytest.mark.thorough
def test_nothing_is_compiled_after_a_warmup(tmp_path: Path) -> None:
    compiled, cached = map(int, run(WARM.format(jobs=2), tmp_path).split())
    assert compiled > 0 and cached == 0
    files = files_in(tmp_path)
    assert sum(path.suffix == ".nbc" for path in files) == compiled
    run(USE, tmp_path)
    assert files_in(tmp_path) == files
    assert run(WARM.format(jobs=1), tmp_path).split() == ["0", str(compiled)]


def every_kernel() -> set[object]:
    """The kernels that stand in the modules of `kernels`, and those that are made from the records."""
    modules = [import_module(info.name) for info in walk_packages(kernels.__path__, f"{kernels.__name__}.")]
    values = {id(value): value for module in modules for value in vars(module).values()}.values()
    found = {getattr(value, "kernel", value) for value in values if isinstance(value, ByType) or hasattr(value, "py_func")}
    found |= {kernel for name in ("tanh", "relu") for kernel in rnn(ACTIVATIONS[name])}
    for name, record in ACTIVATIONS.items():
        found |= {*loops(record)}
        if issubclass(MODULES.get(name, object), Activation):
            fused = linear_activation(record)
            forward = fused.in_place if record.slope_from_y(*record.parameters.values()) else fused.forward
            found |= {forward.kernel, fused.pullback.kernel, unit_extremes(record)}
    for record in ERRORS.values():
        found |= {*loops(record), *error_loss(record)}
    return found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_kernel_is_forgotten_and_none_belongs_to_two_tasks(dtype: str) -> None:
    """The tasks are watched without running their kernels, which would take the compiler half a minute."""
    launched: dict[str, set[object]] = {}

    def note(kernel: object, arguments: tuple[object, ...]) -> None:
        if hasattr(kernel, "py_func"):
            launched[task].add(kernel)
        else:
            kernel(*arguments)

    with watch(note), np.errstate(all="ignore"):       # what was not computed is whatever the memory held
        for task, action in tasks().items():
            launched[task] = set()
            action(dtype)
    shared = launched.pop(SHARED)
    together = [*shared, *(kernel for kernels in launched.values() for kernel in kernels - shared)]
    assert {kernel.__name__ for kernel in every_kernel() - set(together)} == set()
    assert len(together) == len(set(together))


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"warmup: name is 'rleu'.*did you mean 'relu'"):
        warmup(names=["rleu"])
    with pytest.raises(ValueError, match="warmup: dtype is 'float16'"):
        warmup(["float16"])
