"""Softmax, log-softmax and cross-entropy over the rows of a matrix.

The maximum of a row is subtracted before the exponential, so that nothing overflows and the largest term is exactly 1.
"""
from __future__ import annotations

import numpy as np

from ..formulas.exponential import exp, log
from ..machine.policy import Integers, Matrix, Vector, kernel, reordered, scalar

MAXIMA = 16      # running maxima side by side


@scalar
def row_softmax(x, r, out):
    """Write the softmax of row r into `out`; return the maximum of the row, and the logarithm of sum_k exp(x[r, k] - maximum)."""
    top, total = x[r, 0], x.dtype.type(0)
    for c in range(1, x.shape[1]):
        top = top if top > x[r, c] else x[r, c]     # skips NaN, which reaches the result through the sum
    for c in range(x.shape[1]):
        out[r, c] = exp(x[r, c] - top)
    for c in range(x.shape[1]):
        total += out[r, c]
    for c in range(x.shape[1]):
        out[r, c] /= total
    return top, log(total)


@scalar
def line_maximum(x, lanes):
    """The maximum of a long row, from several running maxima: LLVM does not vectorise a single one because of NaN."""
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
        line, y = x[r], out[r]
        top = line_maximum(line, lanes)
        for c in range(y.size):
            y[c] = exp(line[c] - top)
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
        top = line_maximum(line, lanes)
        for c in range(y.size):
            y[c] = exp(line[c] - top)
        shift = log(line_sum(y))
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


@kernel
def cross_entropy(x: Matrix, labels: Integers, scale: float, probabilities: Matrix, losses: Vector):
    """``losses[r] = log sum_k exp(x[r, k]) - x[r, labels[r]]``, and the softmax of every row.

    If `losses` has one entry for several rows, it is their sum times `scale` (1 / rows for the mean).
    """
    T = x.dtype.type
    summed = 0.0        # in float64: there may be very many rows
    for r in range(x.shape[0]):
        if labels[r] < 0 or labels[r] >= x.shape[1]:
            raise IndexError("a label is no class")
        top, log_total = row_softmax(x, r, probabilities)
        loss = log_total - (x[r, labels[r]] - top)
        summed += loss
        if losses.size == x.shape[0]:
            losses[r] = loss
    if losses.size != x.shape[0] or losses.size == 1:
        losses[0] = T(scale * summed)


@kernel
def cross_entropy_pullback(g: Vector, probabilities: Matrix, labels: Integers, scale: float, gx: Matrix):
    """``gx[r] = scale * g[r] * (probabilities[r] - onehot(labels[r]))``; a g of one entry is used for every row."""
    T = gx.dtype.type
    for r in range(gx.shape[0]):
        weight = T(scale) * (g[0] if g.size == 1 else g[r])
        for c in range(gx.shape[1]):
            gx[r, c] = weight * probabilities[r, c]
        gx[r, labels[r]] -= weight


@kernel
def soft_cross_entropy(x: Matrix, targets: Matrix, scale: float, probabilities: Matrix, losses: Vector):
    """``losses[r] = sum_c targets[r, c] (log sum_k exp(x[r, k]) - x[r, c])``, and the softmax of every row.

    A target of 0 contributes 0, even if x is infinite. For `scale` see `cross_entropy`.
    """
    T = x.dtype.type
    summed = 0.0
    for r in range(x.shape[0]):
        top, log_total = row_softmax(x, r, probabilities)
        loss = T(0)
        for c in range(x.shape[1]):
            loss += T(0) if targets[r, c] == T(0) else targets[r, c] * (log_total - (x[r, c] - top))
        summed += loss
        if losses.size == x.shape[0]:
            losses[r] = loss
    if losses.size != x.shape[0] or losses.size == 1:
        losses[0] = T(scale * summed)


@kernel
def soft_cross_entropy_pullback(g: Vector, probabilities: Matrix, targets: Matrix, scale: float, gx: Matrix):
    """``gx[r] = scale * g[r] * (sum_k targets[r, k] * probabilities[r] - targets[r])``; exactly 0 for a row of zeros."""
    T = gx.dtype.type
    for r in range(gx.shape[0]):
        weight = T(scale) * (g[0] if g.size == 1 else g[r])
        mass, zeros = T(0), True
        for c in range(gx.shape[1]):
            mass += targets[r, c]
            zeros = zeros and targets[r, c] == T(0)
        for c in range(gx.shape[1]):
            gx[r, c] = T(0) if zeros else weight * (mass * probabilities[r, c] - targets[r, c])


@kernel
def soft_cross_entropy_to_targets(g: Vector, x: Matrix, scale: float, gt: Matrix):
    """``gt[r, c] = scale * g[r] * (log sum_k exp(x[r, k]) - x[r, c])``: the gradient of the targets."""
    T = gt.dtype.type
    for r in range(gt.shape[0]):
        weight = T(scale) * (g[0] if g.size == 1 else g[r])
        top, log_total = row_softmax(x, r, gt)
        for c in range(gt.shape[1]):
            gt[r, c] = weight * (log_total - (x[r, c] - top))
