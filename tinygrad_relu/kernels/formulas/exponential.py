"""exp, expm1, tanh, log and log1p: branch-free, so that LLVM vectorises the loops that call them.

The exponentials write x = n ln 2 + r with n whole and abs(r) <= ln(2)/2, and take a polynomial of r. The logarithms write their
argument as 2^k (1 + f), with k whole and f from sqrt(1/2) - 1 to sqrt(2) - 1, and need no division. All steps have the type of x:
there is no float64 inside the float32 functions.

The number of operations decides the speed: a vector of 512 bits takes half a cycle for each of them, and in a loop over vectors
hardly any waits for another one.

Kernels may fuse a multiply with an add (this depends on the machine). Sums in two parts are therefore built only from products
that are exact either way: n LN2_HIGH has few enough bits, and 2^n times anything is exact.

Errors are given in units in the last place of the true value (ulp), for float32 and in brackets for float64: the worst seen, with
fused multiply-add, subnormal arguments and results included. For float64 millions of arguments were tried against 80-bit
arithmetic, most of them near the worst ones of the first million. Without fused multiply-add exp is off by 1.15 ulp (1.23), log1p
in float64 by 1.4, and the others by at most 0.05 more.
"""
from __future__ import annotations

import numpy as np

from ..machine.policy import scalar
from .bits import (
    ROUNDER,
    ROUNDER_BIASED,
    SMALLEST_NORMAL,
    as_power,
    cut,
    horner,
    pick,
    polynomial,
    power_of_two,
    scaled,
    scaled_down,
    singles,
    split_exponent,
)

LOG2_E = np.float32(1.4426950408889634), 1.4426950408889634

# ln 2 in two parts (Cody and Waite 1980). The first part has 16 (32) bits, so its product with n, of 8 (11) bits, is exact.
LN2_HIGH = np.float32(45426 / 2**16), 2977044471 / 2**32
LN2_LOW = np.float32(1.4286068e-06), 1.9082149292705877e-10

# e^r for abs(r) <= 1.002 ln(2)/2: Remez exchange in 50 digits, 1 + r kept, error relative to e^r: 2^-28.2 and 2^-56.8.
EXP_NEAR = (
    singles(0.0013818938, 0.0083687045, 0.04166829, 0.16666521, 0.49999994, 1, 1),
    (2.511027050068687e-08, 2.7632942641482864e-07, 2.7557241750305074e-06, 2.4801486563471478e-05,
     0.00019841269887110348, 0.0013888888948496267, 0.008333333333322037, 0.041666666666519775, 0.16666666666666674,
     0.500000000000001, 1.0, 1.0))

# (e^r - 1 - r) / r^2 for abs(r) <= 1.002 ln(2)/2: Remez exchange in 60 digits, weighted so that the error is relative
# to e^r - 1: 2^-31.9 and 2^-61.7 before rounding.
EXPM1_TAIL = (
    singles(0.00019914455, 0.0013941168, 0.008333272, 0.04166635, 0.16666667, 0.5),
    (2.092463135615995e-09, 2.510923942752225e-08, 2.7557242156153045e-07, 2.755724367838992e-06,
     2.4801587361255535e-05, 0.00019841269886598334, 0.001388888888886649, 0.00833333333332147,
     0.0416666666666667, 0.16666666666666677, 0.5))

# (x - tanh x) / x^3 as a polynomial in x^2, x <= 0.6: the same method, error relative to tanh: 2^-28.4 and 2^-56.8.
TANH_TAIL = (
    singles(0.0058950935, -0.020796608, 0.053784274, -0.13331933, 0.333333),
    (1.7101951615399803e-05, -7.92114701553757e-05, 0.00023035566549679045, -0.0005871932384119223,
     0.0014552249892564506, -0.0035920409728771403, 0.008863227458790522, -0.021869488074959684,
     0.05396825395348868, -0.13333333333311326, 0.33333333333333237))

# Arguments are clipped here, where the result no longer changes, so that n stays in the range of `as_power`. The lower bounds
# leave room for the factor of `scaled_exp`, up to 128: such a product still underflows where it should.
EXP_LEAST, EXP_MOST = (np.float32(-120), -770.0), (np.float32(89), 710.0)
EXPM1_LEAST = np.float32(-20), -40.0
TANH_MOST = np.float32(10), 20.0

