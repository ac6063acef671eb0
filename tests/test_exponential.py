"""exp, expm1, tanh, log, log1p, and the tools they are made of, in ulps of mpmath's values."""
from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from common import every_type
from reference import mp, points, run, special_points, ulps, worst
from strength import strength

from tinygrad_relu.kernels.formulas import bits
from tinygrad_relu.kernels.formulas.exponential import (
    decay_parts,
    exp,
    exp_sum,
    expm1,
    log,
    log1p,
    log1p_of_unit,
    scaled_exp,
    tanh,
)
from tinygrad_relu.kernels.machine.policy import Vector, kernel, scalar
from tinygrad_relu.kernels.machine.processor import has_fma

INF, NAN = np.inf, np.nan


def exact_exp(x):
    return mp.exp(max(min(x, 20000), -20000))


def exact_tanh(x):
    return mp.tanh(max(min(x, 20000), -20000))


# function, exact value (None: not here), bound in ulp with fused multiply-add
TABLE = [
    (exp, exact_exp, 1.0),
    (expm1, lambda x: mp.expm1(max(min(x, 20000), -20000)), 1.5),
    (tanh, exact_tanh, 1.5),
    (log, lambda x: mp.log(x) if x > 0 else None, 1.1),           # 0.5 for each of two sums
    (log1p, lambda x: mp.log1p(x) if x > -1 else None, 1.25),
    (log1p_of_unit, lambda x: mp.log1p(x) if 0 <= x <= 1 else None, 1.6),      # 1 for the two sums, 0.5 for x - 1
]
APART = 0.25        # without it r of exp, and the product in e^r = 1 + r (...), are rounded once more
every_function = pytest.mark.parametrize("f, exact, bound", TABLE, ids=[row[0].__name__ for row in TABLE])


@every_type
@every_function
def test_ulps(f, exact, bound, dtype):
    """From the smallest subnormal number to the largest finite one, both signs."""
    x = points(dtype, strength(500, thorough=2500))
    off, where, got = worst(x, run(f, x), exact, dtype)
    assert off <= bound + (0 if has_fma() else APART), f"{f.__name__}({where!r}) is {got!r}: {off:.3f} ulp off"


@every_type
@every_function
def test_python_gives_the_same(f, exact, bound, dtype):
    """The functions can be called without a compiler: the same type, the same bound, all but the last bit the same."""
    x = points(dtype, 100)[::6]
    with np.errstate(all="ignore"):
        got = [f(xi) for xi in x]
    assert {type(value) for value in got} == {dtype}
    off, where, value = worst(x, got, exact, dtype)
    assert off <= bound + APART, f"{f.__name__}({where!r}) is {value!r} in Python: {off:.3f} ulp off"


@every_type
@pytest.mark.parametrize("f, rows", [
    (exp, [(-INF, 0.0), (-1000, 0.0), (-0.0, 1), (0.0, 1), (1000, INF), (INF, INF)]),
    (expm1, [(-INF, -1), (-1000, -1), (-0.0, -0.0), (0.0, 0.0), (1000, INF), (INF, INF)]),
    (tanh, [(-INF, -1), (-1000, -1), (-0.0, -0.0), (0.0, 0.0), (1000, 1), (INF, 1)]),
    (log, [(-INF, NAN), (-1, NAN), (-1e-44, NAN), (-0.0, -INF), (0.0, -INF), (1, 0.0), (INF, INF)]),
    (log1p, [(-INF, NAN), (-1.5, NAN), (-1, -INF), (-0.0, -0.0), (0.0, 0.0), (INF, INF)]),
], ids=lambda v: getattr(v, "__name__", ""))
def test_special_values(f, rows, dtype):
    """Infinities, zeros with their signs, poles, and what is not defined."""
    x, expected = np.array(rows, dtype).T.copy()
    got = run(f, x)
    np.testing.assert_array_equal(got, expected)
    defined = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(got[defined]), np.signbit(expected[defined]))
    assert np.isnan(run(f, np.full(40, NAN, dtype))).all()
    odd = np.array([1, -1], np.int32 if dtype is np.float32 else np.int64) + bits.bits_of(dtype(INF))
    assert np.isnan(run(f, odd.view(dtype)[:1])).all()          # a NaN that has only its last bit set


