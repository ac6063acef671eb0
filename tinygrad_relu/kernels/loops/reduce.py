"""Sums, products and extremes along axes, and the statistics of units.

A sum of a million float32 numbers, one after the other, loses five digits. And each addition waits for the one before, because
LLVM must not reorder them. So most sums are float64, in `LANES` partial sums side by side (five times as fast as one); rows are
summed in their own dtype, `BLOCK` at a time.

x (outer, n, inner) is an array whose axes before the reduced one are merged into `outer`, and those after it into `inner`. If
inner is 1, each line is contiguous and is reduced by itself; otherwise `inner` lines are reduced side by side.
"""
from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from ..formulas import ACTIVATIONS
from ..formulas.record import Elementwise
from ..machine.parallel import parallel
from ..machine.policy import (
    Array3,
    Booleans,
    Doubles,
    Integers,
    Kernel,
    Matrix,
    Parameters,
    Vector,
    factory,
    kernel,
    reordered,
    scalar,
)

LANES = 64
LINE = 1024     # numbers of a line that are summed before they are added to the total
GRAIN = 1 << 14     # numbers that are worth a slice of a parallel loop: about 10 us
PIECE = 1 << 16     # numbers of a long line, or of many rows, in a slice: fixed, so that any number of threads adds alike
SMALL_BLOCK = 32    # as BLOCK, where slices are shared
BLOCK = 128     # rows that are summed in their own dtype, which is exact enough for so few, and saves time for small batches


@scalar
def rows_of(x):
    """How many rows of a matrix are worth a thread's attention."""
    return 1 + GRAIN // (x.shape[1] + 1)


@scalar
def column_sums(g, out, add):
    """The sum of the rows of g, added to `out` if `add` is not 0: with the bits of a sum that is added later, as hooks need."""
    if not add:
        put(0, False, out)
        if g.shape[0] <= BLOCK:
            add_each_row(g, out)
            return
    total = np.empty(out.size)
    copy_to(total, out)
    for start in range(0, g.shape[0], BLOCK):
        put(0, False, out)
        add_each_row(g[start:start + BLOCK], out)
        add_to(total, out)
    copy_to(out, total)


# Loops, because Numba takes two seconds to compile what NumPy's operators on whole arrays stand for.


@scalar
def copy_to(out, x):
    for c in range(out.size):
        out[c] = x[c]


@scalar
def add_to(out, x):
    for c in range(out.size):
        out[c] += x[c]


@scalar
def add_each_row(g, out):
    """Four rows at once, one after the other: that halves the time of short rows."""
    rows = g.shape[0]
    for r in range(0, rows - 3, 4):
        for c in range(out.size):
            out[c] = out[c] + g[r, c] + g[r + 1, c] + g[r + 2, c] + g[r + 3, c]
    for r in range(rows - rows % 4, rows):
        for c in range(out.size):
            out[c] += g[r, c]


@scalar
def add_blocks(parts, add, out):
    """The sum of the rows of `parts` in float64, or added to `out`; nothing if `out` is empty (a gradient that is not needed)."""
    if out.size:
        total = np.zeros(out.size)
        if add:
            copy_to(total, out)
        for part in range(parts.shape[0]):
            add_to(total, parts[part])
        copy_to(out, total)


@scalar
def sum_of_pieces(start, stop, x, size, parts):
    for i in range(start, stop):
        o, piece = divmod(i, parts.shape[1])
        column_sums(x[o, piece * size:(piece + 1) * size], parts[o, piece], 0)