EXPM1_TOP = ROUNDER_BIASED[0] + np.float32(127), ROUNDER_BIASED[1] + 1023.0     # of the largest power of two
TINY = np.float32(2.0**-26), 2.0**-55               # below it expm1(x), log1p(x), tanh(x) round to x


@scalar
def clamp(x, least, most):
    """x, at least `least` and at most `most`; NaN compares false and goes through."""
    return cut(least if x < least else x, most)


@scalar
def reduce_by_ln2(x, lo, rounder):
    """t, r, low with x + lo = n ln 2 + (r - low): n whole, t = n + rounder; abs(r - low) <= ln(2)/2, low tiny, r exact.

    Numbers near the rounder are whole, so the addition rounds.
    """
    t = x * pick(x, *LOG2_E) + rounder
    n = t - rounder
    return t, x - n * pick(x, *LN2_HIGH), n * pick(x, *LN2_LOW) - lo


@scalar
def expm1_tail(r, low):
    """e^(r - low) - 1 - r for abs(r - low) <= ln(2)/2.

    The rounding of r - low matters only here, in the small part: r itself, which is exact, is added by the caller.
    """
    reduced = r - low
    return reduced * reduced * polynomial(reduced, pick(r, *EXPM1_TAIL)) - low


@scalar
def decay_parts(hi, lo):
    """p, t with exp(hi + lo) = ``scaled_down(p, t)``, for hi <= 0: p near 1. Above 0 it returns other numbers.

    The result underflows gradually, rounded once. Multiply other factors into p. Where hi is out of range, lo is ignored, because
    inf - inf would be NaN.
    """
    least = pick(hi, *EXP_LEAST)
    x = least if hi < least else hi
    t, r, low = reduce_by_ln2(x, lo if x == hi else type(hi)(0), pick(hi, *ROUNDER))
    return horner(r - low, pick(hi, *EXP_NEAR)), t


@scalar
def decay(x):
    """e^x for x <= 0, as `exp`."""
    return scaled_down(*decay_parts(x, type(x)(0)))


@scalar
def exp_sum(hi, lo):
    """exp(hi + lo) for abs(lo) much smaller than abs(hi), and below 1/100.

    An error d of the argument of exp is a relative error d of its result: rounding an argument of -80 costs 64 ulp. So the caller
    passes the rounding error of the argument as lo. Where hi is out of range, lo is ignored, as above. Error: 0.90 ulp (0.95).
    """
    x = clamp(hi, pick(hi, *EXP_LEAST), pick(hi, *EXP_MOST))
    t, r, low = reduce_by_ln2(x, lo if x == hi else type(hi)(0), pick(hi, *ROUNDER))
    return scaled(horner(r - low, pick(hi, *EXP_NEAR)), t)


@scalar
def scaled_exp(x, factor):
    """factor e^x, for x <= 0 and 2^-20 < abs(factor) < 128: accurate even where e^x alone would be subnormal and have lost
    digits."""
    p, t = decay_parts(x, type(x)(0))
    return scaled_down(p * factor, t)


@scalar
def exp(x: float) -> float:
    """e^x = 2^n e^r. Infinity above 88.72 (709.78), 0 below -103.97 (-745.13). Error: 0.90 ulp (0.95)."""
    return exp_sum(x, type(x)(0))


@scalar
def expm1(x: float) -> float:
    """e^x - 1 = (2^n - 1) + 2^n (e^r - 1), with its full relative accuracy around 0; expm1(-0.) is -0.

    2^n - 1 and 2^n r are added in two parts; the rest is small. Error: 1.08 ulp (1.33).
    """
    T, top = type(x), pick(x, *EXPM1_TOP)
    t, r, low = reduce_by_ln2(clamp(x, pick(x, *EXPM1_LEAST), pick(x, *EXP_MOST)), T(0), pick(x, *ROUNDER_BIASED))
    above = t > top                         # 2^128 overflows in float32, e^88.7 does not: so one doubling is left to the end
    s = as_power(cut(t, top))
    head = s - T(1)
    total = head + s * r                    # Fast2Sum (Dekker 1971): abs(head) > abs(s r), or head is 0
    rest = (head - total) + s * r
    y = total + (rest + s * expm1_tail(r, low))
    y = y + y if above else y
    return x if abs(x) < pick(x, *TINY) else y


@scalar
def tanh_near(x):
    """tanh(x) for abs(x) < 0.6, by its polynomial."""
    square = x * x
    return x - x * square * horner(square, pick(x, *TANH_TAIL))


