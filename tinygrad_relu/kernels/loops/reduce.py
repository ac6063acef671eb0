"""Sums, products and extremes along axes.

A million float32 numbers added one after the other lose five digits; and a sum in one variable is a chain in which each addition
waits for the one before, and which LLVM must not reorder. So sums are float64, in `LANES` partial sums side by side (five times
faster than one), or over `BLOCK` rows at a time.

x (outer, n, inner) is an array with all axes before the reduced one merged, and all after it. If inner is 1, a line is
contiguous, and one number is carried along it; otherwise `inner` lines go side by side.
"""
from __future__ import annotations

from functools import partial

import numpy as np

from ..machine.policy import Array3, Doubles, Matrix, Vector, kernel, reordered, scalar

LANES = 64
LINE = 1024     # numbers of a line that are summed before they are added to the total
BLOCK = 128     # rows that are summed in their own dtype, which is exact enough for so few, and saves time for small batches


@scalar
def column_sums(g, out, add):
    """The sum of the rows of g, added to `out` if `add` is not 0."""
    if not add:
        out[:] = 0
    if g.shape[0] <= BLOCK:
        add_each_row(g, out)
        return
    total = out.astype(np.float64)
    for start in range(0, g.shape[0], BLOCK):
        out[:] = 0
        add_each_row(g[start:start + BLOCK], out)
        total += out
    out[:] = total


@scalar
def add_each_row(g, out):
    for r in range(g.shape[0]):
        for c in range(out.size):
            out[c] += g[r, c]


@kernel
def sum_rows(x: Array3, out: Matrix):
    """``out[o] = x[o, 0] + x[o, 1] + ...``: the sum over an axis that is not the last."""
    for o in range(x.shape[0]):
        column_sums(x[o], out[o], 0)


@reordered
def double_sum(x):
    total = 0.0
    for i in range(x.size):
        total += x[i]
    return total


@kernel
def sum_lines(x: Matrix, out: Vector):
    """The sum of each row: the sum over the last axis, in half of NumPy's time."""
    for r in range(x.shape[0]):
        line, total = x[r], 0.0
        for start in range(0, line.size, LINE):
            total += double_sum(line[start:start + LINE])
        out[r] = total


@kernel
def power_sum(x: Vector, p: float, out: Doubles):
    """``out[0] = sum abs(x)^p`` in float64: a norm before its root is taken."""
    lanes = np.zeros(LANES)
    for start in range(0, x.size, LANES):
        part = x[start:start + LANES]
        if p == 2.0:
            for k in range(part.size):
                lanes[k] += np.float64(part[k]) ** 2
        elif p == 1.0:
            for k in range(part.size):
                lanes[k] += abs(part[k])
        else:
            for k in range(part.size):
                lanes[k] += np.float64(abs(part[k])) ** p
    out[0] = lanes.sum()

# -- running sums, products, extremes ------------------------------------------------------------------------------------


@kernel
def running_sum(x: Array3, reverse: bool, out: Array3):
    """``out[:, k] = x[:, 0] + ... + x[:, k]``; in reverse, from the end. The bits are NumPy's, in a quarter of the time."""
    outer, n, inner = x.shape
    for o in range(outer):
        total = x.dtype.type(0)
        for step in range(n):
            k = n - 1 - step if reverse else step
            if inner == 1:
                total += x[o, k, 0]
                out[o, k, 0] = total
            elif step == 0:
                for i in range(inner):
                    out[o, k, i] = x[o, k, i]
            else:
                before = k + 1 if reverse else k - 1
                for i in range(inner):
                    out[o, k, i] = out[o, before, i] + x[o, k, i]


@partial(kernel, reordered=True)
def products(x: Matrix, out: Vector):
    """``out[r] = x[r, 0] * x[r, 1] * ...``, in float64."""
    for r in range(x.shape[0]):
        total = 1.0
        for c in range(x.shape[1]):
            total *= x[r, c]
        out[r] = total


@scalar
def others(x, out):
    """For each factor of a row the product of all the others: those before it, times those after it."""
    T = x.dtype.type
    total = T(1)
    for c in range(x.size):
        out[c] = total
        total *= x[c]
    total = T(1)
    for c in range(x.size - 1, -1, -1):
        out[c] *= total
        total *= x[c]


@kernel
def products_of_others(x: Matrix, out: Matrix):
    for r in range(x.shape[0]):
        others(x[r], out[r])


@kernel
def products_pullback(g: Vector, x: Matrix, gx: Matrix):
    """``gx[r] = g[r] * products_of_others(x[r])``."""
    for r in range(x.shape[0]):
        others(x[r], gx[r])
        for c in range(x.shape[1]):
            gx[r, c] *= g[r]


@kernel
def extreme_pullback(g: Matrix, x: Array3, y: Matrix, gx: Array3):
    """g (outer, inner) goes to the first number of each line of x that equals its extreme y (NaN equals NaN), 0 to the rest."""
    outer, n, inner = x.shape
    zero = x.dtype.type(0)
    for o in range(outer):
        if inner == 1:
            for k in range(n):
                gx[o, k, 0] = zero
            for k in range(n):
                if x[o, k, 0] == y[o, 0] or (x[o, k, 0] != x[o, k, 0] and y[o, 0] != y[o, 0]):
                    gx[o, k, 0] = g[o, 0]
                    break
        else:
            waits = np.ones(inner, np.uint8)
            for k in range(n):
                for i in range(inner):
                    found = ((x[o, k, i] == y[o, i]) | ((x[o, k, i] != x[o, k, i]) & (y[o, i] != y[o, i]))) & (waits[i] != 0)
                    gx[o, k, i] = g[o, i] if found else zero
                    waits[i] = 0 if found else waits[i]
