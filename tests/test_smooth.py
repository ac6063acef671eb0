"""The activations made of exponentials: value and slope in ulps of mpmath's values, from the tails to the zeros."""
from __future__ import annotations

import math

import numpy as np
import pytest
from common import every_type
from exact import exact
from reference import points, ulps, worst
from strength import strength

from tinygrad_relu import functional as F
from tinygrad_relu.kernels.formulas import saturating, smooth
from tinygrad_relu.kernels.formulas.record import records
from tinygrad_relu.kernels.loops.pointwise import loops

INF, NAN = np.inf, np.nan
RECORD = records(saturating, smooth)
BOUND = 4.0


SCALE, ALPHA = 1.0507009873554805, 1.6732632423543772
LEFT = SCALE * ALPHA
CASES = [("elu", (1.0,)), ("elu", (2.5,)), ("elu", (0.1,)), ("selu", ()), ("celu", (1.0,)), ("celu", (0.7,)), ("celu", (3.0,)),
         ("softplus", (1.0, INF)), ("softplus", (1.0, 20.0)), ("softplus", (2.5, INF)), ("softplus", (0.3, INF)),
         *((name, ()) for name in ("sigmoid", "logsigmoid", "tanh", "softsign", "silu", "mish", "exp", "expm1", "log", "log1p"))]
every_case = pytest.mark.parametrize("name, p", CASES, ids=[f"{name}{p or ''}" for name, p in CASES])


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


def test_the_cases_are_complete():
    assert {name for name, _ in CASES} == set(RECORD)
    for name, record in RECORD.items():
        assert (name, record.defaults) in CASES
        assert record.formula and record.source


@every_type
@every_case
def test_value_and_slope_in_ulps(name, p, dtype):
    x = points(dtype, strength(300, thorough=1000))
    for what, got in ("value", value(name, x, p)), ("slope", derivative(name, x, p)):
        off, where, found = worst(x, got, part(name, p, dtype, what), dtype, part(name, p, dtype, "larger") if what == "slope" else None)
        assert off <= BOUND, f"the {what} of {name}{p} at {where!r} is {found!r}: {off:.2f} ulp off"


def part(name, p, dtype, attribute):
    def of(x):
        jet = exact(name, float(x), p, dtype)
        return jet and getattr(jet, attribute)
    return of


@every_type
@every_case
def test_second_derivative(name, p, dtype):
    """Exact to 1e-5 (1e-13) of its terms, and finite wherever the exact value is finite."""
    x, tolerance = points(dtype, 500, seed=1)[::strength(7, thorough=2)].copy(), 1e-5 if dtype is np.float32 else 1e-13
    smallest, largest = float(np.finfo(dtype).smallest_normal), float(np.finfo(dtype).max)
    for xi, got in zip(x.tolist(), derivative(name, x, p, order=2).tolist()):
        jet = exact(name, xi, p, dtype)
        if jet is None or (name == "softsign" and xi == 0):
            continue
        if abs(jet.curvature) > 0.999 * largest:
            assert abs(got) > 0.99 * largest
        else:
            wrong = f"the second derivative of {name}{p} at {xi!r} is {got!r}, not {float(jet.curvature)!r}"
            assert abs(got - jet.curvature) <= tolerance * jet.terms + smallest, wrong


@every_type
@every_case
def test_python_gives_the_same(name, p, dtype):
    """The formulas can be called without a compiler, with NumPy's scalars, and stay in their type."""
    record = RECORD[name]
    with np.errstate(all="ignore"):
        for xi in points(dtype, 50)[::40]:
            y = record.f(xi, *p)
            slope, curvature = record.f_dx(dtype(1), xi, y, *p), record.f_dxx(dtype(1), xi, y, *p)
            assert type(y) is type(slope) is type(curvature) is dtype
            if jet := exact(name, float(xi), p, dtype):
                assert ulps(float(y), jet.value, dtype) <= BOUND, xi
                assert ulps(float(slope), jet.slope, dtype, jet.larger) <= BOUND, xi


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
@pytest.mark.parametrize("f", [F.gelu, lambda x: F.gelu(x, approximate="tanh"), F.silu, F.mish], ids=["gelu", "tanh", "silu", "mish"])
def test_a_negative_value_that_is_too_small_is_minus_zero(f, dtype):
    """On all processors, as in PyTorch."""
    y = f(np.full(40, -1e4, dtype)).data
    assert (y == 0).all() and np.signbit(y).all()


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
@every_case
def test_nan_in_nan_out(name, p, dtype):
    x = np.full(40, NAN, dtype)
    results = value(name, x, p), derivative(name, x, p), derivative(name, x, p, order=2)
    assert np.isnan(results).all()


@every_type
@pytest.mark.parametrize("name", ["elu", "celu"])
def test_the_identity_passes_any_gradient_on_unchanged(name, dtype):
    """Even an infinite one, because it is selected, not multiplied. And the second derivative there is 0."""
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
    """Even where y (1 - y) and 1 - y^2 are rounded to 0."""
    x = np.array([-80, -20, 20, 80], dtype)
    for name in ("sigmoid", "tanh"):
        slopes = derivative(name, x if name == "sigmoid" else x / 2, ())
        np.testing.assert_allclose(slopes, np.exp(-np.abs(x.astype(float))) * (4 if name == "tanh" else 1), rtol=1e-6)
        np.testing.assert_array_equal(slopes, slopes[::-1])


@every_type
@pytest.mark.parametrize("beta", [0.05, 2.5])
def test_softplus_fades_gradually(beta, dtype):
    """Where e^(beta x) is subnormal or 0, but the value is not."""
    end = math.log(float(np.finfo(dtype).smallest_subnormal)) / beta
    x = (end * np.linspace(0.8, 1, 60)).astype(dtype)
    p = (beta, INF)
    off, where, found = worst(x, value("softplus", x, p), part("softplus", p, dtype, "value"), dtype)
    assert off <= BOUND, f"softplus{p} of {where!r} is {found!r}: {off:.2f} ulp off"