@every_type
def test_exp_underflows_gradually(dtype):
    """The result decreases steadily down to the smallest subnormal number: nothing is flushed to 0."""
    smallest = np.finfo(dtype).smallest_subnormal
    end = -float(mp.log(mp.mpf(float(smallest)) / 2))
    x = np.linspace(-end + 1e-3 * end, -end + 0.16 * end, 500).astype(dtype)
    y = run(exp, x)
    assert (np.diff(y) >= 0).all() and 0 < y[0] < 3 * smallest
    edge = np.array([-end * (1 - 1e-6), -end * (1 + 1e-6)], dtype)
    np.testing.assert_array_equal(run(exp, edge), [smallest, 0])
    np.testing.assert_array_equal(run(log, np.array([smallest], dtype)), dtype(mp.log(mp.mpf(float(smallest)))))


@scalar
def square_exponential(x):
    """exp(-x^2)."""
    hi, lo = bits.product(x, -x)
    return exp_sum(hi, lo)


@scalar
def hundred_exp(x):
    return scaled_exp(x, type(x)(100))


@scalar
def decay_by_parts(x):
    return bits.scaled_down(*decay_parts(x, type(x)(0)))


@scalar
def exp_of_third(x):
    hi, lo = bits.quotient(x, type(x)(3))
    return exp_sum(hi, lo)


@every_type
@pytest.mark.parametrize("f, exact, bound", [
    (square_exponential, lambda x: exact_exp(-x * x), 1.0),
    (hundred_exp, lambda x: 100 * exact_exp(x) if x <= 0 else None, 2.0),
    (decay_by_parts, lambda x: exact_exp(x) if x <= 0 else None, 1.0),
    (exp_of_third, lambda x: exact_exp(x / 3), 1.2),
], ids=lambda v: getattr(v, "__name__", "")[:20])
def test_exponentials_of_two_parts(f, exact, bound, dtype):
    """Rounding -x^2 to one number would cost 50 ulp in float32 and 370 in float64."""
    x = points(dtype, strength(500, thorough=2500))
    off, where, got = worst(x, run(f, x), exact, dtype)
    assert off <= bound + (0 if has_fma() else APART), f"{f.__name__}({where!r}) is {got!r}: {off:.3f} ulp off"


# -- the tools ---------------------------------------------------------------------------------------------------------

@every_type
def test_bits_there_and_back(dtype):
    x = np.concatenate([special_points(dtype), np.array([INF, -INF], dtype)])
    there = [bits.bits_of(xi) for xi in x]
    assert {type(b) for b in there} == {np.int32 if dtype is np.float32 else np.int64}
    np.testing.assert_array_equal([bits.float_of(b) for b in there], x)
    assert bits.bits_of(np.float32(1)) == 0x3F800000 and bits.bits_of(np.float64(1)) == 0x3FF0000000000000


@every_type
def test_powers_of_two(dtype):
    limits = np.finfo(dtype)
    n = np.arange(limits.minexp, limits.maxexp, dtype=dtype)
    expected = np.ldexp(dtype(1), n.astype(int))        # np.exp2(127) is an ulp off in float32
    np.testing.assert_array_equal(run(bits.power_of_two, n), expected)
    np.testing.assert_array_equal([bits.power_of_two(v) for v in n], expected)
    assert bits.power_of_two(dtype(limits.minexp - 1)) == 0


@scalar
def by_two(n):
    a, b = bits.two_powers(n + bits.pick(n, *bits.ROUNDER))
    return a * b


@scalar
def by_one_step(n):
    return bits.scaled(type(n)(1), n + bits.pick(n, *bits.ROUNDER))


@scalar
def down(n):
    return bits.scaled_down(type(n)(1), n + bits.pick(n, *bits.ROUNDER))


@scalar
def dropped(n):
    return bits.dropped(type(n)(1), n + bits.pick(n, *bits.ROUNDER))