@scalar
def tanh(x: float) -> float:
    """(e^2x - 1) / (e^2x + 1); tanh(-0.) is -0., tanh(inf) is 1.

    Below 0.6 a polynomial, above it 1 - 2/(e^2x + 1), where the quotient is below 1/2. Error: 1.41 ulp (1.48).
    """
    T = type(x)
    a = cut(abs(x), pick(x, *TANH_MOST))
    t, r, low = reduce_by_ln2(a + a, T(0), pick(x, *ROUNDER_BIASED))
    far = T(1) - T(2) / (horner(r - low, pick(x, *EXP_NEAR)) * as_power(t) + T(1))
    return np.copysign(tanh_near(a) if a < T(0.6) else far, x)


# (ln(1 + f) - f) / f^2 for f from sqrt(1/2) - 1 to sqrt(2) - 1, a thousandth wider: Remez exchange in 60 digits, weighted so
# that the error is relative to ln(1 + f): 2^-27.8 and 2^-59.2 before rounding.
LOG_TAIL = (
    singles(-0.07623783, 0.12914051, -0.13247065, 0.14180633, -0.16608457, 0.20002013, -0.2500161, 0.33333325,
            -0.49999988),
    (-0.024278712728310416, 0.05699466832495102, -0.06277773917487887, 0.05416078375443733, -0.05325906589040753,
     0.05817552799816491, -0.06269907714140203, 0.06675190084507207, -0.07141993968387697, 0.07691710950667405,
     -0.0833334590223857, 0.09090933664951224, -0.10000000384003419, 0.1111111051218304, -0.1249999998193366,
     0.14285714293885496, -0.16666666666915422, 0.19999999999946008, -0.2499999999999892, 0.33333333333333454, -0.5))

UP, UP_EXPONENT = (np.float32(2**24), 2.0**54), (np.float32(24), 54.0)     # lifts any subnormal into the normal range
SMALLEST_EXPONENT = np.float32(-126), -1022.0


@scalar
def log_sum(k, f, f_low):
    """k ln 2 + ln(1 + f + f_low), where f_low is as small as a rounding error of f. (An f_low of -0. costs no operation.)"""
    small = f * f * polynomial(f, pick(f, *LOG_TAIL)) + (k * pick(f, *LN2_LOW) + f_low)
    return k * pick(f, *LN2_HIGH) + (f + small)         # the product is exact


@scalar
def log(x: float) -> float:
    """ln x = k ln 2 + ln(1 + f). log(0) is -infinity, the logarithm of a negative number is NaN. Error: 1.04 ulp (1.07)."""
    T = type(x)
    subnormal = x < pick(x, *SMALLEST_NORMAL)
    k, m = split_exponent(x * pick(x, *UP) if subnormal else x)
    y = log_sum(k - pick(x, *UP_EXPONENT) if subnormal else k, m - T(1), -T(0))
    y = y if x < T(np.inf) else x                                   # infinity, NaN
    return y if x > T(0) else T(-np.inf) if x == T(0) else T(np.nan)


@scalar
def log1p_of_unit(x):
    """ln(1 + x) for x from 0 to 1: k is 0 or 1. A third of the work of `log1p`. Error: 1.6 ulp, as x - 1 is rounded."""
    T = type(x)
    upper = x > T(0.41421356)
    return log_sum(T(1) if upper else T(0), T(0.5) * (x - T(1)) if upper else x, -T(0))


@scalar
def log1p(x: float) -> float:
    """ln(1 + x), with its full relative accuracy around 0; log1p(-0.) is -0., log1p(-1) is -infinity, below -1 it is NaN.

    The rounding error of u = 1 + x is recovered and passed on: 1 + x = u + lost = 2^k (1 + f) + lost. For k = 0, f is x.
    Error: 1.22 ulp (1.24).
    """
    T = type(x)
    one = T(1)
    u = one + x
    lost = one - (u - x) if x > one else x - (u - one)              # exact: Fast2Sum, the larger summand first
    k, m = split_exponent(u)
    middle = k == T(0)
    f = x if middle else m - one
    least = pick(x, *SMALLEST_EXPONENT)
    f_low = lost * power_of_two(-k if -k > least else least)
    y = log_sum(k, f, T(0) if middle else f_low * (one - f))        # 1/(1 + f) is about 1 - f
    y = y if x < T(np.inf) else x                                   # infinity, NaN
    y = y if x > -one else T(-np.inf) if x == -one else T(np.nan)
    return x if abs(x) < pick(x, *TINY) else y
