"""Batch and layer normalisation, ``y = (x - mean) / sqrt(var + eps) * weight + bias``, and softmax; with their pullbacks.

Sums of the norms are float64 for both dtypes; the gradients of a layer norm's parameters are summed in blocks of rows (see
`reduce`). Mean and variance are computed from the differences from the first value, so that a large mean is never squared. One
pass over x is enough; two (the mean, then the differences from it) took 1.6 times as long. If the first value is an outlier, a
second pass starts from the mean that the first has found. So the result is right to the last bit of a float32 even if the mean
is a million standard deviations.

A *unit* is x normalised: ``(x - mean) * scale = x * scale + shift``, with ``scale = 1 / sqrt(var + eps)``.
"""
from __future__ import annotations

import math

import numpy as np

from ..formulas.bits import bits_of, float_of, pick
from ..formulas.exponential import decay, log
from ..machine.parallel import parallel
from ..machine.policy import Array3, Doubles, Integers, Matrix, Vector, kernel, reordered, scalar
from .pointwise import by_channel
from .reduce import SMALL_BLOCK, add_blocks, put_scaled, rows_of

OUTLIER = 25.0      # a first value more than five standard deviations off costs more than one digit
WIDE = 512          # numbers that a softmax treats together if its rows are shorter
LAST_BIT = np.int32(31), np.int64(63)
MAGNITUDE = np.int32(2**31 - 1), np.int64(2**63 - 1)


@scalar
def unit_of(x, scale, shift):
    """x normalised. Scale and shift are float64: ``-mean * scale`` may be large and cancel."""
    return type(x)(x * scale + shift)


@reordered
def moments_from(x, origin):
    """The sums of the differences from `origin`, and of their squares."""
    total, squares = 0.0, 0.0
    for i in range(x.size):
        difference = x[i] - origin
        total += difference
        squares += difference * difference
    return total, squares


@reordered
def sums_with_unit(g, x, scale, shift):
    """The sums of g, and of g times the unit."""
    total, dot = 0.0, 0.0
    for i in range(x.size):
        total += g[i]
        dot += g[i] * (x[i] * scale + shift)
    return total, dot


@scalar
def write(sums, out):
    """Copy the sums into an array of another dtype; nothing if it is empty (a gradient that is not needed)."""
    for c in range(out.size):
        out[c] = sums[c]


# -- per channel: x (outer, channels, inner); see `by_channel` ----------------------------------------------------------


@kernel
def track_moments(mean: Doubles, var: Doubles, size: int, momentum: float, running_mean: Vector, running_var: Vector,
                  batches: Integers):
    """Move the running statistics by the fraction `momentum` towards those of a batch of `size` values per channel.

    With a momentum of NaN they become the mean over all batches. The running variance is the unbiased one.
    """
    batches[0] += 1
    rate = 1.0 / batches[0] if momentum != momentum else momentum
    unbiased = size / (size - 1.0)
    for c in range(mean.size):
        running_mean[c] = (1.0 - rate) * running_mean[c] + rate * mean[c]
        running_var[c] = (1.0 - rate) * running_var[c] + rate * unbiased * var[c]


@scalar
def normalised(g, x, c, numbers):
    scale, shift, weight, bias = numbers
    return unit_of(x, scale[c], shift[c]) * weight[c] + bias[c]


@scalar
def normalise(x, mean, var, eps, weight, bias, out):
    """``out = (x - mean) / sqrt(var + eps) * weight + bias``, channel by channel."""
    scale = 1.0 / np.sqrt(var + np.float64(eps))
    by_channel(normalised, x, x, (scale, -mean * scale, weight, bias), out)


@kernel
def batch_norm(x: Array3, weight: Vector, bias: Vector, eps: float, mean: Doubles, var: Doubles, out: Array3):
    """Batch norm in training. The mean and variance are results too, for the running statistics and the pullback."""
    outer, channels, inner = x.shape
    size, origin = outer * inner, x[0, :, 0].astype(np.float64)
    for _ in range(2):
        mean[:] = 0
        var[:] = 0
        for o in range(outer):
            if inner == 1:
                for c in range(channels):
                    difference = x[o, c, 0] - origin[c]
                    mean[c] += difference
                    var[c] += difference * difference
            else:
                for c in range(channels):
                    total, squares = moments_from(x[o, c], origin[c])
                    mean[c] += total
                    var[c] += squares
        outlier = False
        for c in range(channels):
            step = mean[c] / size
            mean[c] = origin[c] = origin[c] + step
            var[c] = var[c] / size - step * step
            outlier |= step * step > OUTLIER * var[c]
        if not outlier:
            break
    normalise(x, mean, var, eps, weight, bias, out)


@kernel
def batch_norm_by(x: Array3, mean: Doubles, var: Doubles, eps: float, weight: Vector, bias: Vector, out: Array3):
    """Batch norm with a given mean and variance."""
    normalise(x, mean, var, eps, weight, bias, out)


@scalar
def gradient_of_x(g, x, c, numbers):
    scale, shift, steep, mean_g, mean_gu, fixed = numbers
    return steep[c] * (g if fixed else g - mean_g[c] - unit_of(x, scale[c], shift[c]) * mean_gu[c])