@every_type
@pytest.mark.parametrize("f, most", [(by_two, (127, 1023)), (by_one_step, (127, 1023)), (down, (31, 511)), (dropped, (31, 511))],
                         ids=["two_powers", "scaled", "scaled_down", "dropped"])
def test_two_powers(f, most, dtype):
    """Down to the subnormal numbers and 0: 2^n is rounded once."""
    n = np.arange(*((-222, most[0]) if dtype is np.float32 else (-1534, most[1])), dtype=dtype)
    expected = np.ldexp(dtype(1), n.astype(int))
    np.testing.assert_array_equal(run(f, n), expected)
    np.testing.assert_array_equal([f(v) for v in n], expected)


@scalar
def exponent(x):
    return bits.split_exponent(x)[0]


@scalar
def significand(x):
    return bits.split_exponent(x)[1]


@every_type
def test_split_exponent(dtype):
    x = points(dtype, strength(500, thorough=2000))
    x = x[x >= np.finfo(dtype).smallest_normal]
    k, m = run(exponent, x), run(significand, x)
    assert ((m >= dtype(np.sqrt(0.5))) & (m <= np.nextafter(dtype(np.sqrt(2)), dtype(2)))).all()
    assert all(Fraction(float(a)) * Fraction(2) ** int(b) == Fraction(float(c)) for a, b, c in zip(m, k, x))


def two_parts(f):
    def loop(a: Vector, b: Vector, hi: Vector, lo: Vector):
        for i in range(a.size):
            hi[i], lo[i] = f(a[i], b[i])

    return kernel(loop, name=f"test_{f.__name__}")


@every_type
@pytest.mark.parametrize("f, exact", [(bits.product, lambda a, b: a * b), (bits.split_product, lambda a, b: a * b),
                                      (bits.quotient, lambda a, b: a / b)], ids=["product", "split_product", "quotient"])
def test_results_in_two_parts(f, exact, dtype):
    """hi + lo is right to nearly twice the precision, compiled and in Python; hi alone to half an ulp."""
    rng, eps, n = np.random.default_rng(3), float(np.finfo(dtype).eps), strength(300, thorough=1000)
    a, b = (np.exp2(rng.uniform(-9, 9, (2, n))) * rng.choice([-1, 1], (2, n))).astype(dtype)
    hi, lo = np.empty_like(a), np.empty_like(a)
    two_parts(f)(a, b, hi, lo)
    in_python = [f(ai, bi) for ai, bi in zip(a[:200], b)]
    for ai, bi, h, low in [*zip(a, b, hi, lo), *((ai, bi, *parts) for ai, bi, parts in zip(a, b, in_python))]:
        true = exact(mp.mpf(float(ai)), mp.mpf(float(bi)))
        assert ulps(float(h), true, dtype) <= 0.51
        assert abs(mp.mpf(float(h)) + mp.mpf(float(low)) - true) <= 4 * eps**2 * abs(true)


@every_type
@pytest.mark.parametrize("f", [bits.product, bits.split_product, bits.quotient], ids=["product", "split_product", "quotient"])
def test_two_parts_of_what_is_huge(f, dtype):
    a = np.array([INF, -INF, np.finfo(dtype).max, NAN], dtype)
    hi, lo = np.empty_like(a), np.empty_like(a)
    two_parts(f)(a, np.full(4, 0.5 if f is bits.quotient else 2, dtype), hi, lo)
    np.testing.assert_array_equal(hi, [INF, -INF, INF, NAN])
    assert f is bits.product or not lo[:3].any()


@every_type
@pytest.mark.parametrize("n", [2, 3, 6, 11, 20, 25])
def test_polynomial(n, dtype):
    """Any number of coefficients, even or odd; in small whole numbers everything is exact."""
    coefficients = tuple(dtype(k % 3 - 1) for k in range(n))

    @scalar
    def p(x):
        return bits.polynomial(x, coefficients)

    x = np.array([-2, -1, 0, 1, 2], dtype)
    expected = [sum(int(c) * int(v) ** (n - 1 - k) for k, c in enumerate(coefficients)) for v in x]
    np.testing.assert_array_equal(run(p, x), expected)
    np.testing.assert_array_equal([bits.polynomial(v, coefficients) for v in x], expected)
