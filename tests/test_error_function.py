"""erf, erfc, Phi and the activations made of them, in units in the last place (ulp) of 50-digit arithmetic."""
from __future__ import annotations

from functools import cache

import mpmath
import numpy as np
import pytest

from tinygrad_relu.kernels.error_function import erf, erf_slope, erfc, normal_cdf
from tinygrad_relu.kernels.gaussian import GAUSSIAN, gelu, gelu_slope, gelu_tanh, gelu_tanh_slope
from tinygrad_relu.kernels.loops import loops
from tinygrad_relu.kernels.policy import kernel

mp = mpmath.mp.clone()
mp.dps = 50
INF, NAN = np.inf, np.nan
RECORD = {record.name: record for record in GAUSSIAN}
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])

# -- the slow twins ----------------------------------------------------------------------------------------------------


def exact_density(x):
    return mp.exp(-x * x / 2) / mp.sqrt(2 * mp.pi)


def exact_cdf(x):
    return mp.erfc(-x / mp.sqrt(2)) / 2


def exact_sigmoid(v):
    return 1 / (1 + mp.exp(-v))


def tanh_form(x):
    """2u, and its first and second derivative."""
    a, b = 2 * mp.sqrt(2 / mp.pi), mp.mpf("0.044715")
    return a * (x + b * x**3), a * (1 + 3 * b * x**2), 6 * a * b * x


def exact_gelu_tanh(x):
    return x * exact_sigmoid(tanh_form(x)[0])


def exact_gelu_tanh_slope(x):
    v, v1, _ = tanh_form(x)
    return exact_sigmoid(v) + x * exact_sigmoid(v) * exact_sigmoid(-v) * v1


def exact_gelu_tanh_dxx(x):
    v, v1, v2 = tanh_form(x)
    s, r = exact_sigmoid(v), exact_sigmoid(-v)
    return s * r * (2 * v1 + x * ((r - s) * v1**2 + v2))


def exact_erf_slope(x):
    return 2 / mp.sqrt(mp.pi) * mp.exp(-x * x)


# -- the checker -------------------------------------------------------------------------------------------------------


@cache
def compiled(f):
    def loop(x, out):
        for i in range(out.size):
            out[i] = f(x[i])

    return kernel(loop, name=f"test_{f.__name__}")


def run(f, x):
    out = np.empty_like(x)
    compiled(f)(x, out)
    return out


def ulp(exact, dtype):
    """The distance between the floating-point numbers around an exact value."""
    limits = np.finfo(dtype)
    exponent = mp.frexp(exact)[1] - 1 if exact else limits.minexp
    return mp.ldexp(1, int(max(exponent, limits.minexp) - limits.nmant))


def arguments(dtype, far, crossing=None):
    """Numbers all over the range: the core, the tails up to `far`, every power of two down to the subnormal ones."""
    rng, limits = np.random.default_rng(7), np.finfo(dtype)
    powers = np.exp2(rng.uniform(limits.minexp - limits.nmant, np.log2(far), 300)) * rng.choice([-1, 1], 300)
    steps = rng.choice([-1, 1], 200) * np.exp2(rng.uniform(-limits.nmant, -4, 200))
    near = [] if crossing is None else crossing + steps
    edges = [0.0, 0.5, -0.5, 3.5, 5.0, far, -far]
    return np.concatenate([rng.uniform(-far, far, 500), rng.normal(0, 1.5, 500), powers, near, edges]).astype(dtype)


# function, exact, bound in ulp, where its tail ends (float32, float64), zero crossing. There the value is a difference,
# and the ulp is that of its larger part.
TABLE = [
    (erf, mp.erf, 1.5, (4.5, 6.5), None),
    (erfc, mp.erfc, 2, (10.2, 27.4), None),
    (normal_cdf, exact_cdf, 2, (14.4, 38.7), None),
    (erf_slope, exact_erf_slope, 2, (10.3, 27.5), None),
    (gelu, lambda x: x * exact_cdf(x), 3, (14.6, 38.8), None),
    (gelu_slope, lambda x: exact_cdf(x) + x * exact_density(x), 4, (14.8, 38.9), -0.7517915247),
    (gelu_tanh, exact_gelu_tanh, 3, (10.7, 21.4), None),
    (gelu_tanh_slope, exact_gelu_tanh_slope, 4, (11.0, 21.7), -0.7524613865),
]


@dtypes
@pytest.mark.parametrize("f, exact, bound, far, crossing", TABLE, ids=[row[0].__name__ for row in TABLE])
def test_ulps(f, exact, bound, far, crossing, dtype):
    x = arguments(dtype, far[dtype is np.float64], crossing)
    for xi, got in zip(x.tolist(), run(f, x).tolist()):
        expected = exact(mp.mpf(xi))
        beside = crossing is not None and abs(xi - crossing) < 0.15
        unit = ulp(mp.mpf(0.2) if beside else expected, dtype)
        off = float(abs(got - expected) / unit)
        assert off <= bound, f"{f.__name__}({xi!r}) is {got!r}, {off} ulp off"


@dtypes
def test_far_tails_are_subnormal_not_zero(dtype):
    """Down to the last subnormal number, and 0 after it."""
    single = dtype is np.float32
    for f, x, beyond in [(erfc, 10.0 if single else 27.0, 10.1 if single else 27.3),
                         (normal_cdf, -14.1 if single else -38.4, -14.3 if single else -38.6),
                         (gelu, -14.2 if single else -38.0, -14.6 if single else -38.7),
                         (gelu_tanh, -10.3 if single else -21.3, -10.8 if single else -21.6)]:
        value, nothing = run(f, np.array([x, beyond], dtype))
        assert 0 < abs(value) < np.finfo(dtype).smallest_normal, f.__name__
        assert nothing == 0, f.__name__


