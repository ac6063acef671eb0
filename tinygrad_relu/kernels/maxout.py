"""Maxout: the largest of k pieces, and which piece it was (Goodfellow et al. 2013, arXiv 1302.4389)."""
from __future__ import annotations

from .policy import kernel


@kernel
def maxout(x, out, winner):
    """``out[i] = max_k x[i, k]``, ``winner[i]`` the index of the piece; a tie goes to the lowest, NaN to the first NaN."""
    for i in range(x.shape[0]):
        best = x[i, 0]
        index = 0
        for k in range(1, x.shape[1]):
            better = (x[i, k] > best) | ((x[i, k] != x[i, k]) & (best == best))
            best = x[i, k] if better else best
            index = k if better else index
        out[i] = best
        winner[i] = index


@kernel
def maxout_pullback(g, winner, gx):
    """The gradient goes to the winner, and exactly zero to every other piece."""
    for i in range(gx.shape[0]):
        for k in range(gx.shape[1]):
            gx[i, k] = g[i] if winner[i] == k else gx.dtype.type(0)


@kernel
def take_winner(x, winner, out):
    """``out[i] = x[i, winner[i]]``: the transpose of `maxout_pullback`, for second derivatives."""
    for i in range(out.size):
        out[i] = x[i, winner[i]]
