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

from ..formulas.exponential import exp, log
from ..machine.policy import Array3, Doubles, Integers, Matrix, Vector, kernel, reordered, scalar
from .pointwise import by_channel
from .reduce import BLOCK

MAXIMA = 16         # running maxima side by side
OUTLIER = 25.0      # a first value more than five standard deviations off costs more than one digit


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


@kernel
def layer_norm(x: Matrix, eps: float, weight: Vector, bias: Vector, mean: Doubles, scale: Doubles, out: Matrix):
    """``out = (x - mean) * scale * weight + bias``, with the mean and ``1 / sqrt(var + eps)`` of each row."""
    rows, features = x.shape
    for r in range(rows):
        origin, var = np.float64(x[r, 0]), 0.0
        for _ in range(2):
            total, squares = moments_from(x[r], origin)
            step = total / features
            origin += step
            var = squares / features - step * step
            if not step * step > OUTLIER * var:
                break
        mean[r], scale[r] = origin, 1.0 / math.sqrt(var + eps)
        shift = -mean[r] * scale[r]
        for c in range(features):
            out[r, c] = unit_of(x[r, c], scale[r], shift) * weight[c] + bias[c]


# The parts work on one row, as arrays of one axis: loops that index matrices take a third longer.


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
def row_pullback(h, unit, scale, mean_h, mean_hu, gx):
    for c in range(gx.size):
        gx[c] = scale * (h[c] - mean_h - unit[c] * mean_hu)


@kernel
def layer_norm_pullback(g: Matrix, x: Matrix, mean: Doubles, scale: Doubles, weight: Vector, gx: Matrix, gw: Vector, gb: Vector):
    """The three gradients. Gradients not needed are empty arrays. Sums over rows are blocked, as in `column_sums`."""
    T = x.dtype.type
    rows, features = x.shape
    total_w, total_b = np.zeros(features), np.zeros(features)
    unit, h = np.empty(features, x.dtype), np.empty(features, x.dtype)
    part_w, part_b = np.empty(features, x.dtype), np.empty(features, x.dtype)
    for start in range(0, rows, BLOCK):
        part_w[:], part_b[:] = 0, 0
        for r in range(start, min(start + BLOCK, rows)):
            units_of(g[r], x[r], weight, scale[r], -mean[r] * scale[r], unit, h)
            if gw.size or gb.size:
                add_row(g[r], unit, part_w, part_b)
            if gx.size:
                total, dot = sums_with_unit(h, unit, 1.0, 0.0)
                row_pullback(h, unit, T(scale[r]), T(total / features), T(dot / features), gx[r])
        total_w += part_w
        total_b += part_b
    write(total_w, gw)
    write(total_b, gb)


# -- softmax of each row: the maximum is subtracted first, so that nothing overflows and the largest term is exactly 1 ----------


@scalar
def exponentials(x, lanes, out):
    """``out = exp(x - maximum)``; return the maximum. NaN keeps LLVM from vectorising one running maximum."""
    largest, whole = x[0], x.size // MAXIMA * MAXIMA
    if whole > MAXIMA:
        for k in range(MAXIMA):
            lanes[k] = x[k]
        for start in range(MAXIMA, whole, MAXIMA):
            for k in range(MAXIMA):
                entry = x[start + k]
                lanes[k] = lanes[k] if lanes[k] > entry else entry
        for k in range(MAXIMA):
            largest = largest if largest > lanes[k] else lanes[k]
    for c in range(whole if whole > MAXIMA else 1, x.size):
        largest = largest if largest > x[c] else x[c]
    for c in range(out.size):
        out[c] = exp(x[c] - largest)
    return largest


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


@kernel
def softmax(x: Matrix, out: Matrix):
    """``out[r, c] = exp(x[r, c]) / sum_k exp(x[r, k])``."""
    lanes = np.empty(MAXIMA, x.dtype)
    for r in range(x.shape[0]):
        y = out[r]
        exponentials(x[r], lanes, y)
        scale = x.dtype.type(1) / line_sum(y)
        for c in range(y.size):
            y[c] *= scale


@kernel
def softmax_pullback(g: Matrix, y: Matrix, gx: Matrix):
    """``gx = y * (g - sum_k g_k y_k)`` row by row."""
    for r in range(y.shape[0]):
        gr, yr, to = g[r], y[r], gx[r]
        dot = line_dot(gr, yr)
        for c in range(to.size):
            to[c] = yr[c] * (gr[c] - dot)


@kernel
def log_softmax(x: Matrix, out: Matrix):
    """``out[r, c] = x[r, c] - log sum_k exp(x[r, k])``."""
    lanes = np.empty(MAXIMA, x.dtype)
    for r in range(x.shape[0]):
        line, y = x[r], out[r]
        top, shift = exponentials(line, lanes, y), log(line_sum(y))
        for c in range(y.size):
            y[c] = (line[c] - top) - shift


@kernel
def log_softmax_pullback(g: Matrix, y: Matrix, gx: Matrix):
    """``gx = g - exp(y) * sum_k g_k`` row by row."""
    for r in range(y.shape[0]):
        gr, yr, to = g[r], y[r], gx[r]
        total = line_sum(gr)
        for c in range(to.size):
            to[c] = gr[c] - exp(yr[c]) * total
