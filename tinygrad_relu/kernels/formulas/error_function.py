"""erf, erfc and the tail of the normal distribution: branch-free, so that LLVM vectorises the loops that call them.

Both tails fall like exp(-x^2), down to the subnormal numbers. There a small relative error needs more than a polynomial:

- The exponential. An error d of its argument is a relative error d of the result, and x^2 reaches 745: rounding it would cost
  hundreds of ulps. So x^2 is carried in two parts (`gaussian`). The power of two is multiplied in at the very end, so that
  subnormal results are rounded once.
- The factor beside it. erfc(x) exp(x^2) and Phi(-x) exp(x^2/2) fall slowly, from 1 and 1/2 like 1/x. A quotient of polynomials
  follows them over the whole half line.

A division takes as long as 24 additions and multiplications, which can run beside it. So every function has at most one.

Everything is computed in the type of x. The two-part sums are right with and without fused multiply-add, because every product
that they rely on is exact: its factors have half a significand each. Minimax coefficients are from Remez exchange in 50 digits.

Errors are the worst seen, in ulp of the true value, subnormal results included: of all float32 numbers and, in brackets, of
some 100,000 float64 arguments, most of them where errors are largest.
"""
from __future__ import annotations

from fractions import Fraction
from math import frexp

import numpy as np

from ..machine.policy import scalar
from .bits import ROUNDER, cut, leading_half, pick, polynomial, product, scaled_down, singles
from .exponential import EXPM1_TAIL, reduce_by_ln2

# erf(x)/x - 1, a polynomial in x^2 for abs(x) <= 1; error relative to erf(x)/x: 2^-29.6 and 2^-62.7 before rounding.
ERF_REST = (
    singles(7.8505276e-05, -0.00080092787, 0.0051882346, -0.02685377, 0.11283584, -0.37612626, 0.12837917),
    (5.942534656422471e-11, -1.1364096579687535e-09, 1.4657485677052853e-08, -1.6349968511560234e-07,
     1.6460967659554394e-06, -1.4925593198285884e-05, 0.00012055331024638187, -0.0008548326978423318,
     0.0052239776247756465, -0.026866170645072397, 0.11283791670954856, -0.3761263890318375, 0.1283791670955126))

# The fourth root of erfc(x) in powers of x - ROOT_CENTRE, from 1 to ERF_FAR, where erf rounds to 1. It needs fewer coefficients
# than erfc, because it falls more slowly. Error of its fourth power: 2^-26.8 and 2^-58.8 before rounding.
ROOT_CENTRE, ERF_FAR = (np.float32(1.75), 2.25), (np.float32(3.93), 5.93)
ERFC_ROOT = (
    singles(-2.2326914e-05, -0.00013370597, 0.0010461913, 0.00015802906, -0.013348313, 0.019843662, 0.08917918, -0.33634666,
            0.33977696),
    (-2.581486385191677e-15, -1.2722237170103143e-15, 3.648611406415164e-13, -1.539275380579854e-12,
     -1.29668587662718e-11, 1.0261180542082241e-10, 1.7813386464625413e-10, -3.6962009811729784e-09,
     3.0301855167159914e-09, 9.723632781696927e-08, -2.935734590062196e-07, -1.7594357783765083e-06,
     1.0845242914192595e-05, 1.0634516882541565e-05, -0.0002253085889853315, 0.0003534568787248995,
     0.0023942197485488544, -0.009689485656177443, -0.004147346180048693, 0.1000062319377781, -0.23873116298877392,
     0.19556451106979592))

# S(s) - 23/32 of `erfc`. Remez exchange in 50 digits, error relative to S:
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

# `normal_tail`: the coefficients of n1 and m, and sqrt(2 pi), in float32 moved by 2 10^-6 of itself, because n and m have few
# terms. Relative error of n/d for a to 13 (38): 2^-25.8 and 2^-57.8 before rounding.
N_FIRST = 45 / 64               # n(0), and half of d(0): small a give n just below 1 and d below 2, where an ulp is smallest
N_SLOPE = (
    singles(0.0069314013, 0.06471808, 0.27994496, 0.64606464),
    (4.038075401034546e-07, 1.211167720864184e-05, 0.0001793758045844223, 0.0017027242867320934, 0.011379740607328737,
     0.055698208447167864, 0.20183585022231124, 0.5351652685625667, 0.9976501065723021, 1.1908950156408131))
M = (
    singles(0.017317215, 0.16351889, 0.6516793),
    (1.0121953974479387e-06, 3.0359472560258596e-05, 0.00044760407140801627, 0.004207377965652384, 0.027635642141932974,
     0.1313821679470895, 0.4532980464462791, 1.1026841427478664, 1.7413421893107344))
ROOT_2_PI = np.float32(2.5066335), 2.5066282746310007


