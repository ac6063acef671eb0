"""Kernels of softmax, log-softmax and cross-entropy over the rows of a matrix, each in one pass over a row at a time.

The row's maximum is taken off before the exponential, so that nothing overflows and the largest term is exactly 1.
"""
from __future__ import annotations

import numpy as np

from .exponential import exp
from .logarithm import log
from .policy import by_type, kernel, scalar


@scalar
def row_maximum(x, r):
    """The largest entry of row r. It steps over NaN, which comes out all the same: as exp(NaN) in the sum of the row."""
    largest = x[r, 0]
    for c in range(1, x.shape[1]):
        largest = largest if largest > x[r, c] else x[r, c]
    return largest


@scalar
def row_softmax(x, r, top, out):
    """The softmax of row r, written into `out`; gives the logarithm of sum_k exp(x[r, k] - top)."""
    total = x.dtype.type(0)
    for c in range(x.shape[1]):
        out[r, c] = exp(x[r, c] - top)
    for c in range(x.shape[1]):
        total += out[r, c]
    for c in range(x.shape[1]):
        out[r, c] /= total
    return log(total)


@kernel
def softmax(x, out):
    """``out[r, c] = exp(x[r, c]) / sum_k exp(x[r, k])``."""
    for r in range(x.shape[0]):
        top = row_maximum(x, r)
        for c in range(x.shape[1]):
            out[r, c] = exp(x[r, c] - top)
        total = x.dtype.type(0)
        for c in range(x.shape[1]):
            total += out[r, c]
        scale = x.dtype.type(1) / total
        for c in range(x.shape[1]):
            out[r, c] *= scale


@kernel
def softmax_pullback(g, y, gx):
    """``gx = y * (g - sum_k g_k y_k)`` row by row."""
    for r in range(y.shape[0]):
        dot = y.dtype.type(0)
        for c in range(y.shape[1]):
            dot += g[r, c] * y[r, c]
        for c in range(y.shape[1]):
            gx[r, c] = y[r, c] * (g[r, c] - dot)


@kernel
def log_softmax(x, out):
    """``out[r, c] = x[r, c] - log sum_k exp(x[r, k])``."""
    for r in range(x.shape[0]):
        top = row_maximum(x, r)
        total = x.dtype.type(0)
        for c in range(x.shape[1]):
            out[r, c] = x[r, c] - top
        for c in range(x.shape[1]):
            total += exp(out[r, c])
        shift = log(total)
        for c in range(x.shape[1]):
            out[r, c] -= shift


@kernel
def log_softmax_pullback(g, y, gx):
    """``gx = g - exp(y) * sum_k g_k`` row by row."""
    for r in range(y.shape[0]):
        total = y.dtype.type(0)
        for c in range(y.shape[1]):
            total += g[r, c]
        for c in range(y.shape[1]):
            gx[r, c] = g[r, c] - exp(y[r, c]) * total


@by_type(lambda v, m: (m, np.empty(0, np.int64), 0.0, m, v))
@kernel
def cross_entropy(x, labels, scale, probabilities, losses):
    """``losses[r] = log sum_k exp(x[r, k]) - x[r, labels[r]]``, and the softmax of every row.

    Where `losses` has one entry for several rows, it is their sum times `scale` (1 / rows for the mean).
    """
    T = x.dtype.type
    summed = 0.0        # float64: a sum over very many rows
    for r in range(x.shape[0]):
        if labels[r] < 0 or labels[r] >= x.shape[1]:
            raise IndexError("a label is no class")
        top = row_maximum(x, r)
        loss = row_softmax(x, r, top, probabilities) - (x[r, labels[r]] - top)
        summed += loss
        if losses.size == x.shape[0]:
            losses[r] = loss
    if losses.size != x.shape[0] or losses.size == 1:
        losses[0] = T(scale * summed)


@by_type(lambda v, m: (v, m, np.empty(0, np.int64), 0.0, m))
@kernel
def cross_entropy_pullback(g, probabilities, labels, scale, gx):
    """``gx[r] = scale * g[r] * (probabilities[r] - onehot(labels[r]))``; a g of one element serves every row."""
    T = gx.dtype.type
    for r in range(gx.shape[0]):
        weight = T(scale) * (g[0] if g.size == 1 else g[r])
        for c in range(gx.shape[1]):
            gx[r, c] = weight * probabilities[r, c]
        gx[r, labels[r]] -= weight


@kernel
def soft_cross_entropy(x, targets, scale, probabilities, losses):
    """``losses[r] = sum_c targets[r, c] (log sum_k exp(x[r, k]) - x[r, c])``, and the softmax of every row.

    A target of 0 asks nothing, even where x is infinite. For `scale` see `cross_entropy`.
    """
    T = x.dtype.type
    summed = 0.0
    for r in range(x.shape[0]):
        top = row_maximum(x, r)
        log_total = row_softmax(x, r, top, probabilities)
        loss = T(0)
        for c in range(x.shape[1]):
            loss += T(0) if targets[r, c] == T(0) else targets[r, c] * (log_total - (x[r, c] - top))
        summed += loss
        if losses.size == x.shape[0]:
            losses[r] = loss
    if losses.size != x.shape[0] or losses.size == 1:
        losses[0] = T(scale * summed)


@kernel
def soft_cross_entropy_pullback(g, probabilities, targets, scale, gx):
    """``gx[r] = scale * g[r] * (sum_k targets[r, k] * probabilities[r] - targets[r])``; exactly 0 where nothing is asked."""
    T = gx.dtype.type
    for r in range(gx.shape[0]):
        weight = T(scale) * (g[0] if g.size == 1 else g[r])
        asked, silent = T(0), True
        for c in range(gx.shape[1]):
            asked += targets[r, c]
            silent = silent and targets[r, c] == T(0)
        for c in range(gx.shape[1]):
            gx[r, c] = T(0) if silent else weight * (asked * probabilities[r, c] - targets[r, c])


@kernel
def soft_cross_entropy_to_targets(g, x, scale, gt):
    """``gt[r, c] = scale * g[r] * (log sum_k exp(x[r, k]) - x[r, c])``: the gradient of what is asked."""
    T = gt.dtype.type
    for r in range(gt.shape[0]):
        weight = T(scale) * (g[0] if g.size == 1 else g[r])
        top = row_maximum(x, r)
        log_total = row_softmax(x, r, top, gt)
        for c in range(gt.shape[1]):
            gt[r, c] = weight * (log_total - (x[r, c] - top))
