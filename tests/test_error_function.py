"""erf, erfc, Phi and the activations made of them, in units in the last place (ulp) of 50-digit arithmetic."""
from __future__ import annotations

import numpy as np
import pytest
from common import every_type
from exact import CROSSINGS, exact
from reference import run, special_points, worst
from strength import strength

from tinygrad_relu.kernels.formulas import gaussian
from tinygrad_relu.kernels.formulas.error_function import erf, erf_slope, erfc
from tinygrad_relu.kernels.formulas.gaussian import gelu, gelu_dx, gelu_tanh, gelu_tanh_dx
from tinygrad_relu.kernels.formulas.record import records
from tinygrad_relu.kernels.loops.pointwise import loops
from tinygrad_relu.kernels.machine.policy import scalar

INF, NAN = np.inf, np.nan
RECORD = records(gaussian)


@scalar
def gelu_slope(x):
    return gelu_dx(type(x)(1), x, x)


@scalar
def gelu_tanh_slope(x):
    return gelu_tanh_dx(type(x)(1), x, x)


# -- the tests --------------------------------------------------------------------------------------------------------


def arguments(dtype, far, crossing=0.0):
    """Numbers all over the range: the core, the tails up to `far`, every magnitude, and the zero crossing."""
    rng, limits = np.random.default_rng(7), np.finfo(dtype)
    signs = rng.choice([-1.0, 1.0], (2, 300))
    magnitudes = np.exp2(rng.uniform(limits.minexp - limits.nmant, np.log2(far), 300))
    near = np.exp2(rng.uniform(-limits.nmant, -3, 300))
    x = [rng.uniform(-far, far, 500), rng.normal(0, 1.5, 500), signs[0] * magnitudes, crossing + signs[1] * near]
    special, random = special_points(dtype), np.concatenate(x).astype(dtype)
    return np.concatenate([random[::strength(5, thorough=1)], special[np.abs(special) < 2 * far]])


def truth(name, attribute="value"):
    return lambda x: getattr(exact(name, float(x)), attribute)


# function, exact value, bound in ulp, where the tails end (float32, float64), where the function crosses zero: near this point
# errors are counted in ulps of the larger term.
TABLE = [
    (erf, truth("erf"), 2, (4.5, 6.5), None),
    (erfc, truth("erfc"), 2, (10.2, 27.4), None),
    (erf_slope, truth("erf", "slope"), 2, (10.3, 27.5), None),
    (gelu, truth("gelu"), 3, (14.6, 38.8), None),
    (gelu_slope, truth("gelu", "slope"), 4, (14.8, 38.9), CROSSINGS["gelu"]),
    (gelu_tanh, truth("gelu_tanh"), 3, (10.7, 21.6), None),
    (gelu_tanh_slope, truth("gelu_tanh", "slope"), 4, (11.0, 21.7), CROSSINGS["gelu_tanh"]),
]


@every_type
@pytest.mark.parametrize("f, true, bound, far, crossing", TABLE, ids=[row[0].__name__ for row in TABLE])
def test_ulps(f, true, bound, far, crossing, dtype):
    scale = crossing and (lambda x: truth("normal_cdf")(x) if abs(x - crossing) < 0.15 else 0)
    x = arguments(dtype, far[dtype is np.float64], crossing or 0.0)
    off, where, got = worst(x, run(f, x), true, dtype, scale)
    assert off <= bound, f"{f.__name__}({where!r}) is {got!r}: {off:.3f} ulp off"


@every_type
@pytest.mark.parametrize("f, true, bound, far, crossing", TABLE, ids=[row[0].__name__ for row in TABLE])
def test_python_gives_the_same(f, true, bound, far, crossing, dtype):
    """The functions run without a compiler, and so without fused multiply-add: the same type, the same bound."""
    x = np.random.default_rng(1).normal(0, 3, 60).astype(dtype)
    with np.errstate(all="ignore"):
        got = [f(xi) for xi in x]
    assert {type(value) for value in got} == {dtype}
    assert worst(x, got, true, dtype, crossing and truth("normal_cdf"))[0] <= bound


@every_type
def test_far_tails_are_subnormal_not_zero(dtype):
    """Down to the last subnormal number, and 0 after it."""
    single = dtype is np.float32
    for f, x, beyond in [(erfc, 10.0 if single else 27.0, 10.1 if single else 27.3),
                         (gelu, -14.2 if single else -38.0, -14.6 if single else -38.7),
                         (gelu_tanh, -10.3 if single else -21.3, -10.8 if single else -21.6)]:
        value, nothing = run(f, np.array([x, beyond], dtype))
        assert 0 < abs(value) < np.finfo(dtype).smallest_normal, f.__name__
        assert nothing == 0, f.__name__


@every_type
@pytest.mark.parametrize("f, rows", [
    (erf, [(-INF, -1), (-30, -1), (0.0, 0), (30, 1), (INF, 1)]),
    (erfc, [(-INF, 2), (-30, 2), (-0.0, 1), (0.0, 1), (30, 0), (INF, 0)]),
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


@every_type
def test_erf_keeps_the_sign_of_zero_and_is_odd(dtype):
    assert np.signbit(run(erf, np.array([-0.0, 0.0], dtype))).tolist() == [True, False]
    x = np.abs(arguments(dtype, 6.0))
    np.testing.assert_array_equal(run(erf, -x), -run(erf, x))


@pytest.mark.parametrize("record", RECORD.values(), ids=lambda record: record.name)
@every_type
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


@pytest.mark.parametrize("name", RECORD)
@every_type
def test_second_derivative(name, dtype):
    """Exact to a few roundings of its terms, and to a few subnormal steps where the result is tiny."""
    x = np.random.default_rng(3).uniform(-8, 8, strength(100, thorough=400)).astype(dtype)
    x = np.append(x, np.arange(-28, -8, 0.1, dtype))        # down to where the exponential is subnormal
    got = np.empty_like(x)
    loops(RECORD[name]).curvature(np.ones_like(x), x, x, (), got)
    limits = np.finfo(dtype)
    for xi, value in zip(x.tolist(), got.tolist()):
        jet = exact(name, xi)
        tolerance = 16 * limits.eps * jet.terms + 100 * float(limits.smallest_subnormal)
        assert abs(value - jet.curvature) <= tolerance, xi
    far = np.array([-1e30, -100, -40, -25, 25, 40, 100, 1e30], dtype)
    got = np.empty_like(far)
    loops(RECORD[name]).curvature(np.ones_like(far), far, far, (), got)
    assert np.isfinite(got).all() and (np.abs(got) < 1e-30).all()
