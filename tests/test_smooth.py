"""The activations made of exponentials: value and slope in ulps of mpmath's values, from the tails to the zeros."""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from reference import DTYPES, mp, points, ulps, worst
from strength import strength

from tinygrad_relu.kernels.formulas import saturating, smooth
from tinygrad_relu.kernels.formulas.record import records
from tinygrad_relu.kernels.loops.pointwise import loops

INF, NAN = np.inf, np.nan
RECORD = records(saturating, smooth)
BOUND = 4.0


# -- the exact functions: as they stand in the papers, in 150 bits -----------------------------------------------------

def e(x):
    """e^x; far out the argument is cut off where neither type can tell."""
    return mp.exp(max(min(x, 20000), -20000))


def s(x):
    """sigmoid"""
    return 1 / (1 + e(-x))


def t(x):
    """tanh(softplus x)"""
    return mp.tanh(softplus(x))


def softplus(x):
    return max(x, mp.mpf(0)) + mp.log1p(e(-abs(x)))


def h(x):
    """(1 - tanh(softplus x)^2) sigmoid x, without a difference"""
    w = e(x)
    return 4 * w * (1 + w) / (w**2 + 2 * w + 2) ** 2


def tanh(x):
    return mp.tanh(max(min(x, 20000), -20000))


def positive(f: Callable, lowest: float = 0) -> Callable:
    return lambda x: f(x) if x > lowest else None


class Row(NamedTuple):
    """Exact value, slope and second derivative of one activation with these parameters.

    Errors of the slope are measured in ulps of `slope_scale` where that is larger, those of the second derivative as a
    part of `curvature_scale`: a sum that crosses zero is as right as its larger terms.
    """

    name: str
    p: tuple[float, ...]
    f: Callable
    slope: Callable
    curvature: Callable
    slope_scale: Callable | None = None
    curvature_scale: Callable | None = None


def elu(name, p, scale, alpha, width):
    """scale (x or alpha (e^(x/width) - 1)): elu, selu and celu. All parameters as the type in question rounds them."""
    def row(dtype):
        k, a, w = (mp.mpf(float(dtype(v))) for v in (scale, alpha, width))
        left = mp.mpf(float(dtype(scale * alpha)))
        return Row(name, p, lambda x: k * x if x > 0 else left * mp.expm1(max(x / w, -20000)),
                   lambda x: k if x > 0 else left / w * e(x / w),
                   lambda x: mp.mpf(0) if x > 0 else left / w**2 * e(x / w))
    return row


def softplus_row(*p):
    beta, threshold = p

    def row(dtype):
        b, limit = mp.mpf(float(dtype(beta))), mp.mpf(threshold)
        return Row("softplus", p, lambda x: x if b * x > limit else softplus(b * x) / b,
                   lambda x: mp.mpf(1) if b * x > limit else s(b * x),
                   lambda x: mp.mpf(0) if b * x > limit else b * s(b * x) * s(-b * x))
    return row


def sign(x):
    return mp.sign(x) if x else mp.mpf(-1) if math.copysign(1, float(x)) < 0 else mp.mpf(1)


