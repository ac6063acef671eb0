"""Maxout: the largest of k pieces (Goodfellow et al. 2013, arXiv 1302.4389)."""
from __future__ import annotations

from .policy import kernel, scalar


@scalar
def is_same(a, b):
    """Equal, or both NaN."""
    return (a == b) | ((a != a) & (b != b))


@kernel
def maxout(x, out):
    """``out[i] = max_k x[i, k]``; NaN if there is one."""
    for i in range(x.shape[0]):
        best = x[i, 0]
        for k in range(1, x.shape[1]):
            best = best if (best >= x[i, k]) | (best != best) else x[i, k]
        out[i] = best


@kernel
def maxout_pullback(g, x, y, gx):
    """The gradient goes to the largest piece, in equal shares to all that tie, and exactly zero to every other one."""
    T = gx.dtype.type
    for i in range(gx.shape[0]):
        winners = T(0)
        for k in range(gx.shape[1]):
            winners += T(1) if is_same(x[i, k], y[i]) else T(0)
        share = g[i] / winners
        for k in range(gx.shape[1]):
            gx[i, k] = share if is_same(x[i, k], y[i]) else T(0)
