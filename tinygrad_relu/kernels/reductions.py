"""Kernels of running sums and products, and of the way back from an extreme. (Sums stand in `sums`.)

x (outer, n, inner) is an array with all axes in front of the reduced one made one, and all behind it. Where inner is 1, a line
is contiguous, and one number is carried along it; otherwise `inner` lines go side by side.
"""
from __future__ import annotations

from functools import partial

import numpy as np

from .policy import kernel, scalar

sums = partial(kernel, reductions=True)


@kernel
def running_sum(x, reverse, out):
    """``out[:, k] = x[:, 0] + ... + x[:, k]``; in reverse, from the end. NumPy's bits, in a quarter of the time."""
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


@sums
def products(x, out):
    """``out[r] = x[r, 0] * x[r, 1] * ...``, in float64."""
    for r in range(x.shape[0]):
        total = 1.0
        for c in range(x.shape[1]):
            total *= x[r, c]
        out[r] = total


@scalar
def others(x, out):
    """Of each factor of a row, the product of all the others: of those before it, times that of those behind it."""
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
def products_of_others(x, out):
    for r in range(x.shape[0]):
        others(x[r], out[r])


@kernel
def products_pullback(g, x, gx):
    """``gx[r] = g[r] * products_of_others(x[r])``."""
    for r in range(x.shape[0]):
        others(x[r], gx[r])
        for c in range(x.shape[1]):
            gx[r, c] *= g[r]


@kernel
def extreme_pullback(g, x, y, gx):
    """g (outer, inner) goes to the first of each line of x that is its extreme y (NaN is NaN); 0 to every other."""
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
