"""``tinygrad-relu warmup``: compile every kernel ahead, so that nobody waits for the compiler later.

A kernel is compiled for the types that it is called with. So nothing is listed here by signature: every operation is
run once on tiny arrays, through the same functions that users call: forward, backward, second derivative. What the
compiler does meanwhile is seen at the one door that every kernel passes (`kernels.door`).

>>> "relu" in tasks(), "optimizers" in tasks()
(True, True)
"""
from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from . import functional as F
from . import nn, optim
from .autodiff.node import Array
from .autodiff.tape import grad
from .checks import check_name
from .kernels.formulas import ACTIVATIONS
from .kernels.loops.affine import large_affine
from .kernels.machine.door import watch
from .kernels.machine.policy import cache_folder
from .lab.census import Statistics
from .lab.units import Extremes, HiddenLayer
from .nn.activations import MODULES
from .ops import random
from .ops.activation import activation_op
from .ops.linalg import matmul
from .ops.recurrent import gru, lstm, rnn_op
from .tensor import Tensor
from .text import progress

DTYPES = ("float32", "float64")
SHARED = "basics"       # the task whose kernels appear in the rules of many operations
JOBS = min(4, os.cpu_count() or 1)      # LLVM holds a lock while it compiles, so more at a time takes more processes


@dataclass(frozen=True)
class Warmup:
    """What a warm-up did.

    Attributes
    ----------
    compiled, cached : int
        How many kernels were compiled, and how many came from the cache. (One formula in two dtypes is two kernels.)
    seconds : float
    folder : Path or None
        Where compiled kernels are kept.
    """

    compiled: int
    cached: int
    seconds: float
    folder: Path | None

    @property
    def kernels(self) -> int:
        return self.compiled + self.cached


# -- what is run ------------------------------------------------------------------------------------------------------


def tasks() -> dict[str, Callable[[str], None]]:
    """What to run, by name: functions of a dtype. No kernel belongs to two tasks, but those of `SHARED` (see `warmup`).

    Activations follow from their table. That the others leave no kernel out, a test checks.
    """
    table: dict[str, Callable[[str], None]] = {name: _activation_task(name) for name in ACTIVATIONS}
    table["learned slopes"] = lambda dtype: _exercise(F.prelu, _matrix(dtype), np.full(4, 0.25, dtype))
    table["maxout"] = lambda dtype: _exercise(lambda x: F.maxout(x, 2), _matrix(dtype))
    table[SHARED] = _basic_task
    table["reductions"] = _reduction_task
    table["linear"] = _linear_task
    table["softmax"] = _softmax_task
    table["moves"] = lambda dtype: _exercise(lambda x: x.T[[1, 1]], _matrix(dtype))
    table["stacks"] = lambda dtype: _exercise(matmul, _matrix(dtype)[:, :, None], _matrix(dtype)[:, None])
    table["losses"] = _loss_task
    table["normalization"] = _normalization_task
    table["random"] = _random_task
    table["embedding"] = lambda dtype: _exercise(lambda w: F.embedding([1, 0], w), _matrix(dtype))
    table["recurrent"] = _recurrent_task
    table["optimizers"] = _optimizer_task
    table["census"] = _census_task
    return table


def _activation_task(name: str) -> Callable[[str], None]:
    """One activation alone, and joined to the affine layer before it, where there is a module that can be."""
    record = ACTIVATIONS[name]
    op, p = activation_op(record), tuple(float(v) for v in record.parameters.values())
    module = MODULES.get(name)

    def task(dtype: str) -> None:
        _exercise(lambda x: op(x, p=p), _matrix(dtype))
        if module is not None and issubclass(module, nn.Activation):
            layers = affine, activation = nn.Linear(4, 3, dtype=dtype, rng=0), module()
            z = nn.Sequential(*layers)(_matrix(dtype))
            z.sum().backward()
            Extremes(HiddenLayer("0", affine, activation, 0)).add_outputs(z, z)

    return task


def _basic_task(dtype: str) -> None:
    """Choices and sums."""
    x = _matrix(dtype)
    _exercise(lambda a, b: F.where(x > 0, a, b), x, x)
    _exercise(F.maximum, x, x)
    _exercise(lambda a: a.sum(axis=0), x)


def _reduction_task(dtype: str) -> None:
    for function in (F.max, F.cumsum, F.prod):
        _exercise(lambda x, f=function: f(x, axis=1), _matrix(dtype))


