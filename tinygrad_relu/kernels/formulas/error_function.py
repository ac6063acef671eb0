"""erf, erfc and the tail of the normal distribution: branch-free, so that LLVM vectorises the loops that call them.

All are computed from one smooth function. With erfcx(x) = exp(x^2) erfc(x), which falls slowly from 1 to 1/(x sqrt(pi)),

    S(s) = (x + 7/8) erfcx(x),     s = (x - 7/2)/(x + 7/2),     x >= 0,

stays between 0.56 and 0.88 on the whole half line while s goes from -1 to 1. One polynomial gives it to the last bit with full
relative accuracy, so the far tails need no branch. (7/8 makes S flat at x = 0, where s has the largest error; 7/2 needs the
fewest coefficients.) Then

    erfc(x) = S exp(-x^2) / (x + 7/8),     Phi(-x) = S exp(-x^2/2) / (sqrt(2) x + 7/4), the same S at x/sqrt(2).

Three steps decide the last bits:

- exp(-x^2). An error d of the argument is a relative error d of the result, and x^2 reaches 745: rounding it would cost hundreds
  of ulps. So x^2 is carried in two parts (`gaussian`).
- The quotient is formed in two parts (`divide`), so that only its last rounding matters.
- The power of two is multiplied in at the very end (`scale`), so that subnormal results are rounded once.

Everything is computed in the type of x. The two-part sums are right with and without fused multiply-add, because every product
that they rely on is exact: its factors have half a significand each.

Errors are the worst seen, in ulp of the true value, subnormal results included: of all float32 numbers and, in brackets, of
200,000 float64 arguments.
"""
from __future__ import annotations

from fractions import Fraction
from math import frexp

import numpy as np

from ..machine.policy import scalar
from .bits import DROP, ROUNDER_LIFTED, as_power, cut, leading_half, pick, polynomial, product, singles
from .exponential import expm1_tail, reduce_by_ln2

# S(s) - 23/32. Remez exchange in 50 digits, error relative to S:
# float32: s in [-1, 0.507] (x to 10.7), 2^-29.0, and with the coefficients rounded 2^-27.2;
# float64: s in [-1, 0.778] (x to 28), 2^-57.0, rounded 2^-56.1.
S_CENTRE = 23 / 32
S_REST = (
    singles(0.0002426845, -0.00012305146, -0.0020376332, 0.007990604, -0.01803002, 0.026947597, -0.022136921,
            -0.011742037, 0.08214627, -0.17847899, -0.039340258),
    (1.1559705896898278e-09, 5.207976707007815e-09, -2.520690615823781e-09, -4.429165809060934e-08,
     -8.206933020470098e-09, 2.784163831786552e-07, 4.473906492814853e-08, -1.769467079368243e-06,
     5.970716621566425e-07, 1.1520259388499703e-05, -1.6387142126759286e-05, -6.250900822430766e-05,
     0.00024166058860037847, -4.292569809932125e-05, -0.0020072405702875997, 0.00795882599000367, -0.018045377562537233,
     0.02695279146885629, -0.02213437148924089, -0.011742399210068888, 0.08214613243398645, -0.17847898188109743,
     -0.03934025671108745))

# erf(x)/x - 1, a polynomial in x^2 for abs(x) <= 1/2. Remez exchange in 50 digits, error relative to erf(x)/x:
# float32: 2^-29.5, rounded 2^-28.4; float64: 2^-65.3, rounded 2^-55.7.
ERF_REST = (
    singles(0.0047179903, -0.026757184, 0.112828225, -0.37612608, 0.12837917),
    (-1.4618441321282917e-07, 1.6370955957084287e-06, -1.4922990295838226e-05, 0.00012055285871013896,
     -0.0008548326505839159, 0.005223977621974562, -0.026866170644997654, 0.11283791670954864,
     -0.3761263890318375, 0.1283791670955126))


def two_parts(decimal):
    """(high, low) of a constant, each for float32 and float64; the high part has half a significand."""
    exact = Fraction(decimal)
    exponent = frexp(exact)[1]
    high = [Fraction(int(exact * 2**(bits - exponent)), 2**(bits - exponent)) for bits in (12, 26)]
    low = [exact - part for part in high]
    return (np.float32(float(high[0])), float(high[1])), (np.float32(float(low[0])), float(low[1]))


ROOT_2, ROOT_2_LOW = two_parts("1.41421356237309504880168872420969807856967187537694")
TWO_OVER_ROOT_PI = 1.1283791670955126

# Beyond these, exp(-x^2) and x exp(-x^2/2) are 0 in the type. abs(x) is clipped to them, to keep the exponents in range.
ERFC_FAR = np.float32(11), 28.0
PHI_FAR = np.float32(15), 40.0


