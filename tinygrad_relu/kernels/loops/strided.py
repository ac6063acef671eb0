"""Copies and NumPy's arithmetic as kernels, on arrays of any shapes that broadcast and any positive strides.

Eager code calls NumPy's loops, which warn. In a captured step they would cost a return to Python each, so `as_kernel` translates
them, to the same bits. The kernels see each array as a vector, from its first number in memory to its last, and a table of four
axes: their lengths, and the steps between two numbers of each array (0 where it is repeated).
"""
from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..machine.door import copy
from ..machine.policy import Kernel, exact, factory, kernel

AXES = 4

# Formulas of two numbers; those of one number ignore the second.
ARITHMETIC: dict[Any, Callable[..., Any]] = {
    copy: lambda a, b: a, np.positive: lambda a, b: a, np.negative: lambda a, b: -a, np.absolute: lambda a, b: abs(a),
    np.square: lambda a, b: a * a, np.sqrt: lambda a, b: type(a)(sqrt(a)), np.reciprocal: lambda a, b: type(a)(1) / a,
    np.add: lambda a, b: a + b, np.subtract: lambda a, b: a - b, np.multiply: lambda a, b: a * b, np.divide: lambda a, b: a / b}
COMPARISONS: dict[Any, Callable[..., Any]] = {
    np.less: lambda a, b: a < b, np.less_equal: lambda a, b: a <= b, np.greater: lambda a, b: a > b,
    np.greater_equal: lambda a, b: a >= b, np.equal: lambda a, b: a == b, np.not_equal: lambda a, b: a != b}
FORMULAS = ARITHMETIC | COMPARISONS

# The types of inputs and result, as kernels declare them, by dtype; and the functions that have a kernel for them.
WORDS = {("float32", "float32"): ("Vector", "Vector"), ("float64", "float64"): ("Vector", "Vector"),
         ("float32", "bool"): ("Vector", "Booleans"), ("float64", "bool"): ("Vector", "Booleans"),
         ("float32", "float64"): ("Vector", "Doubles"), ("float64", "float32"): ("Doubles", "Vector"),
         ("int64", "float32"): ("Integers", "Vector"), ("int64", "float64"): ("Integers", "Vector"),
         ("bool", "float32"): ("Booleans", "Vector"), ("bool", "float64"): ("Booleans", "Vector"),
         ("bool", "bool"): ("Booleans", "Booleans")}
KNOWN = [*[(function, "Vector", "Vector") for function in ARITHMETIC],
         *[(function, "Vector", "Booleans") for function in COMPARISONS],
         *[(copy, *words) for words in dict.fromkeys(WORDS.values()) if words[0] != "Vector" or words[1] == "Doubles"]]


@factory(KNOWN)
def strided(known: tuple[Any, str, str]) -> Kernel:
    """``kernel(a, b, layout, out)``: ``out = f(a, b)``; `layout` (4, 4) has the lengths, then the steps of a, b and out."""
    function, given, made = known
    formula = exact(FORMULAS[function])

    def loop(a, b, layout, out):
        n, step_a, step_b, step = layout[3], layout[7], layout[11], layout[15]
        for i in range(layout[0]):
            for j in range(layout[1]):
                for k in range(layout[2]):
                    x = a[i * layout[4] + j * layout[5] + k * layout[6]:]
                    y = b[i * layout[8] + j * layout[9] + k * layout[10]:]
                    line = out[i * layout[12] + j * layout[13] + k * layout[14]:]
                    if step_a == 1 and step_b == 1 and step == 1:           # each of these three is a loop of vectors
                        for at in range(n):
                            line[at] = formula(x[at], y[at])
                    elif step_a == 1 and step_b == 0 and step == 1:
                        number = y[0]
                        for at in range(n):
                            line[at] = formula(x[at], number)
                    elif step_a == 0 and step_b == 0 and step == 1:
                        number = formula(x[0], y[0])
                        for at in range(n):
                            line[at] = number
                    else:
                        for at in range(n):
                            line[at * step] = formula(x[at * step_a], y[at * step_b])

    loop.__annotations__ = {"a": given, "b": given, "layout": "Integers", "out": made}
    return kernel(loop, name=f"strided_{function.__name__}_{given}_{made}".lower().replace("_vector_vector", ""))


def as_kernel(function: Any, arguments: tuple[Any, ...]) -> tuple[Kernel, tuple[Any, ...]] | None:
    """The launch of a kernel that does the same; None if there is none. A launch of a kernel stays as it is.

    >>> a, out = np.arange(6.0).reshape(2, 3), np.empty((3, 2))
    >>> each, given = as_kernel(np.add, (a.T, 10.0, out))
    >>> each(*given)
    >>> out.tolist()
    [[10.0, 13.0], [11.0, 14.0], [12.0, 15.0]]
    """
    if isinstance(function, Kernel):
        return function, arguments
    *inputs, out = arguments
    if function not in FORMULAS or not isinstance(out, np.ndarray) or out.size == 0 or len(inputs) > 2:
        return None
    like = next((x for x in inputs if isinstance(x, np.ndarray)), out if function is copy else None)
    arrays = [np.array(x, like.dtype) if like is not None and isinstance(x, (int, float)) else x for x in inputs] + [out]
    if (any(not isinstance(x, np.ndarray) or not x.dtype.isnative or _overlap(x, out) for x in arrays)
            or arrays[0].dtype != arrays[-2].dtype):
        return None
    if function is copy and arrays[0].dtype == out.dtype and out.itemsize in (4, 8):    # any numbers: their bits, seen as floats
        arrays = [x.view(f"f{out.itemsize}") for x in arrays]
    known = function, *WORDS.get((arrays[0].dtype.name, arrays[-1].dtype.name), ("", ""))
    if known not in KNOWN:
        return None
    a, b, out = (np.broadcast_to(x, out.shape) for x in (arrays[0], *arrays[-2:]))
    table = _axes(out.shape, [[step // x.itemsize for step in x.strides] for x in (a, b, out)])
    if len(table) > AXES or any(step < 0 for row in table for step in row):
        return None
    layout = np.array([(1, 0, 0, 0)] * (AXES - len(table)) + table)
    return strided(known), (*(_span(x, layout[:, 0], steps) for x, steps in ((a, layout[:, 1]), (b, layout[:, 2]))),
                               layout.T.ravel(), _span(arrays[-1], layout[:, 0], layout[:, 3]))


def _overlap(x: Any, out: Any) -> bool:
    """Whether a loop could overwrite numbers that it has not read yet."""
    same = x.ctypes.data == out.ctypes.data and x.shape == out.shape and x.strides == out.strides
    return np.may_share_memory(x, out) and not same


def _axes(shape: Any, strides: Any) -> list[tuple[int, ...]]:
    """The length of each axis, and the steps of the arrays; neighbours are merged where all arrays allow it."""
    table: list[tuple[int, ...]] = []
    for n, *steps in zip(shape, *strides):
        if n == 1:
            continue
        if table and all(before == n * step for before, step in zip(table[-1][1:], steps)):
            n *= table.pop()[0]
        table.append((n, *steps))
    return table


def _span(x: Any, lengths: Any, steps: Any) -> Any:
    """The memory from the first number of x to its last, as a vector."""
    return as_strided(x, (1 + int(((lengths - 1) * steps).sum()),), (x.itemsize,))