def _linear_task(dtype: str) -> None:
    weight, bias = np.ones((3, 4), dtype), np.ones(3, dtype)
    _exercise(F.linear, _matrix(dtype), weight, bias)       # the second derivative is matmul
    large_affine(_matrix(dtype), weight, bias, np.empty((2, 3), dtype))


def _softmax_task(dtype: str) -> None:
    labels = np.array([0, 3])
    for function in (F.softmax, F.log_softmax, lambda x: F.cross_entropy(x, labels),
                     lambda x: F.cross_entropy(x, labels, label_smoothing=0.1)):
        _exercise(function, _matrix(dtype))
    _exercise(F.cross_entropy, _matrix(dtype), _matrix(dtype))          # class probabilities, and their gradient


def _loss_task(dtype: str) -> None:
    """Those with kernels of their own; the others are made of what the other tasks compile."""
    for function in (F.mse_loss, F.l1_loss, F.huber_loss, F.smooth_l1_loss):
        _exercise(function, _matrix(dtype), 0 * _matrix(dtype))
    x = _matrix(dtype)
    for loss in (F.nll_loss, F.multi_margin_loss):
        loss(Tensor(x, requires_grad=True), np.zeros(len(x), int)).backward()


def _normalization_task(dtype: str) -> None:
    """In training, and with the running statistics, which are of the dtype of the layer."""
    weight, bias = np.ones(4, dtype), np.zeros(4, dtype)
    mean, var = np.zeros(4, dtype), np.ones(4, dtype)
    for training in (True, False):
        _exercise(lambda x, w, b, t=training: F.batch_norm(x, mean, var, w, b, t), _matrix(dtype), weight, bias)
    _exercise(lambda x, *p: F.layer_norm(x, 4, *p), _matrix(dtype), weight, bias)


def _random_task(dtype: str) -> None:
    layer = nn.Dropout(rng=0)
    layer(_matrix(dtype))
    random.uniform(layer.rng_state.data, (4,), dtype, 0.0, 1.0)


def _recurrent_task(dtype: str) -> None:
    """The loops over time alone: what stands around them belongs to others."""
    state, weight, bias = Tensor(np.ones((2, 1)), True, dtype), np.ones((12, 1), dtype), np.ones(3, dtype)
    for op, gates, rest in ((rnn_op(ACTIVATIONS["tanh"]), 1, ()), (rnn_op(ACTIVATIONS["relu"]), 1, ()), (gru, 3, (bias,)),
                            (lstm, 4, ())):
        states = (state, state) if op is lstm else (state,)
        y = op(np.ones((3, 2, gates), dtype), *states, weight[:gates], *rest)
        y.backward(np.ones_like(y.data))


def _optimizer_task(dtype: str) -> None:
    """One step of each, the gradient clipped: the dialects are options of one kernel."""
    for rule in (optim.SGD, optim.Adam):
        parameter = nn.Parameter(np.ones(3, dtype))
        optimizer = rule([parameter])
        (parameter * parameter).sum().backward()
        nn.utils.clip_grad_norm_([parameter], 1.0)
        optimizer.step()


def _census_task(dtype: str) -> None:
    layer = HiddenLayer("0", nn.Linear(3, 4, dtype=dtype, rng=0), None, 0)
    Statistics(layer).join(_matrix(dtype), _matrix(dtype), _matrix(dtype))


def _matrix(dtype: str) -> Array:
    return np.array([[-2.0, -0.5, 0.5, 2.0], [0.25, 0.75, -0.25, 1.0]], dtype)


def _exercise(function: Callable[..., Tensor], *arrays: Array) -> None:
    """Forward; backward by the fused pullback; backward by the rules, recorded; and the derivatives of that."""
    inputs = [Tensor(array, requires_grad=True) for array in arrays]
    y = function(*inputs)
    y.backward(np.ones_like(y.data))
    y = function(*inputs)
    g = Tensor(np.ones_like(y.data), requires_grad=True)        # in a deep model, g depends on the parameters too
    for first in grad(y, inputs, grad_outputs=g, create_graph=True):
        grad(first.sum(), [*inputs, g], retain_graph=True)


# -- running it -------------------------------------------------------------------------------------------------------


