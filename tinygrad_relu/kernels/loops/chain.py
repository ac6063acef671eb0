"""Chains of elementwise operations as one loop: results in between stay in registers."""
from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from ..machine.parallel import parallel
from ..machine.policy import Kernel, Parameters, Vector, in_turns, kernel, scalar

GRAIN = 1 << 13         # numbers in a slice, which one thread computes
MOST_ARRAYS = 6


class Step(NamedTuple):
    """One operation of a chain: ``formula(*arguments, *parameters)``.

    An argument is a place among the numbers that are known: one of each array, then the constants, then the results of the steps
    before. A parameter (at most one) is a place among the numbers of a launch, which formulas get as float64.
    """

    formula: Callable[..., Any]
    arguments: tuple[int, ...]
    parameters: tuple[int, ...] = ()


@cache
def chain(steps: tuple[Step, ...], stored: tuple[tuple[int, int], ...], arrays: int, constants: int, numbers: int) -> Kernel:
    """``kernel(numbers, *arrays)`` runs the steps for each number of the arrays.

    The first `constants` of the numbers are known to all steps, in the dtype of the arrays. `stored` are pairs: a place among
    what is known, and the array that it is written into. The bits are those of the steps one by one if of two formulas of which
    one takes the result of the other, at least one is `exact`.

    >>> from tinygrad_relu.kernels.machine.policy import exact
    >>> product, total = (exact(f) for f in (lambda a, b: a * b, lambda a, b: a + b))
    >>> each = chain((Step(product, (0, 0)), Step(total, (3, 2))), ((4, 1),), arrays=2, constants=1, numbers=1)
    >>> x, out = np.array([1.0, 2.0, 3.0]), np.empty(3)
    >>> each((0.5,), x, out)
    >>> out
    array([1.5, 4.5, 9.5])
    """
    known = scalar(LOADS[arrays])
    for k in range(constants):
        known = _known_after(known, scalar(lambda known, p, arrays, k=k: arrays[0].dtype.type(p[k])))
    for step in steps:
        known = _known_after(known, _result(*step))
    store = scalar(lambda known, i, arrays: None)
    for pair in stored:
        store = _store_after(store, *pair)

    @in_turns
    def part(start, stop, arrays, p):
        for i in range(np.uint64(start), np.uint64(stop)):      # unsigned: Numba tests other indices for being negative
            store(known(i, arrays, p), i, arrays)

    def loop(p: Parameters, *arrays: Vector):
        parallel(part, arrays[0].size, GRAIN, (arrays, p))

    return kernel(loop, name=f"chain{len(steps)}", vectors=arrays, parameters=numbers)


# Functions of a fixed number of arguments and results, made of functions of fewer. LLVM inlines them all.

LOADS = {1: lambda i, x, p: (x[0][i],), 2: lambda i, x, p: (x[0][i], x[1][i]), 3: lambda i, x, p: (x[0][i], x[1][i], x[2][i]),
         4: lambda i, x, p: (x[0][i], x[1][i], x[2][i], x[3][i]),
         5: lambda i, x, p: (x[0][i], x[1][i], x[2][i], x[3][i], x[4][i]),
         6: lambda i, x, p: (x[0][i], x[1][i], x[2][i], x[3][i], x[4][i], x[5][i])}


def _known_after(before: Any, result: Any) -> Any:
    """``f(i, arrays, p)``: all that `before` knows, and a further result."""
    def known(i, arrays, p):
        numbers = before(i, arrays, p)
        return (*numbers, result(numbers, p, arrays))

    return scalar(known)


def _result(formula: Any, arguments: tuple[int, ...], parameters: tuple[int, ...]) -> Any:
    a, b, c, k = *(*arguments, 0, 0)[:3], (*parameters, 0)[0]
    return scalar({(1, 0): lambda known, p, arrays: formula(known[a]),
                   (2, 0): lambda known, p, arrays: formula(known[a], known[b]),
                   (3, 0): lambda known, p, arrays: formula(known[a], known[b], known[c]),
                   (1, 1): lambda known, p, arrays: formula(known[a], p[k]),
                   (3, 1): lambda known, p, arrays: formula(known[a], known[b], known[c], p[k])}[len(arguments), len(parameters)])


def _store_after(before: Any, place: int, array: int) -> Any:
    """``f(known, i, arrays)`` writes what `before` does, and one number more."""
    def store(known, i, arrays):
        before(known, i, arrays)
        arrays[array][i] = known[place]

    return scalar(store)
