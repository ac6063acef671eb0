"""The piecewise activations: exact values and slopes, kinks, both zeros, infinities, NaN and subnormal numbers."""
from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from tinygrad_relu.kernels.formulas import piecewise
from tinygrad_relu.kernels.formulas.piecewise import leaky_relu_da
from tinygrad_relu.kernels.formulas.record import records as records_of
from tinygrad_relu.kernels.loops.pointwise import loops

RECORD = records_of(piecewise)
INF, NAN = np.inf, np.nan

dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
records = pytest.mark.parametrize("record", RECORD.values(), ids=lambda record: record.name)


def defaults(record):
    return tuple(record.parameters.values())


def value(record, x, *p):
    out = np.empty_like(x)
    loops(record).forward(x, p, out)
    return out


def pullback(record, g, x, *p):
    out = np.empty_like(x)
    loops(record).pullback(np.broadcast_to(g, x.shape).astype(x.dtype), x, value(record, x, *p), p, out)
    return out


def curvature(record, c, x, *p):
    out = np.empty_like(x)
    loops(record).curvature(np.broadcast_to(c, x.shape).astype(x.dtype), x, value(record, x, *p), p, out)
    return out


# name, parameters, and rows (x, value, slope). All numbers are exact in float32; the slopes at the kinks are PyTorch's.
HALF_LEAKY = [(-INF, -INF, 0.5), (-2, -1, 0.5), (-0.0, -0.0, 0.5), (0.0, 0.0, 0.5), (3, 3, 1), (INF, INF, 1)]
TABLE = [
    ("relu", (0.0,), [(-INF, 0, 0), (-1, 0, 0), (-0.0, 0, 0), (0.0, 0, 0), (1.5, 1.5, 1), (INF, INF, 1)]),
    ("relu", (0.5,), [(-1, 0, 0), (-0.0, 0, 0.5), (0.0, 0, 0.5), (1.5, 1.5, 1)]),
    ("relu", (1.0,), [(-1, 0, 0), (-0.0, 0, 1), (0.0, 0, 1), (1.5, 1.5, 1)]),
    ("leaky_relu", (0.5,), HALF_LEAKY),
    ("prelu", (0.5,), HALF_LEAKY),
    ("rrelu", (0.25, 0.75), HALF_LEAKY),
    ("step", (0.0,), [(-INF, 0, 0), (-1, 0, 0), (-0.0, 1, 0), (0.0, 1, 0), (1, 1, 0), (INF, 1, 0)]),
    ("step", (1.0,), [(-INF, 0, 1), (-1, 0, 1), (-0.0, 1, 1), (0.0, 1, 1), (1, 1, 1), (INF, 1, 1)]),
    ("hardtanh", (-1.0, 1.0), [(-INF, -1, 0), (-1.5, -1, 0), (-1, -1, 0), (-0.5, -0.5, 1), (-0.0, -0.0, 1),
                               (0.0, 0.0, 1), (0.5, 0.5, 1), (1, 1, 0), (1.5, 1, 0), (INF, 1, 0)]),
    ("hardtanh", (-0.5, 4.0), [(-0.75, -0.5, 0), (-0.5, -0.5, 0), (3.5, 3.5, 1), (4, 4, 0), (4.5, 4, 0)]),
    ("relu6", (), [(-INF, 0, 0), (-1, 0, 0), (-0.0, 0, 0), (0.0, 0, 0), (3, 3, 1), (6, 6, 0), (7, 6, 0), (INF, 6, 0)]),
    ("hardsigmoid", (), [(-INF, 0, 0), (-4, 0, 0), (-3, 0, 0), (0, 0.5, 1 / 6), (1.5, 0.75, 1 / 6), (3, 1, 0),
                         (4, 1, 0), (INF, 1, 0)]),
    ("hardswish", (), [(-INF, 0, 0), (-4, 0, 0), (-3, 0, 0), (-1.5, -0.375, 0), (0, 0, 0.5), (1.5, 1.125, 1), (3, 3, 1),
                       (4, 4, 1), (INF, INF, 1)]),
]


