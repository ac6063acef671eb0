"""Chains of elementwise operations as one loop: results in between stay in registers."""
from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from ..machine.parallel import parallel
from ..machine.policy import Kernel, Parameters, Vector, exact, kernel, scalar

GRAIN = 1 << 13         # numbers in a slice, which one thread computes


class Step(NamedTuple):
    """One operation of a chain: a formula of numbers, and where each of its arguments is.

    ("array", k): a number of array k; ("result", k): the result of step k; ("number", k): number k, as a float, and
    ("constant", k): the same number in the dtype of the arrays.
    """

    formula: Callable[..., Any]
    arguments: tuple[tuple[str, int], ...]


@cache
def chain(steps: tuple[Step, ...], stored: tuple[tuple[int, int], ...], arrays: int, numbers: int) -> Kernel:
    """``kernel(numbers, *arrays)``: the steps for each number of the arrays; `stored` are pairs (step, array that gets its results).

    The bits are those of the steps one by one if of two formulas of which one takes the
    result of the other, at least one is `exact`.

    >>> product, total = (exact(f) for f in (lambda a, b: a * b, lambda a, b: a + b))
    >>> steps = Step(product, (("array", 0), ("array", 0))), Step(total, (("result", 0), ("constant", 0)))
    >>> each = chain(steps, ((1, 1),), 2, 1)
    >>> x, out = np.array([1.0, 2.0, 3.0]), np.empty(3)
    >>> each((0.5,), x, out)
    >>> out
    array([1.5, 4.5, 9.5])
    """
    results = _results_after(None, steps[0])
    for step in steps[1:]:
        results = _results_after(results, step)
    store = _store_after(None, *stored[0])
    for pair in stored[1:]:
        store = _store_after(store, *pair)

    @scalar
    def part(start, stop, arrays, p):
        for i in range(np.uint64(start), np.uint64(stop)):      # unsigned: Numba tests other indices for being negative
            store(results(i, arrays, p), i, arrays)

    def loop(p: Parameters, *arrays: Vector):
        parallel(part, arrays[0].size, GRAIN, (arrays, p))

    return kernel(loop, name=f"chain{len(steps)}", vectors=arrays, parameters=numbers)


# Functions of a fixed number of arguments and results, made of functions of fewer: LLVM inlines them all.


def _results_after(before: Any, step: Step) -> Any:
    """``f(i, arrays, p)``: the tuple of the results of the steps so far, and of this one."""
    formula, arguments = step.formula, _arguments(step.arguments)
    if before is None:
        return scalar(lambda i, arrays, p: (formula(*arguments((), i, arrays, p)),))

    def results(i, arrays, p):
        known = before(i, arrays, p)
        return (*known, formula(*arguments(known, i, arrays, p)))

    return scalar(results)


def _arguments(places: tuple[tuple[str, int], ...]) -> Any:
    """``f(results, i, arrays, p)``: the tuple of the arguments in these places."""
    kind, k = places[-1]
    last = scalar({"array": lambda results, i, arrays, p: (arrays[k][i],), "result": lambda results, i, arrays, p: (results[k],),
                   "number": lambda results, i, arrays, p: (p[k],),
                   "constant": lambda results, i, arrays, p: (arrays[0].dtype.type(p[k]),)}[kind])
    if len(places) == 1:
        return last
    before = _arguments(places[:-1])
    return scalar(lambda results, i, arrays, p: before(results, i, arrays, p) + last(results, i, arrays, p))


def _store_after(before: Any, step: int, array: int) -> Any:
    """``f(results, i, arrays)`` writes the results so far, and this one."""
    def store(results, i, arrays):
        arrays[array][i] = results[step]

    def both(results, i, arrays):
        before(results, i, arrays)
        arrays[array][i] = results[step]

    return scalar(store if before is None else both)