SCALE, ALPHA = 1.0507009873554805, 1.6732632423543772
LEFT = SCALE * ALPHA
TABLE: dict[str, Row | Callable[[type], Row]] = {
    "elu": elu("elu", (1.0,), 1, 1, 1), "elu, alpha 2.5": elu("elu", (2.5,), 1, 2.5, 1),
    "elu, alpha 0.1": elu("elu", (0.1,), 1, 0.1, 1), "selu": elu("selu", (), SCALE, ALPHA, 1),
    "celu": elu("celu", (1.0,), 1, 1, 1), "celu, alpha 0.7": elu("celu", (0.7,), 1, 0.7, 0.7),
    "celu, alpha 3": elu("celu", (3.0,), 1, 3, 3),
    "softplus": softplus_row(1.0, INF), "softplus, threshold 20": softplus_row(1.0, 20.0),
    "softplus, beta 2.5": softplus_row(2.5, INF), "softplus, beta 0.3": softplus_row(0.3, INF),
    "sigmoid": Row("sigmoid", (), s, lambda x: s(x) * s(-x), lambda x: s(x) * s(-x) * (s(-x) - s(x)), None,
                   lambda x: s(x) * s(-x)),
    "logsigmoid": Row("logsigmoid", (), lambda x: -softplus(-x), lambda x: s(-x), lambda x: -s(x) * s(-x)),
    "tanh": Row("tanh", (), tanh, lambda x: 4 * s(2 * x) * s(-2 * x), lambda x: -8 * tanh(x) * s(2 * x) * s(-2 * x)),
    "softsign": Row("softsign", (), lambda x: x / (1 + abs(x)), lambda x: 1 / (1 + abs(x)) ** 2,
                    lambda x: -2 * sign(x) / (1 + abs(x)) ** 3 if x else None),
    "silu": Row("silu", (), lambda x: x * s(x), lambda x: s(x) + x * s(x) * s(-x),
                lambda x: s(x) * s(-x) * (2 + x * (s(-x) - s(x))),
                lambda x: max(s(x), abs(x) * s(x) * s(-x)), lambda x: s(x) * s(-x) * (2 + abs(x))),
    "mish": Row("mish", (), lambda x: x * t(x), lambda x: t(x) + x * h(x),
                lambda x: h(x) * (2 + x * (s(-x) - 2 * t(x) * s(x))),
                lambda x: max(t(x), abs(x) * h(x)), lambda x: h(x) * (2 + abs(x) * (s(-x) + 2 * t(x) * s(x)))),
    "exp": Row("exp", (), e, e, e),
    "expm1": Row("expm1", (), lambda x: mp.expm1(max(min(x, 20000), -20000)), e, e),
    "log": Row("log", (), positive(mp.log), positive(lambda x: 1 / x), positive(lambda x: -1 / x**2)),
    "log1p": Row("log1p", (), positive(mp.log1p, -1), positive(lambda x: 1 / (1 + x), -1),
                 positive(lambda x: -1 / (1 + x) ** 2, -1)),
}

every_type = pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])
every_row = pytest.mark.parametrize("key", TABLE)


def row_of(key: str, dtype) -> Row:
    row = TABLE[key]
    return row if isinstance(row, Row) else row(dtype)


def value(name, x, p):
    x = np.ascontiguousarray(x)
    y = np.empty_like(x)
    loops(RECORD[name]).forward(x, p, y)
    return y


def derivative(name, x, p, g=1.0, order=1):
    """g times the first or the second derivative."""
    x, kernels = np.ascontiguousarray(x), loops(RECORD[name])
    out = np.empty_like(x)
    (kernels.pullback if order == 1 else kernels.curvature)(np.full_like(x, g), x, value(name, x, p), p, out)
    return out


def test_the_table_is_complete():
    assert {row_of(key, np.float64).name for key in TABLE} == set(RECORD)
    for name, record in RECORD.items():
        assert tuple(record.parameters.values()) in {row_of(key, np.float64).p for key in TABLE
                                                     if row_of(key, np.float64).name == name}
        assert record.formula and record.source


@every_type
@every_row
def test_value_and_slope_in_ulps(key, dtype):
    row, x = row_of(key, dtype), points(dtype, strength(300, thorough=1000))
    off, where, got = worst(x, value(row.name, x, row.p), row.f, dtype)
    assert off <= BOUND, f"{key} of {where!r} is {got!r}: {off:.2f} ulp off"
    off, where, got = worst(x, derivative(row.name, x, row.p), row.slope, dtype, row.slope_scale)
    assert off <= BOUND, f"the slope of {key} at {where!r} is {got!r}: {off:.2f} ulp off"