@kernel
def sum_rows(x: Array3, out: Matrix):
    """``out[o] = x[o, 0] + x[o, 1] + ...``: the sum over an axis that is not the last."""
    outer, n, inner = x.shape
    size = (1 + PIECE // max(1, inner * BLOCK)) * BLOCK
    pieces = (n + size - 1) // size
    if pieces < 2:
        parallel(sum_of_pieces, outer, 1 + GRAIN // max(1, n * inner), (x, size, out.reshape(outer, 1, inner)))
    else:
        parts = np.empty((outer, pieces, inner), x.dtype)
        parallel(sum_of_pieces, outer * pieces, 1, (x, size, parts))
        for o in range(outer):
            add_blocks(parts[o], False, out[o])


@reordered
def double_sum(x):
    total = 0.0
    for i in range(x.size):
        total += x[i]
    return total


@scalar
def sum_of_line(x):
    total = 0.0
    for start in range(0, x.size, LINE):
        total += double_sum(x[start:start + LINE])
    return total


@scalar
def sums_of_lines(start, stop, x, sums):
    pieces = sums.size // x.shape[0]
    for i in range(start, stop):
        r, piece = divmod(i, pieces)
        sums[i] = sum_of_line(x[r] if pieces == 1 else x[r, piece * PIECE:(piece + 1) * PIECE])


@kernel
def sum_lines(x: Matrix, out: Vector):
    """The sum of each row: the sum over the last axis, in half of NumPy's time."""
    rows, n = x.shape
    pieces = (n + PIECE - 1) // PIECE
    if pieces < 2:
        parallel(sums_of_lines, rows, rows_of(x), (x, out))
    else:
        sums = np.empty(rows * pieces)
        parallel(sums_of_lines, sums.size, 1, (x, sums))
        for r in range(rows):
            out[r] = sum_of_line(sums[r * pieces:(r + 1) * pieces])


@scalar
def put(number, add, out):
    if add:
        for i in range(out.size):
            out[i] += number
    else:
        for i in range(out.size):
            out[i] = number


@scalar
def put_scaled(x, factor, add, out):
    """``out = x * factor``, or added to it."""
    if add:
        for i in range(out.size):
            out[i] += x[i] * factor
    else:
        for i in range(out.size):
            out[i] = x[i] * factor


@scalar
def lines_of_one_number(start, stop, g, add, flat, n):
    while start < stop:
        o = start // n
        end = min(stop, (o + 1) * n)
        put(g[o, 0], add, flat[start:end])
        start = end


@scalar
def rows_of_one_row(start, stop, g, add, gx):
    for i in range(start, stop):
        o, k = divmod(i, gx.shape[1])
        put_scaled(g[o], gx.dtype.type(1), add, gx[o, k])


@kernel
def sum_pullback(g: Matrix, add: bool, gx: Array3):
    """``gx[o, k, i] = g[o, i]`` for every k, or added to it."""
    outer, n, inner = gx.shape
    if inner == 1:
        parallel(lines_of_one_number, outer * n, GRAIN, (g, add, gx.reshape(gx.size), n))
    else:
        parallel(rows_of_one_row, outer * n, 1 + GRAIN // max(1, inner), (g, add, gx))


@scalar
def piece_with_part(start, stop, part, first, add, out):
    T = out.dtype.type
    low, high = min(max(start, first), stop), max(start, min(stop, first + part.size))
    if not add:
        put(T(0), False, out[start:low])
        put(T(0), False, out[high:stop])
    if low < high:
        put_scaled(part[low - first:high - first], T(1), add, out[low:high])


@kernel
def put_part(part: Vector, first: int, add: bool, out: Vector):
    """``out[first:first + part.size] = part``, and 0 elsewhere; or the part is added there."""
    parallel(piece_with_part, out.size, GRAIN, (part, first, add, out))


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


@kernel
def add_rows(g: Array3, rows: Integers, add: bool, out: Array3):
    """``out[:, rows[i]] += g[:, i]`` in the order of i, so results are reproducible; starting from 0 unless `add`."""
    for b in range(out.shape[0]):
        if not add:
            for r in range(out.shape[1]):
                for c in range(out.shape[2]):
                    out[b, r, c] = 0
        for i in range(rows.size):
            row = rows[i]       # read once: LLVM cannot know that `out` does not overlap `rows` (3.5 times faster)
            for c in range(out.shape[2]):
                out[b, row, c] += g[b, i, c]


@scalar
def _copied_rows(start, stop, x, rows, out):
    for i in range(start, stop):
        source, line = x[rows[i]], out[i]
        for c in range(line.size):
            line[c] = source[c]


@kernel
def take_rows(x: Array3, rows: Integers, out: Array3):
    """``out[:, i] = x[:, rows[i]]``: rows in any order, with repeats. They must be in range."""
    for b in range(x.shape[0]):
        parallel(_copied_rows, rows.size, 1 + 8192 // (1 + x.shape[2]), (x[b], rows, out[b]))


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
    """The product of all numbers but one: of those before it, times those after it."""
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
    """``out[r, k]`` is the product of all numbers of row r but the k-th."""
    for r in range(x.shape[0]):
        others(x[r], out[r])


@kernel
def products_pullback(g: Vector, x: Matrix, gx: Matrix):
    """``gx[r] = g[r] * products_of_others(x[r])``."""
    for r in range(x.shape[0]):
        others(x[r], gx[r])
        for c in range(x.shape[1]):
            gx[r, c] *= g[r]


@scalar
def same(a, b):
    """Whether they are equal, where NaN equals NaN."""
    return (a == b) | ((a != a) & (b != b))


@kernel
def extreme_pullback(g: Matrix, x: Array3, y: Matrix, gx: Array3):
    """g (outer, inner) goes to the first number of each line of x that is the `same` as its extreme y, 0 to the rest."""
    outer, n, inner = x.shape
    zero = x.dtype.type(0)
    for o in range(outer):
        if inner == 1:
            for k in range(n):
                gx[o, k, 0] = zero
            for k in range(n):
                if same(x[o, k, 0], y[o, 0]):
                    gx[o, k, 0] = g[o, 0]
                    break
        else:
            waits = np.ones(inner, np.uint8)
            for k in range(n):
                for i in range(inner):
                    found = same(x[o, k, i], y[o, i]) & (waits[i] != 0)
                    gx[o, k, i] = g[o, i] if found else zero
                    waits[i] = 0 if found else waits[i]


# -- statistics of the units of a layer (the columns of a matrix), each in one pass over the samples ----------------------------


def _extremes(name: str, f_dx: Callable[..., float], record: Elementwise[...] | None = None) -> Kernel:
    def extremes(z: Matrix, y: Matrix, p: Parameters, path: Booleans, numbers: Matrix, leads: Booleans):
        T = z.dtype.type
        zmax, zmin, slope_max, slope_min, bad, cut_off = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5]
        put(T(-np.inf), False, zmax)
        put(T(np.inf), False, zmin)
        put(T(0), False, slope_max)
        put(T(np.inf), False, slope_min)
        put(T(0), False, bad)
        paths = 0
        for r in range(z.shape[0]):
            steep_ones = 0
            for c in range(z.shape[1]):
                value = z[r, c]
                steep = abs(f_dx(T(1), value, y[r, c], *p))
                zmax[c] = value if value > zmax[c] else zmax[c]
                zmin[c] = value if value < zmin[c] else zmin[c]
                slope_max[c] = steep if steep > slope_max[c] else slope_max[c]
                slope_min[c] = steep if steep < slope_min[c] else slope_min[c]
                bad[c] += T(0) if value - value == 0 else T(1)      # LLVM does not vectorise a choice between 1 and bad[c]
                steep_ones |= 0 if steep == 0 else 1
            leads[r] = path[r] and steep_ones != 0
            paths += path[r]
        for c in range(z.shape[1]):
            cut_off[c] = T(0) if paths == z.shape[0] and slope_max[c] > 0 else T(1)
        for r in range(z.shape[0] if 0 < paths < z.shape[0] else 0):
            for c in range(z.shape[1] if path[r] else 0):
                cut_off[c] = cut_off[c] if f_dx(T(1), z[r, c], y[r, c], *p) == 0 else T(0)

    return kernel(extremes, name=f"{name}_extremes", record=record)


@factory(ACTIVATIONS.values())
def unit_extremes(activation: Elementwise[...]) -> Kernel:
    """``extremes(z, y, p, path, numbers, leads)`` of one activation: all that the states of the units of a layer follow from.

    z and y (rows, units) are pre-activations and activations. `numbers` (6, units) gets for each unit the largest and the
    smallest z, the same of abs(f'(z)), how many z are NaN or infinite, and 1 if its slope is 0 on every row that is in `path`.
    A row of `path` is in `leads` if some slope is not 0. The slopes are never stored, which halves the time.
    """
    return _extremes(activation.name, activation.f_dx, activation)


# extremes(z, slope, (), ...): the slopes are known, and passed in place of y.
extremes_given_slopes = _extremes("given_slope", scalar(lambda g, x, y: y))


@kernel
def unit_sums(z: Matrix, h: Matrix, slope: Matrix, zsum: Doubles, hsum: Doubles, on: Doubles, flat: Doubles):
    """Add the samples of one batch to the sums of every unit, all float64.

    h (samples, units): activations. Per unit: sums of z and of abs(h), how often z > 0, how often the slope is exactly 0.
    """
    for r in range(z.shape[0]):
        for c in range(z.shape[1]):
            value = z[r, c]
            zsum[c] += value
            hsum[c] += abs(h[r, c])
            on[c] += 1.0 if value > 0 else 0.0
            flat[c] += 1.0 if slope[r, c] == 0 else 0.0