@kernel
def batch_norm_pullback(g: Array3, x: Array3, mean: Doubles, var: Doubles, eps: float, weight: Vector, fixed: bool, gx: Array3,
                        gw: Vector, gb: Vector):
    """The three gradients, with the mean and variance of the batch or with `fixed` ones. A gradient not needed is empty."""
    outer, channels, inner = x.shape
    scale = 1.0 / np.sqrt(var + np.float64(eps))
    shift = -mean * scale
    total, dot = np.zeros(channels), np.zeros(channels)
    if not fixed or gw.size or gb.size:
        for o in range(outer):
            if inner == 1:
                for c in range(channels):
                    total[c] += g[o, c, 0]
                    dot[c] += g[o, c, 0] * (x[o, c, 0] * scale[c] + shift[c])
            else:
                for c in range(channels):
                    part, part_dot = sums_with_unit(g[o, c], x[o, c], scale[c], shift[c])
                    total[c] += part
                    dot[c] += part_dot
        write(total, gb)
        write(dot, gw)
    if gx.size:
        size, T = outer * inner, x.dtype
        numbers = scale, shift, (weight * scale).astype(T), (total / size).astype(T), (dot / size).astype(T), fixed
        by_channel(gradient_of_x, g, x, numbers, gx)


# -- per row: x (rows, features) ---------------------------------------------------------------------------------------


@scalar
def layer_norm_rows(start, stop, x, eps, weight, bias, mean, scale, out):
    features = x.shape[1]
    for r in range(start, stop):
        row, origin, var = x[r], np.float64(x[r, 0]), 0.0
        for _ in range(2):
            total, squares = moments_from(row, origin)
            step = total / features
            origin += step
            var = squares / features - step * step
            if not step * step > OUTLIER * var:
                break
        mean[r], scale[r] = origin, 1.0 / math.sqrt(var + eps)
        affine_row(row, scale[r], -mean[r] * scale[r], weight, bias, out[r])


@kernel
def layer_norm(x: Matrix, eps: float, weight: Vector, bias: Vector, mean: Doubles, scale: Doubles, out: Matrix):
    """``out = (x - mean) * scale * weight + bias``, with the mean and ``1 / sqrt(var + eps)`` of each row."""
    parallel(layer_norm_rows, x.shape[0], rows_of(x), (x, eps, weight, bias, mean, scale, out))


# The parts work on one row, as arrays of one axis: loops that index matrices take a third longer.


@scalar
def affine_row(x, scale, shift, weight, bias, out):
    for c in range(out.size):
        out[c] = unit_of(x[c], scale, shift) * weight[c] + bias[c]


@scalar
def units_of(g, x, weight, scale, shift, unit, h):
    for c in range(unit.size):
        unit[c], h[c] = unit_of(x[c], scale, shift), g[c] * weight[c]


@scalar
def add_row(g, unit, part_w, part_b):
    for c in range(unit.size):
        part_w[c] += g[c] * unit[c]
        part_b[c] += g[c]


@scalar
def row_pullback(h, unit, scale, mean_h, mean_hu, add, gx):
    for c in range(gx.size):
        part = scale * (h[c] - mean_h - unit[c] * mean_hu)
        gx[c] = gx[c] + part if add else part


@scalar
def layer_norm_pullback_blocks(start, stop, g, x, mean, scale, weight, add, gx, parts_w, parts_b):
    T, (rows, features) = x.dtype.type, x.shape
    unit, h = np.empty(features, x.dtype), np.empty(features, x.dtype)
    for block in range(start, stop):
        if parts_w.size:
            parts_w[block], parts_b[block] = 0, 0
        for r in range(block * SMALL_BLOCK, min((block + 1) * SMALL_BLOCK, rows)):
            units_of(g[r], x[r], weight, scale[r], -mean[r] * scale[r], unit, h)
            if parts_w.size:
                add_row(g[r], unit, parts_w[block], parts_b[block])
            if gx.size:
                total, dot = sums_with_unit(h, unit, 1.0, 0.0)
                row_pullback(h, unit, T(scale[r]), T(total / features), T(dot / features), add, gx[r])


@kernel
def layer_norm_pullback(g: Matrix, x: Matrix, mean: Doubles, scale: Doubles, weight: Vector, gx: Matrix, gw: Vector, gb: Vector,
                        add: int):
    """The three gradients, or added to them where a bit of `add` is set. Gradients not needed are empty arrays. Sums over rows
    are blocked, as in `column_sums`."""
    rows, features = x.shape
    blocks = (rows + SMALL_BLOCK - 1) // SMALL_BLOCK
    parts_w = np.empty((blocks if gw.size or gb.size else 0, features), x.dtype)
    parts_b = np.empty_like(parts_w)
    parallel(layer_norm_pullback_blocks, blocks, 1 + rows_of(x) // SMALL_BLOCK,
             (g, x, mean, scale, weight, add & 1 != 0, gx, parts_w, parts_b))
    add_blocks(parts_w, add & 2 != 0, gw)
    add_blocks(parts_b, add & 4 != 0, gb)