def two_parts(decimal):
    """(high, low) of a constant, each for float32 and float64; the high part has half a significand."""
    exact = Fraction(decimal)
    exponent = frexp(exact)[1]
    high = [Fraction(int(exact * 2**(bits - exponent)), 2**(bits - exponent)) for bits in (12, 26)]
    low = [exact - part for part in high]
    return (np.float32(float(high[0])), float(high[1])), (np.float32(float(low[0])), float(low[1]))


TWO_OVER_ROOT_PI = 1.1283791670955126

# Beyond these, exp(-x^2) and x exp(-x^2/2) are 0 in the type. abs(x) is clipped to them, to keep the exponents in range.
ERFC_FAR = np.float32(11), 28.0
PHI_FAR = np.float32(15), 40.0


@scalar
def exp_in_two(hi, lo):
    """e, t with exp(hi + lo) = ``scaled_down(1 + e, t)``: e from -0.3 to 0.42 and right to 2^-25 (2^-54).

    As `exp_sum` for arguments below 0, before the multiplication. lo may be no larger than a rounding error of hi.
    """
    t, r, low = reduce_by_ln2(hi, lo, pick(hi, *ROUNDER))
    r = r - low
    return r + r * r * polynomial(r, pick(r, *EXPM1_TAIL)), t


@scalar
def gaussian(a, factor):
    """e, t with exp(-a^2 factor) = ``scaled_down(1 + e, t)``, as `exp_in_two`; the factor is 1 or 1/2."""
    square, rest = product(a, a)
    return exp_in_two(-square * factor, -rest * factor)


@scalar
def erf(x: float) -> float:
    """The error function 2/sqrt(pi) int_0^x exp(-t^2) dt, from -1 to 1; keeps the sign of -0.

    Up to 1 a polynomial, the odd series of Abramowitz & Stegun 7.1.5 made minimax; beyond it 1 - erfc(x), where erfc is below
    0.16 and its relative error hardly counts. Error: 1.61 ulp (1.6).
    """
    T = type(x)
    a = abs(x)
    near = a + a * polynomial(a * a, pick(x, *ERF_REST))
    root = polynomial(cut(a, pick(x, *ERF_FAR)) - pick(x, *ROOT_CENTRE), pick(x, *ERFC_ROOT))
    square = root * root
    return np.copysign(near if a < T(1) else T(1) - square * square, x)


@scalar
def erfc(x: float) -> float:
    """1 - erf(x), from 2 to 0, with full relative accuracy down to the subnormal numbers (x = 10.06, 27.23).

    With erfcx(x) = exp(x^2) erfc(x), which falls slowly from 1 to 1/(x sqrt(pi)),

        S(s) = (x + 7/8) erfcx(x),     s = (x - 7/2)/(x + 7/2),     x >= 0,

    stays between 0.56 and 0.88 on the whole half line while s goes from -1 to 1. One polynomial gives it to the last bit. (7/8
    makes S flat at x = 0, where s has the largest error; 7/2 needs the fewest coefficients.) S/(x + 7/8) is formed in two parts.

    Error: 1.80 ulp (1.7). The idea of S: Shepherd & Laframboise 1981, Chebyshev approximation of (1 + 2x) exp(x^2) erfc x,
    Math. Comp. 36.
    """
    T = type(x)
    a = cut(abs(x), pick(x, *ERFC_FAR))
    e, t = gaussian(a, T(1))
    middle, d = a + T(3.5), a + T(0.875)
    both = T(1) / (middle * d)
    rest = polynomial((a - T(3.5)) * (d * both), pick(x, *S_REST))
    s = T(S_CENTRE) + rest
    s_low = rest - (s - T(S_CENTRE))
    inverse = middle * both                     # about 1/d
    head = leading_half(d)                      # q and head have half a significand each: so q * head is exact,
    q = leading_half(s * inverse)               # and so is s - q * head, where the two nearly cancel
    q_low = ((s - q * head) + (s_low - q * (a - (head - T(0.875))))) * inverse
    tail = scaled_down(q + (q * e + (q_low + q_low * e)), t)
    return tail if x >= T(0) else T(2) - tail


@scalar
def erf_slope(x):
    """2/sqrt(pi) exp(-x^2). Error: 1.77 ulp (1.24)."""
    T = type(x)
    e, t = gaussian(cut(abs(x), pick(x, *ERFC_FAR)), T(1))
    return scaled_down(T(TWO_OVER_ROOT_PI) + T(TWO_OVER_ROOT_PI) * e, t)


@scalar
def normal_tail(a):
    """n, d, n1, d1 with n/d = Phi(-a) exp(a^2/2), n = n(0) + a n1, d = d(0) + a d1, for a >= 0.

    d = sqrt(2 pi) a n + d(0) + a m with a small m, as d/n approaches sqrt(2 pi) a. So d has nearly the relative error of n, and
    the two cancel in n/d.
    """
    T = type(a)
    n1 = polynomial(a, pick(a, *N_SLOPE))
    n = T(N_FIRST) + a * n1
    d1 = pick(a, *ROOT_2_PI) * n + polynomial(a, pick(a, *M))
    return n, T(2 * N_FIRST) + a * d1, n1, d1