@every_type
@every_row
def test_second_derivative(key, dtype):
    """To 1e-5 (1e-13) of its terms; finite wherever the exact one is."""
    row, x, tolerance = row_of(key, dtype), points(dtype, 500, seed=1)[::strength(7, thorough=2)], 1e-5 if dtype is np.float32 else 1e-13
    smallest, largest = float(np.finfo(dtype).smallest_normal), float(np.finfo(dtype).max)
    for xi, got in zip(x.tolist(), derivative(row.name, x, row.p, order=2).tolist()):
        exact = row.curvature(mp.mpf(xi))
        if exact is None:
            continue
        if abs(exact) > 0.999 * largest:
            assert abs(got) > 0.99 * largest
            continue
        scale = row.curvature_scale(mp.mpf(xi)) if row.curvature_scale else abs(exact)
        assert abs(got - exact) <= tolerance * scale + smallest, f"{key}'' at {xi!r} is {got!r}, not {float(exact)!r}"


@every_type
@every_row
def test_python_gives_the_same(key, dtype):
    """The formulas can be called without a compiler, with NumPy's scalars, and stay in their type."""
    row, record = row_of(key, dtype), RECORD[row_of(key, dtype).name]
    with np.errstate(all="ignore"):
        for xi in points(dtype, 50)[::40]:
            y = record.f(xi, *row.p)
            slope, curvature = record.f_dx(dtype(1), xi, y, *row.p), record.f_dxx(dtype(1), xi, y, *row.p)
            assert type(y) is type(slope) is type(curvature) is dtype
            for got, exact, scale in ((y, row.f, None), (slope, row.slope, row.slope_scale)):
                if (true := exact(mp.mpf(float(xi)))) is not None:
                    assert ulps(float(got), true, dtype, scale and scale(mp.mpf(float(xi)))) <= BOUND, (key, xi)


# name, parameters, then (x, value, slope)
LIMITS = [
    ("elu", (1.0,), [(-INF, -1, 0), (-0.0, -0.0, 1), (0.0, 0.0, 1), (INF, INF, 1)]),
    ("elu", (2.0,), [(-INF, -2, 0), (-0.0, -0.0, 2), (0.0, 0.0, 2), (1e-30, 1e-30, 1), (INF, INF, 1)]),
    ("selu", (), [(-INF, -LEFT, 0), (-0.0, -0.0, LEFT), (0.0, 0.0, LEFT), (INF, INF, SCALE)]),
    ("celu", (2.0,), [(-INF, -2, 0), (-0.0, -0.0, 1), (0.0, 0.0, 1), (INF, INF, 1)]),
    ("sigmoid", (), [(-INF, 0, 0), (-0.0, 0.5, 0.25), (0.0, 0.5, 0.25), (INF, 1, 0)]),
    ("logsigmoid", (), [(-INF, -INF, 1), (-1e30, -1e30, 1), (0.0, -math.log(2), 0.5), (INF, 0, 0)]),
    ("tanh", (), [(-INF, -1, 0), (-0.0, -0.0, 1), (0.0, 0.0, 1), (INF, 1, 0)]),
    ("softplus", (1.0, INF), [(-INF, 0, 0), (-0.0, math.log(2), 0.5), (1e30, 1e30, 1), (INF, INF, 1)]),
    ("softplus", (2.0, 20.0), [(-INF, 0, 0), (0.0, math.log(2) / 2, 0.5), (10.5, 10.5, 1), (INF, INF, 1)]),
    ("softsign", (), [(-INF, -1, 0), (-0.0, -0.0, 1), (0.0, 0.0, 1), (1e30, 1, 0), (INF, 1, 0)]),
    ("silu", (), [(-INF, 0, 0), (-1e30, 0, 0), (-0.0, -0.0, 0.5), (0.0, 0.0, 0.5), (1e30, 1e30, 1), (INF, INF, 1)]),
    ("mish", (), [(-INF, 0, 0), (-1e30, 0, 0), (-0.0, -0.0, 0.6), (0.0, 0.0, 0.6), (1e30, 1e30, 1), (INF, INF, 1)]),
    ("exp", (), [(-INF, 0, 0), (0.0, 1, 1), (INF, INF, INF)]),
    ("expm1", (), [(-INF, -1, 0), (-0.0, -0.0, 1), (0.0, 0.0, 1), (INF, INF, INF)]),
    ("log", (), [(0.0, -INF, INF), (1, 0.0, 1), (INF, INF, 0)]),
    ("log1p", (), [(-1, -INF, INF), (-0.0, -0.0, 1), (0.0, 0.0, 1), (INF, INF, 0)]),
]


