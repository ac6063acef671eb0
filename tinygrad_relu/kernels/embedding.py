"""Kernels of the embedding: rows of a table are copied, and gradients are added into them in the order of the indices."""
from __future__ import annotations

from .policy import kernel


@kernel
def take_rows(table, index, out):
    """``out[i] = table[index[i]]``."""
    for i in range(index.size):
        row = index[i]
        if row < 0 or row >= table.shape[0]:
            raise IndexError("an index is no row")
        for c in range(table.shape[1]):
            out[i, c] = table[row, c]


@kernel
def add_rows(g, index, spared, add, out):
    """``out[index[i]] += g[i]`` in the order of i, but for the row `spared`; from 0 on, unless `add`."""
    if not add:
        out[:] = 0
    for i in range(index.size):
        row = index[i]
        if row != spared:
            for c in range(out.shape[1]):
                out[row, c] += g[i, c]
