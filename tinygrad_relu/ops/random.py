"""Random operations. Their numbers are a function of a place: a key and a counter (see `kernels.loops.random`).

The state of a random layer is a place too: an array, which a kernel reads and advances. So a saved state resumes the draws, and
an operation is a pure function, whose pullback can draw the same numbers again.
"""
from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator

from ..autodiff.node import Array, Op
from ..checks import check_rng
from ..kernels.loops import random as kernels
from ..kernels.machine.door import launch


def new_place(rng: int | Generator | None, who: str) -> Array:
    """A place whose key is drawn from `rng`, and whose counter is 0."""
    return np.array([check_rng(rng, who).integers(2**63), 0])


def advance(state: Array, size: int) -> Array:
    """The place for the next `size` draws; `state` advances past them."""
    place = np.empty(2, np.int64)
    launch(kernels.take, state, size, place)
    return place


def uniform(place: Array, shape: tuple[int, ...], dtype: Any, low: float, high: float) -> Array:
    """Draws from U(low, high)."""
    out = np.empty(shape, dtype)
    kernels.fill_uniform(place, low, high, out)
    return out


def _dropout(x: Array, place: Array, *, p: float) -> Array:
    out = np.empty(x.shape, x.dtype)
    kernels.drop_out(x, place, p, out)
    return out


# Linear in x: the pullback drops the same elements of g, by drawing the numbers again, which takes no memory.
dropout: Op = Op("dropout", _dropout, pull=(lambda g, y, x, place, p: dropout(g, place, p=p), None), index="random key")
