"""log and log1p: branch-free and without a division, so that LLVM vectorises the loops that call them.

Both write their argument as 2^k (1 + f), k whole, f from sqrt(1/2) - 1 to sqrt(2) - 1. `exponential` explains how errors are
given and what fused multiply-add may change.
"""
from __future__ import annotations

import numpy as np

from ..machine.policy import scalar
from .bits import SMALLEST_NORMAL, pick, polynomial, power_of_two, singles, split_exponent
from .exponential import LN2_HIGH, LN2_LOW, TINY

# (ln(1 + f) - f + f^2/2) / f^3 for f from sqrt(1/2) - 1 to sqrt(2) - 1, a thousandth wider: Remez exchange in 60
# digits, weighted so that the error is relative to ln(1 + f): 2^-30.3 and 2^-59.2 before rounding.
LOG_TAIL = (
    singles(0.067471884, -0.11679145, 0.11889735, -0.12405183, 0.14219321, -0.16668008, 0.20002128, -0.2500001,
            0.33333313),
    (-0.024278712728310416, 0.05699466832495102, -0.06277773917487887, 0.05416078375443733, -0.05325906589040753,
     0.05817552799816491, -0.06269907714140203, 0.06675190084507207, -0.07141993968387697, 0.07691710950667405,
     -0.0833334590223857, 0.09090933664951224, -0.10000000384003419, 0.1111111051218304, -0.1249999998193366,
     0.14285714293885496, -0.16666666666915422, 0.19999999999946008, -0.2499999999999892, 0.33333333333333454))

UP, UP_EXPONENT = (np.float32(2**24), 2.0**54), (np.float32(24), 54.0)     # lifts any subnormal into the normal range
SMALLEST_EXPONENT = np.float32(-126), -1022.0


@scalar
def log_sum(k, f, f_low):
    """k ln 2 + ln(1 + f + f_low), where f_low is as small as a rounding error of f."""
    T = type(f)
    high = k * pick(f, *LN2_HIGH)           # exact
    total = high + f                        # Fast2Sum (Dekker 1971): abs(high) > abs(f), or high is 0
    rest = (high - total) + f
    tail = f * f * f * polynomial(f, pick(f, *LOG_TAIL))
    return total + (rest + ((f_low + k * pick(f, *LN2_LOW)) - (T(0.5) * f * f - tail)))


@scalar
def log(x: float) -> float:
    """ln x = k ln 2 + ln(1 + f). log(0) is -infinity, the logarithm of a negative number is NaN.

    Error: 0.83 ulp (float32), 0.87 ulp (float64).
    """
    T = type(x)
    subnormal = x < pick(x, *SMALLEST_NORMAL)
    k, m = split_exponent(x * pick(x, *UP) if subnormal else x)
    y = log_sum(k - pick(x, *UP_EXPONENT) if subnormal else k, m - T(1), T(0))
    y = y if x < T(np.inf) else x                                   # infinity, NaN
    return y if x > T(0) else T(-np.inf) if x == T(0) else T(np.nan)


@scalar
def log1p_of_unit(x):
    """ln(1 + x) for x from 0 to 1: k is 0 or 1. A third of the work of `log1p`. Error: 1.1 ulp."""
    T = type(x)
    upper = x > T(0.41421356)
    return log_sum(T(1) if upper else T(0), T(0.5) * (x - T(1)) if upper else x, T(0))


@scalar
def log1p(x: float) -> float:
    """ln(1 + x), with its full relative accuracy around 0; log1p(-0.) is -0., log1p(-1) is -infinity, below -1 it is NaN.

    The rounding error of u = 1 + x is recovered and passed on: 1 + x = u + lost = 2^k (1 + f) + lost. For k = 0, f is x.
    Error: 1.13 ulp (float32), 1.15 ulp (float64).
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