@every_type
@pytest.mark.parametrize("name, p, rows", LIMITS)
def test_limits_and_zeros(name, p, rows, dtype):
    """Nothing is NaN at infinity; a zero keeps its sign where the function goes through it."""
    x, expected, slopes = np.array(rows, dtype).T.copy()
    y = value(name, x, p)
    np.testing.assert_allclose(y, expected, rtol=4 * np.finfo(dtype).eps, atol=0)
    through_zero = x == expected
    np.testing.assert_array_equal(np.signbit(y[through_zero]), np.signbit(x[through_zero]))
    np.testing.assert_allclose(derivative(name, x, p), slopes, rtol=4 * np.finfo(dtype).eps, atol=1e-59)
    assert np.isfinite(derivative(name, np.array([-INF, INF], dtype), p, order=2)).all() or name in ("exp", "expm1")


@every_type
@every_row
def test_nan_in_nan_out(key, dtype):
    row, x = row_of(key, dtype), np.full(40, NAN, dtype)
    results = value(row.name, x, row.p), derivative(row.name, x, row.p), derivative(row.name, x, row.p, order=2)
    assert np.isnan(results).all()


@every_type
@pytest.mark.parametrize("name", ["elu", "celu"])
def test_the_identity_passes_any_gradient_on_unchanged(name, dtype):
    """Selected, not multiplied: also an infinite one. And the flat second derivative stays 0."""
    x = np.array([1e-30, 1.0, 1e30, INF], dtype)
    for g in (INF, -INF, 1e-40, -0.0):
        np.testing.assert_array_equal(derivative(name, x, (1.0,), g), np.full(4, g, dtype))
    np.testing.assert_array_equal(derivative(name, x, (1.0,), INF, order=2), 0)


@pytest.mark.parametrize("name, p, expected", [
    ("elu", (1.0,), []), ("elu", (2.0,), [(0.0, 2.0)]), ("selu", (), [(0.0, 1.7580993408473766)]),
    ("celu", (1.0,), []), ("celu", (0.3,), []), ("softplus", (1.0, INF), []),
    ("softplus", (2.0, 20.0), [(10.0, 1 / (1 + math.exp(-20)))]),
    *((name, (), []) for name in ("sigmoid", "logsigmoid", "tanh", "softsign", "silu", "mish")),
])
def test_kinks(name, p, expected):
    """Where a kink is declared the slopes on both sides differ; where none is, at 0, they agree."""
    kinks = RECORD[name].kinks(*p)
    assert list(kinks) == expected
    for x, slope in kinks:
        np.testing.assert_allclose(derivative(name, np.array([x]), p), slope, rtol=1e-15)
    left, right = derivative(name, np.array([-1e-12, 1e-12]), p)
    assert (abs(left - right) < 1e-11) == (0.0 not in [x for x, _ in kinks])


@every_type
def test_plateaus_keep_a_slope(dtype):
    """Where y (1 - y) and 1 - y^2 have long been 0."""
    x = np.array([-80, -20, 20, 80], dtype)
    for name in ("sigmoid", "tanh"):
        slopes = derivative(name, x if name == "sigmoid" else x / 2, ())
        np.testing.assert_allclose(slopes, np.exp(-np.abs(x.astype(float))) * (4 if name == "tanh" else 1), rtol=1e-6)
        np.testing.assert_array_equal(slopes, slopes[::-1])