@dtypes
@pytest.mark.parametrize("f, rows", [
    (erf, [(-INF, -1), (-30, -1), (0.0, 0), (30, 1), (INF, 1)]),
    (erfc, [(-INF, 2), (-30, 2), (-0.0, 1), (0.0, 1), (30, 0), (INF, 0)]),
    (normal_cdf, [(-INF, 0), (-50, 0), (-0.0, 0.5), (0.0, 0.5), (50, 1), (INF, 1)]),
    (erf_slope, [(-INF, 0), (30, 0), (INF, 0)]),
    (gelu, [(-INF, 0), (-50, 0), (-0.0, 0), (0.0, 0), (50, 50), (1e30, 1e30), (INF, INF)]),
    (gelu_slope, [(-INF, 0), (-50, 0), (-0.0, 0.5), (0.0, 0.5), (50, 1), (1e30, 1), (INF, 1)]),
    (gelu_tanh, [(-INF, 0), (-50, 0), (-0.0, 0), (0.0, 0), (50, 50), (1e30, 1e30), (INF, INF)]),
    (gelu_tanh_slope, [(-INF, 0), (-50, 0), (-0.0, 0.5), (0.0, 0.5), (50, 1), (1e30, 1), (INF, 1)]),
], ids=lambda v: getattr(v, "__name__", ""))
def test_special_values(f, rows, dtype):
    x, expected = np.array(rows, dtype).T.copy()
    np.testing.assert_array_equal(run(f, x), expected)
    assert np.isnan(run(f, np.full(40, NAN, dtype))).all()
    payload = np.array([0x7F800001, 0xFF800001], np.uint32).view(np.float32) if dtype is np.float32 else \
        np.array([0x7FF0000000000001, 0xFFF0000000000001], np.uint64).view(np.float64)
    assert np.isnan(run(f, payload)).all()          # NaN of which only the last bit says that it is not infinity


@dtypes
def test_erf_keeps_the_sign_of_zero_and_is_odd(dtype):
    assert np.signbit(run(erf, np.array([-0.0, 0.0], dtype))).tolist() == [True, False]
    x = np.abs(arguments(dtype, 6.0))
    np.testing.assert_array_equal(run(erf, -x), -run(erf, x))


@pytest.mark.parametrize("record", GAUSSIAN, ids=lambda record: record.name)
@dtypes
def test_records(record, dtype):
    """The pullback is g times the slope; NaN comes out as NaN; infinities give numbers; the type stays."""
    x = np.array([-INF, -3, -0.5, -0.0, 0.0, 0.5, 3, INF, NAN], dtype)
    y, one, two, curved = np.empty((4, x.size), dtype)
    loops(record).forward(x, (), y)
    loops(record).pullback(np.ones_like(x), x, y, (), one)
    loops(record).pullback(np.full_like(x, -2), x, y, (), two)
    loops(record).curvature(np.ones_like(x), x, y, (), curved)
    np.testing.assert_array_equal(two, -2 * one)
    for result in one, two, curved:
        assert np.isfinite(result[:-1]).all() and np.isnan(result[-1])
    assert curved[0] == curved[-2] == 0
    for formula, given in (record.f, ()), (record.f_dx, (dtype(1),)), (record.f_dxx, (dtype(1),)):
        assert type(formula(*given, dtype(0.5), *((dtype(0.25),) if given else ()))) is dtype
    assert record.kinks() == () and record.parameters == {}


SECOND = {      # the second derivative, and the size of its terms
    "gelu": (lambda x: exact_density(x) * (2 - x * x), lambda x: exact_density(x) * (2 + x * x)),
    "gelu_tanh": (exact_gelu_tanh_dxx, lambda x: exact_sigmoid(tanh_form(x)[0]) * exact_sigmoid(-tanh_form(x)[0]) * (
        2 * tanh_form(x)[1] + abs(x) * (tanh_form(x)[1]**2 + abs(tanh_form(x)[2])))),
    "erf": (lambda x: -2 * x * exact_erf_slope(x), lambda x: abs(2 * x * exact_erf_slope(x))),
    "erfc": (lambda x: 2 * x * exact_erf_slope(x), lambda x: abs(2 * x * exact_erf_slope(x)))}


@pytest.mark.parametrize("name", SECOND)
@dtypes
def test_second_derivative(name, dtype):
    """Right to a few roundings of its terms, and to a few subnormal steps where it fades."""
    exact, size = SECOND[name]
    x = np.random.default_rng(3).uniform(-8, 8, 400).astype(dtype)
    got = np.empty_like(x)
    loops(RECORD[name]).curvature(np.ones_like(x), x, x, (), got)
    limits = np.finfo(dtype)
    for xi, value in zip(x.tolist(), got.tolist()):
        tolerance = 16 * limits.eps * size(mp.mpf(xi)) + 100 * float(limits.smallest_subnormal)
        assert abs(value - exact(mp.mpf(xi))) <= tolerance, xi
    far = np.array([-1e30, -100, -40, -25, 25, 40, 100, 1e30], dtype)
    got = np.empty_like(far)
    loops(RECORD[name]).curvature(np.ones_like(far), far, far, (), got)
    assert np.isfinite(got).all() and (np.abs(got) < 1e-30).all()