# -- softmax of each row: the maximum is subtracted first, so that nothing overflows and the largest term is exactly 1 ----------


@scalar
def ordered(x):
    """The bits of x as an integer: larger numbers have larger ones. The largest float is found as an integer, because NaN keeps
    LLVM from vectorising a maximum of floats."""
    bits = bits_of(x)
    return turned(bits, pick(x, *LAST_BIT), pick(x, *MAGNITUDE))


@scalar
def turned(bits, last, magnitude):
    """Its own reverse: negative numbers have larger bits if they are smaller."""
    I = type(bits)      # Numba computes int32 with int32 in int64: cast back  # noqa: E741
    return I(bits ^ I(I(bits >> last) & magnitude))


@scalar
def largest(x):
    """The largest number of a row. A NaN may be skipped: it reaches the results of the row through the sum."""
    most = ordered(x[0])
    for c in range(1, x.size):
        order = ordered(x[c])
        most = order if order > most else most
    return float_of(turned(most, pick(x[0], *LAST_BIT), pick(x[0], *MAGNITUDE)))


@scalar
def exp_below(x, top, out):
    for c in range(out.size):
        out[c] = decay(x[c] - top)


@scalar
def subtract(x, top, out):
    for c in range(out.size):
        out[c] = x[c] - top


@scalar
def exp_each(x):
    for c in range(x.size):
        x[c] = decay(x[c])


@scalar
def as_line(x, first, last):
    """Rows of a matrix as a vector."""
    return x[first:last].reshape((last - first) * x.shape[1])


@scalar
def rows_together(x):
    """How many rows are treated together: one if they are long. The exp of short rows is computed as of one long row, in a third
    of the time."""
    return max(1, WIDE // max(1, x.shape[1]))


@scalar
def exponentials(x, first, last, tops, out):
    """``out = exp(x - maximum)`` for each row from `first` up to `last`; writes the maxima, unless `tops` is empty."""
    for r in range(first, last):
        top = largest(x[r])
        if tops.size:
            tops[r] = top
        if last - first == 1:
            exp_below(x[r], top, out[r])
        else:
            subtract(x[r], top, out[r])
    if last - first > 1:
        exp_each(as_line(out, first, last))


@reordered
def line_sum(x):
    total = x.dtype.type(0)
    for c in range(x.size):
        total += x[c]
    return total


@reordered
def line_dot(x, y):
    total = x.dtype.type(0)
    for c in range(x.size):
        total += x[c] * y[c]
    return total


@scalar
def softmax_rows(start, stop, x, out):
    some = rows_together(x)
    for first in range(start, stop, some):
        last = min(first + some, stop)
        exponentials(x, first, last, x[0, :0], out)
        for r in range(first, last):
            y = out[r]
            put_scaled(y, x.dtype.type(1) / line_sum(y), False, y)


@kernel
def softmax(x: Matrix, out: Matrix):
    """``out[r, c] = exp(x[r, c]) / sum_k exp(x[r, k])``."""
    parallel(softmax_rows, x.shape[0], rows_of(x), (x, out))


@scalar
def softmax_pullback_rows(start, stop, g, y, add, gx):
    for r in range(start, stop):
        gr, yr, to = g[r], y[r], gx[r]
        dot = line_dot(gr, yr)
        for c in range(to.size):
            part = yr[c] * (gr[c] - dot)
            to[c] = to[c] + part if add else part


@kernel
def softmax_pullback(g: Matrix, y: Matrix, add: bool, gx: Matrix):
    """``gx = y * (g - sum_k g_k y_k)`` row by row, or added to it."""
    parallel(softmax_pullback_rows, y.shape[0], rows_of(y), (g, y, add, gx))


@scalar
def log_softmax_rows(start, stop, x, tops, out):
    some = rows_together(x)
    for first in range(start, stop, some):
        last = min(first + some, stop)
        exponentials(x, first, last, tops, out)
        for r in range(first, last):
            line, y, top = x[r], out[r], tops[r]
            shift = log(line_sum(y))
            for c in range(y.size):
                y[c] = (line[c] - top) - shift


@kernel
def log_softmax(x: Matrix, out: Matrix):
    """``out[r, c] = x[r, c] - log sum_k exp(x[r, k])``."""
    parallel(log_softmax_rows, x.shape[0], rows_of(x), (x, np.empty(x.shape[0], x.dtype), out))


@scalar
def log_softmax_pullback_rows(start, stop, g, y, add, gx):
    for r in range(start, stop):
        gr, yr, to = g[r], y[r], gx[r]
        total = line_sum(gr)
        for c in range(to.size):
            part = gr[c] - decay(yr[c]) * total
            to[c] = to[c] + part if add else part


@kernel
def log_softmax_pullback(g: Matrix, y: Matrix, add: bool, gx: Matrix):
    """``gx = g - exp(y) * sum_k g_k`` row by row, or added to it."""
    parallel(log_softmax_pullback_rows, y.shape[0], rows_of(y), (g, y, add, gx))
