"""The work of a launch, and how fast this machine can do such work: what a profile compares.

The operations of matrix products are counted while they run: 2 m n k each. Those of any other loop are estimated from its source:
each + - * / of its innermost loops, and of the formulas that they call, counts once for each number of the largest array.
"""
from __future__ import annotations

import ast
import dis
import inspect
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from time import perf_counter
from types import FunctionType
from typing import Any

import numpy as np

from .blas import counts, gemm_block
from .fingerprint import used
from .matmul import matmul
from .parallel import parallel
from .policy import Kernel, Vector, kernel, scalar
from .pool import get_num_threads
from .program import Native
from .slabs import slabs

_COUNTED = ast.Add | ast.Sub | ast.Mult | ast.Div | ast.Pow
_LOOPS = ast.For | ast.While
COUNTED = gemm_block, slabs.function        # while they run


@contextmanager
def counting() -> Iterator[Callable[[], int]]:
    """Inside, count the operations of matrix products, on all threads: the given function tells how many since its last call."""
    def since() -> int:
        n, counts[1] = int(counts[1]), 0
        return n

    counts[:] = counts[0] + 1, 0
    try:
        yield since
    finally:
        counts[0] -= 1


def operations(function: Any) -> int:
    """The operations for each number of a loop or formula, as its source shows them; 0 for a function of NumPy's.

    Of the branches of an `if` the longest one counts. Indices do not count.

    >>> def loop(a, x, out):
    ...     for i in range(out.size):
    ...         out[i + 1] = a * x[i] + 1.0
    >>> operations(loop)
    2
    """
    return _operations(function.function if isinstance(function, Kernel) else function)


@cache
def _operations(function: Any) -> int:
    function = inspect.unwrap(function)         # of a kernel that another one calls
    if not isinstance(function, FunctionType) or function in COUNTED:
        return 0
    known = {name: value for name, value in used(function).items() if isinstance(value, FunctionType) and value is not function}
    try:
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
        body = tree.body if isinstance(tree, ast.FunctionDef) else None
    except (OSError, SyntaxError, ValueError):
        body = None
    if body is None:                # a lambda, or a function whose source is not in a file
        steps = list(dis.get_instructions(function))
        return sum(_operations(known[step.argval]) if step.argval in known else step.opname == "BINARY_OP" for step in steps)
    has_loops = any(isinstance(node, _LOOPS) for part in body for node in ast.walk(part))

    def several(nodes: Any, counts: bool) -> int:
        total = 0
        for i, node in enumerate(nodes):
            if isinstance(node, ast.If) and isinstance(node.body[-1], ast.Return) and not node.orelse:      # the rest is its else
                return total + max(several(node.body, counts), several(nodes[i + 1:], counts))
            total += one(node, counts)
        return total

    def one(node: Any, counts: bool) -> int:
        """`counts`: whether this code runs once for each number, as that of an innermost loop."""
        if isinstance(node, ast.Subscript):
            return one(node.value, counts)
        if isinstance(node, ast.If):
            return max(several(node.body, counts), several(node.orelse, counts))
        if isinstance(node, _LOOPS):
            inner = any(isinstance(each, _LOOPS) for part in node.body for each in ast.walk(part))
            return several(node.body, not inner)
        if isinstance(node, ast.Name) and node.id in known and isinstance(node.ctx, ast.Load):
            return _operations(known[node.id])
        own = counts and isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, _COUNTED)
        return own + sum(one(child, counts) for child in ast.iter_child_nodes(node))

    return several(body, not has_loops)


# -- the machine -----------------------------------------------------------------------------------------------------------


@scalar
def copy_slice(start, stop, x, out):
    x, out = x[start:stop], out[start:stop]
    for i in range(out.size):
        out[i] = x[i]


@kernel
def copy_vector(x: Vector, out: Vector):
    """A plain copy, on all threads."""
    parallel(copy_slice, out.size, 1 << 14, (x, out))


def gemm_limit(dtype: Any) -> float:
    """Operations a second in a product of two matrices of 1024 x 1024, the best of 15: the most that this machine does."""
    return _gemm_limit(np.dtype(dtype), get_num_threads())


@cache
def _gemm_limit(dtype: Any, threads: int) -> float:
    n = 1024
    a, c = np.ones((n, n), dtype), np.empty((n, n), dtype)
    return 2 * n**3 / fastest([partial(matmul, False, False, a, a, 0.0, c)], 15)[0]


def memory_limit(size: float) -> float:
    """Bytes a second of a copy that reads and writes `size` bytes in all; the smaller, the faster the cache that holds them."""
    sizes, speeds = _memory_limits(get_num_threads())
    return float(np.exp(np.interp(np.log(max(size, 1)), np.log(sizes), np.log(speeds))))


SIZES = tuple(1 << k for k in range(10, 28, 2))     # 1 kB to 64 MB


@cache
def _memory_limits(threads: int) -> tuple[Any, Any]:
    x = np.ones(SIZES[-1] // 8, np.float32)
    out = x.copy()
    (empty,) = fastest([Native([]).run], 100)
    times = [fastest([Native([(copy_vector, (x[:size // 8], out[:size // 8]))]).run], max(5, min(1000, (1 << 24) // size)))[0]
             for size in SIZES]
    return SIZES, [size / max(seconds - empty, 1e-9) for size, seconds in zip(SIZES, times)]


def fastest(actions: Sequence[Callable[[], Any]], rounds: int, clock: Callable[[], float] = perf_counter) -> list[float]:
    """The least time of each action, in seconds. In each round they take turns, so that all run under the same conditions."""
    best = [float("inf")] * len(actions)
    for _ in range(rounds):
        for i, action in enumerate(actions):
            start = clock()
            action()
            best[i] = min(best[i], clock() - start)
    return best