@dtypes
@pytest.mark.parametrize("name, p, rows", TABLE, ids=[f"{name}{p}" for name, p, _ in TABLE])
def test_table(name, p, rows, dtype):
    record = RECORD[name]
    x, y, slope = np.array(rows, dtype).T.copy()
    np.testing.assert_array_equal(value(record, x, *p), y)
    np.testing.assert_array_equal(pullback(record, 1, x, *p), slope)
    np.testing.assert_array_equal(pullback(record, -2, x, *p), -2 * slope)      # a factor of 2 is exact
    for xi, yi, si in zip(x, y, slope):                                         # the same formulas in plain Python
        assert record.f(xi, *p) == yi and type(record.f(xi, *p)) is dtype
        assert record.f_dx(dtype(1), xi, yi, *p) == si and type(record.f_dx(dtype(1), xi, yi, *p)) is dtype


def test_parameters_are_pytorchs():
    assert {name: record.parameters for name, record in RECORD.items()} == {
        "relu": {"at_zero": 0.0}, "leaky_relu": {"negative_slope": 0.01}, "prelu": {"weight": 0.25},
        "rrelu": {"lower": 1 / 8, "upper": 1 / 3}, "step": {"straight_through": 0.0},
        "hardtanh": {"min_val": -1.0, "max_val": 1.0}, "relu6": {}, "hardsigmoid": {}, "hardswish": {}}


@dtypes
@records
def test_kinks(record, dtype):
    """At a kink the declared slope; next to it, on each side, the slope of that side; and no kink is left out."""
    p = defaults(record)
    for kink, declared in record.kinks(*p):
        x = dtype(kink)
        sides = np.array([np.nextafter(x, dtype(-INF)), x, np.nextafter(x, dtype(INF))], dtype)
        assert pullback(record, 1, sides, *p)[1] == dtype(declared)
        away = pullback(record, 1, np.array([x - dtype(1e-3), x, x + dtype(1e-3)], dtype), *p)
        np.testing.assert_allclose(pullback(record, 1, sides, *p)[[0, 2]], away[[0, 2]], rtol=1e-3, atol=1e-6)
    x = np.arange(-8, 8, 1 / 64).astype(dtype)
    slope = pullback(record, 1, x, *p)
    jumps = x[1:][np.abs(np.diff(slope)) > 0.1]
    for jump in jumps:
        assert any(abs(jump - kink) <= 1 / 64 for kink, _ in record.kinks(*p)), f"undeclared kink at {jump}"


@dtypes
@records
def test_nan_comes_out_as_nan(record, dtype):
    x, p = np.full(40, NAN, dtype), defaults(record)
    results = value(record, x, *p), pullback(record, 1, x, *p), pullback(record, 0, x, *p), curvature(record, 1, x, *p)
    for result in results:
        assert np.isnan(result).all()


@dtypes
@pytest.mark.parametrize("g", [INF, -INF, NAN])
@pytest.mark.parametrize("name, p, dead, alive", [
    ("relu", (0.0,), [-INF, -1, -1e-30, -0.0, 0.0], [1e-30, 1, INF]),
    ("relu", (1.0,), [-INF, -1, -1e-30], [-0.0, 0.0, 1e-30, 1, INF]),
    ("step", (0.0,), [-INF, -1, -0.0, 0.0, 1, INF], []),
    ("step", (1.0,), [], [-INF, -1, -0.0, 0.0, 1, INF]),
    ("hardtanh", (-1.0, 1.0), [-INF, -2, -1, 1, 2, INF], [-0.5, 0, 0.5]),
    ("relu6", (), [-INF, -1, -0.0, 0.0, 6, 7, INF], [1e-30, 5]),
    ("hardsigmoid", (), [-INF, -4, -3, 3, 4, INF], [-2, 0, 2]),
    ("hardswish", (), [-INF, -4, -3], [3, 4, INF]),
], ids=str)
def test_nothing_passes_a_dead_unit(name, p, dead, alive, g, dtype):
    """Not even an infinity or a NaN passes: the zero is selected, not multiplied. A live unit passes it on."""
    np.testing.assert_array_equal(pullback(RECORD[name], g, np.array(dead, dtype), *p), 0)
    np.testing.assert_array_equal(pullback(RECORD[name], g, np.array(alive, dtype), *p), dtype(g))


