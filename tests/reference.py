"""The error of a number, in units in the last place (ulp) of mpmath's value; and arguments at which errors are likely.

An ulp is the distance between the floating-point numbers on both sides of the true value: 2^-23 (2^-52) of its power of
two, but never less than the smallest subnormal number. A correctly rounded result is off by at most half of it.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cache

import mpmath
import numpy as np

from tinygrad_relu.kernels.machine.policy import Vector, kernel

mp = mpmath.mp.clone()
mp.prec = 150


def spacing(exact, dtype):
    """One ulp at an exact value; at 0 and among the subnormal numbers, the smallest subnormal number."""
    limits = np.finfo(dtype)
    exponent = mp.frexp(exact)[1] - 1 if exact else limits.minexp
    return mp.ldexp(1, int(min(max(exponent, limits.minexp), limits.maxexp - 1)) - int(limits.nmant))


def ulps(got: float, exact, dtype, scale=None) -> float:
    """The distance of a result from the exact value, in ulps of that value, or of `scale` if that is larger.

    Infinity counts as the number that would follow the largest finite one, so that a value which rounds to infinity is
    half an ulp or less from it. NaN is infinitely far from everything but NaN. The sign of a zero does not count.
    """
    if mp.isnan(exact) or math.isnan(got):
        return 0.0 if mp.isnan(exact) and math.isnan(got) else math.inf
    top = mp.ldexp(1, int(np.finfo(dtype).maxexp))
    got, exact = (max(min(mp.mpf(v), top), -top) for v in (got, exact))
    return float(abs(got - exact) / spacing(max(abs(exact), abs(scale or 0)), dtype))


def worst(x: Iterable[float], got: Iterable[float], exact: Callable, dtype, scale: Callable | None = None):
    """The largest error in ulps, the argument at which it is found, and the result there.

    `exact` (and `scale`) are functions of an mpf; points where `exact` returns None are left out.
    """
    off, where, what = 0.0, math.nan, math.nan
    for xi, yi in zip(map(float, x), map(float, got)):
        truth = exact(mp.mpf(xi))
        if truth is None:
            continue
        distance = ulps(yi, truth, dtype, scale and scale(mp.mpf(xi)))
        if distance > off:
            off, where, what = distance, xi, yi
    return off, where, what


def special_points(dtype) -> np.ndarray:
    """Finite numbers at which a range ends or begins: both zeros, the edges of the subnormal and the finite numbers,
    powers of two and their neighbours, the ends of the exponential's range, the boundaries between our own formulas."""
    limits = np.finfo(dtype)
    step = 9 if dtype is np.float32 else 61
    powers = np.ldexp(1.0, np.arange(limits.minexp - limits.nmant, limits.maxexp, step)).astype(dtype)
    ends = np.array([88.02, 88.72, 87.33, 103.27, 103.97, 104.1, 120, 709.43, 709.78, 708.39, 744.44, 745.13, 746, 770,
                     0.34657359, 0.6, 0.41421356, 0.70710678, 1.0397208, 16.6, 17.33, 20, 36.7, 37.4, 40], dtype)
    edges = [0, limits.smallest_subnormal, limits.smallest_normal, limits.max, limits.eps, 1]
    base = np.concatenate([edges, powers, ends]).astype(dtype)
    around = np.concatenate([base, np.nextafter(base, dtype(0)), np.nextafter(base[base < limits.max], dtype(np.inf))])
    return np.unique(np.concatenate([around, -around]).view(np.int32 if dtype is np.float32 else np.int64)).view(dtype)


def points(dtype, n: int, seed: int = 0) -> np.ndarray:
    """`special_points`, and about n random ones: by magnitude over the whole range, around 0, 1 and -1, and
    where an exponential is neither 0 nor infinite."""
    rng, limits = np.random.default_rng(seed), np.finfo(dtype)
    sign = rng.choice([-1.0, 1.0], n // 5)
    magnitudes = np.exp2(rng.uniform(limits.minexp - limits.nmant, limits.maxexp - 1e-9, n // 5))
    near = np.exp2(rng.uniform(-limits.nmant - 3, 0, n // 5))
    tail = 1.15 * -math.log(limits.smallest_subnormal)
    random = [sign * magnitudes, rng.uniform(-4, 4, n // 5), rng.uniform(-tail, tail, n // 5), rng.normal(0, 1, n // 5),
              sign[:n // 10] + near[:n // 10], sign[n // 10:] * near[n // 10:]]
    return np.concatenate([special_points(dtype), np.concatenate(random).astype(dtype)])


@cache
def compiled(f: Callable[[float], float]):
    """A kernel that applies a scalar function to an array, as the kernels of the package do."""
    def loop(x: Vector, out: Vector):
        for i in range(out.size):
            out[i] = f(x[i])

    return kernel(loop, name=f"reference_{f.__module__.rpartition('.')[2]}_{f.__name__}")


def run(f: Callable[[float], float], x: np.ndarray) -> np.ndarray:
    out = np.empty_like(x)
    compiled(f)(x, out)
    return out