@contextmanager
def counted() -> Iterator[dict[str, int]]:
    """Count what the compiler does for the kernels that are launched inside: ``{"compiled": ..., "cached": ...}``."""
    tally = {"compiled": 0, "cached": 0}

    def look(kernel: Any, arguments: tuple[Any, ...]) -> None:
        before = _compiler_visits(kernel)
        kernel(*arguments)
        after = _compiler_visits(kernel)
        tally["compiled"] += after[0] - before[0]
        tally["cached"] += after[1] - before[1]

    with watch(look):
        yield tally


def _compiler_visits(kernel: Any) -> tuple[int, int]:
    """How often, so far, a kernel was compiled, and how often it came from the cache. (A ufunc of NumPy: never.)"""
    stats = getattr(kernel, "stats", None)
    return (sum(stats.cache_misses.values()), sum(stats.cache_hits.values())) if stats else (0, 0)


def _run(name: str, dtypes: Sequence[str]) -> dict[str, int]:
    with counted() as tally, np.errstate(all="ignore"):
        for dtype in dtypes:
            tasks()[name](dtype)
    return tally


def warmup(dtypes: Iterable[str] = DTYPES, names: Iterable[str] | None = None, jobs: int = JOBS,
           progress: Callable[[str, dict[str, int]], None] = lambda name, tally: None) -> Warmup:
    """Compile every kernel that the cache does not hold yet.

    Parameters
    ----------
    dtypes : iterable of {"float32", "float64"}
    names : iterable of str, optional
        Which `tasks`; all by default.
    jobs : int
        Processes that compile side by side; 1 compiles in this process, and leaves it ready to use.
    progress : callable
        ``progress(name, {"compiled": ..., "cached": ...})``, called after each task.

    Notes
    -----
    A kernel has one index file for both dtypes, which is read, changed and written back: two processes at it would lose
    an entry. So all dtypes of one kernel are compiled by one process, and no kernel belongs to two tasks, but those of the
    task `SHARED`: these are compiled before all others, and every process begins by loading them.
    """
    start = time.perf_counter()
    dtypes = [check_name(dtype, DTYPES, "warmup: dtype") for dtype in dtypes]
    known = tasks()
    chosen = [check_name(name, known, "warmup: name") for name in (known if names is None else names)]
    names = list(dict.fromkeys([SHARED, *chosen]))
    compiled = cached = 0
    for name, tally in _in_this_process(names, dtypes) if jobs == 1 else _side_by_side(names, dtypes, jobs):
        compiled, cached = compiled + tally["compiled"], cached + tally["cached"]
        progress(name, tally)
    return Warmup(compiled, cached, time.perf_counter() - start, cache_folder())


def _in_this_process(names: list[str], dtypes: list[str]) -> Iterator[tuple[str, dict[str, int]]]:
    for name in names:
        yield name, _run(name, dtypes)


def _side_by_side(names: list[str], dtypes: list[str], jobs: int) -> Iterator[tuple[str, dict[str, int]]]:
    # Spawned, not forked: a fork would copy locks of thread pools that it does not have.
    yield SHARED, _run(SHARED, dtypes)
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_run, initargs=(SHARED, dtypes)) as pool:
        waiting = {pool.submit(_run, name, dtypes): name for name in names if name != SHARED}
        for future in as_completed(waiting):
            yield waiting[future], future.result()


# -- the command ------------------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``tinygrad-relu warmup``."""
    parser.add_argument("--dtype", choices=(*DTYPES, "both"), default="both", help="which kernels")
    parser.add_argument("--jobs", type=int, default=JOBS, metavar="N", help="compiling processes")


def main(arguments: argparse.Namespace) -> int:
    """Run ``tinygrad-relu warmup``."""
    if cache_folder() is None:
        raise OSError("the cache folder cannot be written, so compiled kernels could not be kept; set "
                      "NUMBA_CACHE_DIR to a folder that can")
    if arguments.jobs < 1:
        raise ValueError(f"--jobs is {arguments.jobs}, expected 1 or more")
    dtypes = DTYPES if arguments.dtype == "both" else (arguments.dtype,)
    with progress(len(tasks()), "compiling") as tick:
        def show(name: str, tally: dict[str, int]) -> None:
            tick(name, 1)
            if not sys.stdout.isatty():
                print(f"{name}: {tally['compiled']} compiled, {tally['cached']} cached", flush=True)

        done = warmup(dtypes, jobs=arguments.jobs, progress=show)
    print(f"{done.compiled} kernels compiled, {done.cached} from the cache, in {done.seconds:.1f} s")
    print(f"They are kept in {done.folder}")
    return 0