@dtypes
def test_subnormal_numbers_are_not_flushed(dtype):
    tiny = np.finfo(dtype).smallest_subnormal
    x = np.array([-8 * tiny, -tiny, tiny, 8 * tiny], dtype)
    np.testing.assert_array_equal(value(RECORD["relu"], x, 0.0), [0, 0, tiny, 8 * tiny])
    np.testing.assert_array_equal(pullback(RECORD["relu"], tiny, x, 0.0), [0, 0, tiny, tiny])
    np.testing.assert_array_equal(value(RECORD["leaky_relu"], x, 0.25), [-2 * tiny, -0.0, tiny, 8 * tiny])
    np.testing.assert_array_equal(value(RECORD["hardtanh"], x, -1.0, 1.0), x)
    np.testing.assert_array_equal(value(RECORD["step"], x, 0.0), [0, 0, 1, 1])
    np.testing.assert_array_equal(value(RECORD["hardswish"], x), [-4 * tiny, -0.0, 0, 4 * tiny])


@dtypes
def test_largest_numbers_do_not_overflow(dtype):
    most = np.finfo(dtype).max
    for record in RECORD.values():
        x = np.array([-most, most], dtype)
        assert np.isfinite(value(record, x, *defaults(record))).all()
        assert np.isfinite(pullback(record, 1, x, *defaults(record))).all()


@dtypes
def test_pullback_to_the_slope(dtype):
    """min(x, 0) g, selected."""
    rows = [(2, -3, -6), (2, -0.0, 0), (2, 0.0, 0), (2, 3, 0), (INF, 3, 0), (NAN, 3, 0), (INF, 0, 0), (INF, -1, -INF)]
    for g, x, expected in rows:
        assert leaky_relu_da(dtype(g), dtype(x)) == expected
        assert type(leaky_relu_da(dtype(g), dtype(x))) is dtype
    assert np.isnan(leaky_relu_da(dtype(1), dtype(NAN)))


@dtypes
@records
def test_second_derivative(record, dtype):
    """Zero on straight pieces, whatever c is; 1/3 inside hardswish."""
    x = np.array([-INF, -4, -3, -2, -1.5, -1, -0.0, 0.0, 0.5, 1, 2.5, 3, 6, 7, INF], dtype)
    expected = np.where((np.abs(x) < 3) & (record.name == "hardswish"), dtype(1) / dtype(3), dtype(0))
    np.testing.assert_array_equal(curvature(record, 1, x, *defaults(record)), expected)
    dead = curvature(record, INF, x, *defaults(record))[expected == 0]
    np.testing.assert_array_equal(dead, 0)


# Exact rational twins of the two formulas that round.
def hardsigmoid(x):
    return min(max(x + 3, 0), 6) / Fraction(6)


def hardswish(x):
    return x * hardsigmoid(x)


def hardswish_slope(x):
    return 0 if x <= -3 else 1 if x >= 3 else (2 * x + 3) / 6


@dtypes
@pytest.mark.parametrize("name, function, twin, ulps", [
    ("hardsigmoid", value, hardsigmoid, 1), ("hardswish", value, hardswish, 2),
    ("hardswish", lambda record, x: pullback(record, 1, x), hardswish_slope, 1)],
    ids=["hardsigmoid", "hardswish", "slope of hardswish"])
def test_rounding(name, function, twin, ulps, dtype):
    """Including just above -3, where hardsigmoid is tiny, and around -3/2, where the slope of hardswish is tiny."""
    rng = np.random.default_rng(0)
    near = np.concatenate([c + rng.choice([-1, 1], 200) * np.exp2(rng.uniform(-20, 0, 200)) for c in (-3, -1.5, 0, 3)])
    x = np.concatenate([rng.uniform(-4, 4, 1000), near]).astype(dtype)
    for xi, got in zip(x, function(RECORD[name], x)):
        exact = twin(Fraction(float(xi)))
        assert abs(Fraction(float(got)) - exact) <= ulps * Fraction(float(np.spacing(dtype(abs(float(exact)))))), xi
