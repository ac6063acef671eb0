"""The embedding: rows of a table, and its gradient, which adds rows into a table. Each is the other's derivative."""
from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..autodiff.node import Array, Op
from ..kernels.loops import move as kernels
from ..kernels.machine.door import launch
from .elementwise import where


def _embedding(table: Array, index: Array, *, spared: int = -1) -> Array:
    out = np.empty((*index.shape, table.shape[1]), table.dtype)
    launch(kernels.take_rows, table, index.ravel(), out.reshape(index.size, table.shape[1]))
    return out


def _embedding_fused(g: Array, y: Array, saved: Any, into: list[Array], add: int, table: Array, index: Array, *,
                     spared: int = -1) -> None:
    launch(kernels.add_rows_but, _as_rows(g), index.ravel(), spared, add, into[0])


def _scatter(g: Array, index: Array, *, rows: int) -> Array:
    out = np.empty((rows, g.shape[-1]), g.dtype)
    launch(kernels.add_rows_but, _as_rows(g), index.ravel(), -1, 0, out)
    return out


def _as_rows(g: Array) -> Array:
    return g.reshape(prod(g.shape[:-1]), g.shape[-1])


def _embedding_pull(g: Any, y: Any, table: Any, index: Array, spared: int = -1) -> Any:
    used = g if spared < 0 else where((index != spared)[..., None], g, 0.0)
    return scatter(used, index, rows=table.shape[0])


# table (rows, width), index any shape of int64; no gradient reaches the row `spared`.
embedding: Op = Op("embedding", _embedding, fused=_embedding_fused, adds=True, pull=(_embedding_pull, None),
                   index="index")
scatter: Op = Op("embedding_pullback", _scatter, pull=(lambda h, z, g, index, rows: embedding(h, index), None), index="index")
