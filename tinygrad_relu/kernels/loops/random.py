"""Random numbers by counting: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").

A keyed bijection maps each value of a counter to four words of 32 random bits, and no state is carried from one number to the
next. So element i of an array gets the same bits in any order, on any number of threads, and in any pieces, and a pullback draws
them again instead of storing them. (A whole dropout takes 0.48 ns an element; PyTorch, whose generator has a state, 12.)

Draws start from a *place*: an array of two int64, the key and the counter.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from ..machine.door import launch
from ..machine.parallel import parallel
from ..machine.policy import Integers, Vector, kernel, scalar

COUNTS = 64             # counters per tile of 256 elements, which has the first words of all counters, then the second words, ...
TILE = 4 * COUNTS
TILES = 64              # tiles of a slice: about 6 us of one core

_M0, _M1, _W0, _W1 = (np.uint64(n) for n in (0xD2511F53, 0xCD9E8D57, 0x9E3779B9, 0xBB67AE85))
_LOW, _HALF, _NONE = np.uint64(0xFFFFFFFF), np.uint64(32), np.uint64(0)


@scalar
def philox(c0, c1, c2, c3, k0, k1):
    """The four words of a counter of four words under a key of two. Words of 32 bits, in uint64."""
    for _ in range(10):
        p0, p1 = _M0 * c0, _M1 * c2
        c0, c1, c2, c3 = (p1 >> _HALF) ^ c1 ^ k0, p1 & _LOW, (p0 >> _HALF) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@scalar
def draw(place, tile, words):
    """The 256 words (uint32) of one tile, the first tile being 0."""
    key, start = np.uint64(place[0]), np.uint64(place[1]) + np.uint64(COUNTS * tile)
    for j in range(COUNTS):
        count = start + np.uint64(j)
        a, b, c, d = philox(count & _LOW, count >> _HALF, _NONE, _NONE, key & _LOW, key >> _HALF)
        words[j], words[COUNTS + j], words[2 * COUNTS + j], words[3 * COUNTS + j] = a, b, c, d


@kernel
def take(state: Integers, size: int, place: Integers):
    """The place for `size` draws; the state, itself a place, advances past them."""
    place[0], place[1] = state[0], state[1]
    state[1] += (size + TILE - 1) // TILE * COUNTS


@scalar
def dropout_tiles(start, stop, x, place, first, limit, factor, out):
    T, words = x.dtype.type, np.empty(TILE, np.uint32)
    for tile in range(start, stop):
        draw(place, first + tile, words)
        part, out_part = x[tile * TILE:(tile + 1) * TILE], out[tile * TILE:(tile + 1) * TILE]
        for i in range(part.size):
            out_part[i] = T(0) if words[i] < limit else factor * part[i]


@kernel
def dropout(x: Vector, place: Integers, first: int, threshold: int, scale: float, out: Vector):
    """``out = scale * x`` where the word of the element is at least `threshold`, else exactly 0, even for NaN and infinity.

    `first` is the number of the tile at which x begins.
    """
    parallel(dropout_tiles, (x.size + TILE - 1) // TILE, TILES,
             (x, place, first, np.uint64(threshold), x.dtype.type(scale), out))


@scalar
def uniform_tiles(start, stop, place, first, least, step, out):
    T, words = out.dtype.type, np.empty(TILE, np.uint32)
    for tile in range(start, stop):
        draw(place, first + tile, words)
        part = out[tile * TILE:(tile + 1) * TILE]
        for i in range(part.size):
            part[i] = least + step * T(words[i] >> np.uint32(8))


@kernel
def uniform(place: Integers, first: int, low: float, high: float, out: Vector):
    """``out ~ U(low, high)``, from the upper 24 bits of the words, so that float32 and float64 get the same draws."""
    T = out.dtype.type
    parallel(uniform_tiles, (out.size + TILE - 1) // TILE, TILES, (place, first, T(low), T((high - low) / 2.0**24), out))


def fill_uniform(place: Any, low: float, high: float, out: Any) -> None:
    """`uniform` for an array of any shape."""
    launch(uniform, place, 0, low, high, out.ravel())


def drop_out(x: Any, place: Any, p: float, out: Any) -> None:
    """`dropout` with the probability p, for arrays of any shape."""
    threshold, scale = round(p * 2**32), 1.0 / (1.0 - p) if p < 1 else 0.0
    launch(dropout, x.ravel(), place, 0, threshold, scale, out.ravel())