@scalar
def exp_in_two(hi, lo):
    """e, n with exp(hi + lo) = (1 + e) 2^n: e from -0.3 to 0.42 and right to 2^-25.5 (2^-54.5), n whole, plus ROUNDER_LIFTED.

    As `exp_sum`, before the multiplication by 2^n. Here lo may be larger, because hi and lo are first renormalised.
    """
    total = hi + lo
    n, r, low = reduce_by_ln2(total, lo - (total - hi), pick(hi, *ROUNDER_LIFTED))
    return r + expm1_tail(r, low), n


@scalar
def gaussian(a, factor):
    """e, n with exp(-a^2 factor) = (1 + e) 2^n; the factor is 1 or 1/2.

    a^2 is carried in two parts.
    """
    square, rest = product(a, a)
    return exp_in_two(-square * factor, -rest * factor)


@scalar
def scale(v, n):
    """v 2^n, n of `exp_in_two`, in two steps, because 2^n may be too small for the type; only the second step can round."""
    return v * as_power(n) * pick(v, *DROP)


@scalar
def smooth_part(s):
    """S(s) in two parts: the rounded sum and its rounding error."""
    T = type(s)
    centre = T(S_CENTRE)
    rest = polynomial(s, pick(s, *S_REST))
    total = centre + rest
    return total, rest - (total - centre)


@scalar
def divide(s, s_low, a, c, c_low, offset):
    """q, q_low with q + q_low = (s + s_low) / ((c + c_low) a + offset), good to 2^-33 (2^-70) if s + s_low is.

    The denominator is head + d_low. q and `head` have half a significand each, so q * head is exact, and so is s - q * head,
    where the two nearly cancel: q_low is the remainder of the division. c has half a significand, the offset a few bits.
    """
    top = leading_half(a)
    d = (c + c_low) * a + offset
    head = leading_half(d)
    d_low = (c * top - (head - offset)) + (c * (a - top) + c_low * a)
    inverse = type(s)(1) / d
    q = leading_half(s * inverse)
    return q, ((s - q * head) + (s_low - q * d_low)) * inverse


@scalar
def upper_tail(x):
    """erfc(abs(x))."""
    T = type(x)
    a = cut(abs(x), pick(x, *ERFC_FAR))
    e, n = gaussian(a, T(1))
    s, s_low = smooth_part((a - T(3.5)) / (a + T(3.5)))
    q, q_low = divide(s, s_low, a, T(1), T(0), T(0.875))
    return scale(q + (q * e + (q_low + q_low * e)), n)


@scalar
def erf(x: float) -> float:
    """The error function 2/sqrt(pi) int_0^x exp(-t^2) dt, from -1 to 1; keeps the sign of -0.

    Error: 1.05 ulp (0.88). Abramowitz & Stegun 7.1.1; the polynomial near 0 is the odd series 7.1.5 made minimax.
    """
    T = type(x)
    near = x + x * polynomial(x * x, pick(x, *ERF_REST))
    beyond = T(1) - upper_tail(x)
    return near if abs(x) < T(0.5) else beyond if x > T(0) else -beyond


@scalar
def erfc(x: float) -> float:
    """1 - erf(x), from 2 to 0, with full relative accuracy down to the subnormal numbers (x = 10.06, 27.23).

    Error: 1.59 ulp (1.30). The idea of S: Shepherd & Laframboise 1981, Chebyshev approximation of (1 + 2x) exp(x^2) erfc x,
    Math. Comp. 36.
    """
    T = type(x)
    tail = upper_tail(x)
    return tail if x >= T(0) else T(2) - tail


@scalar
def erf_slope(x):
    """2/sqrt(pi) exp(-x^2). Error: 1.68 ulp (0.97)."""
    T = type(x)
    a = cut(abs(x), pick(x, *ERFC_FAR))
    e, n = gaussian(a, T(1))
    return scale(T(TWO_OVER_ROOT_PI) + T(TWO_OVER_ROOT_PI) * e, n)


@scalar
def normal_parts(x):
    """a, q, q_low, e, n: a = abs(x), cut where Phi(-a) is 0 in the type, and Phi(-a) = (q + q_low)(1 + e) 2^n."""
    T = type(x)
    a = cut(abs(x), pick(x, *PHI_FAR))
    e, n = gaussian(a, T(0.5))
    s, s_low = smooth_part((a - T(3.5 * 2**0.5)) / (a + T(3.5 * 2**0.5)))
    q, q_low = divide(s, s_low, a, pick(x, *ROOT_2), pick(x, *ROOT_2_LOW), T(1.75))
    return a, q, q_low, e, n
