"""The bits of a floating-point number, powers of two, polynomials: the exponential functions are built from these.

Everything here gives the same result in a kernel and in plain Python on a NumPy scalar. Where a function has an ``@overload``
below it, Python runs the ``def`` and a kernel compiles the overload.

Constants that differ between the two types are kept in pairs, float32 first; `pick` chooses one while compiling.
"""
from __future__ import annotations

from functools import reduce
from operator import add, mul

import numpy as np

from ..machine.policy import intrinsic, overload, scalar
from ..machine.processor import has_fma

SAME_WIDTH = {np.float32: np.int32, np.float64: np.int64, np.int32: np.float32, np.int64: np.float64}
WIDTH = np.int32(23), np.int64(52)                  # bits of the significand; the exponent begins after them
BIAS = np.float32(127), 1023.0                      # the exponent field of 2^n holds n + BIAS
LEADING_HALF = np.int32(-2**12), np.int64(-2**27)   # mask that clears the lower half of the significand
BUT_LAST = np.int32(-2), np.int64(-2)
HUGE = np.float32(2.0**60), 2.0**500
SMALLEST_NORMAL = np.float32(2.0**-126), 2.0**-1022

# From WHOLE to 2 WHOLE the spacing of the floating-point numbers is 1. ROUNDER lies half-way, so that a small number of either
# sign can be added to it; ROUNDER_BIASED includes the bias.
WHOLE = np.float32(2**23), 2.0**52
ROUNDER = np.float32(1.5 * 2**23), 1.5 * 2.0**52
ROUNDER_BIASED = np.float32(1.5 * 2**23 + 127), 1.5 * 2.0**52 + 1023
ROUNDER_TWICE_BIASED = np.float32(1.5 * 2**23 + 254), 1.5 * 2.0**52 + 2046
ROUNDER_LIFTED = np.float32(1.5 * 2**23 + 127 + 96), 1.5 * 2.0**52 + 1023 + 512      # of `scale`
DROP = np.float32(2.0**-96), 2.0**-512
ONE_BITS = np.int32(0x3F800000), np.int64(0x3FF0000000000000)
ONE_BEYOND_ROOT_HALF = np.int32(0x3F800000 - 0x3F3504F3), np.int64(0x3FF0000000000000 - 0x3FE6A09E667F3BCD)


def bits_of(x):
    """The int32 (int64) that has the bits of this float32 (float64). `float_of` is the reverse."""
    number = np.asarray(x)
    return number.view(SAME_WIDTH[number.dtype.type])[()]


@overload(bits_of)
def _bits_of(x):
    from numba.np.numpy_support import as_dtype

    own = as_dtype(x).type
    other = SAME_WIDTH[own]
    return lambda x: own(x).view(other)


float_of = bits_of


def pick(x, single, double):
    """`single` if x is a float32, `double` if it is a float64; decided while compiling, so it costs nothing.

    Used as ``pick(x, *PAIR)``. `single` must hold ``np.float32``: a bare Python float would lift float32 to float64.
    """
    return single if type(x) is np.float32 else double


@overload(pick)
def _pick(x, single, double):
    if x.bitwidth == 32:
        return lambda x, single, double: single
    if x.bitwidth == 64:
        return lambda x, single, double: double


def singles(*numbers):
    """A tuple of float32."""
    return tuple(np.float32(number) for number in numbers)


def _even_odd(x, coefficients, multiply, add):
    """The steps of `polynomial`, on Python's numbers or on the compiler's values."""
    square = multiply(x, x)
    odd, even = (reduce(lambda total, c: add(multiply(total, square), c), coefficients[start::-2][::-1]) for start in (-2, -1))
    return add(multiply(odd, x), even)


def polynomial(x, coefficients):
    """The sum of a_k x^k; `coefficients` is a tuple of two or more numbers of x's type, the highest power first.

    Even and odd powers are summed separately, each by Horner's rule in x^2: two short chains of dependent steps instead of a long
    one. The kernel gets straight-line code, because LLVM does not unroll loops over more than some twenty entries, and does not
    vectorise a loop that contains a loop.
    """
    return _even_odd(x, coefficients, mul, add)


@intrinsic
def _polynomial(typing_context, x, coefficients):
    from numba.core import cgutils

    def codegen(context, builder, signature, arguments):
        x, coefficients = arguments
        return _even_odd(x, cgutils.unpack_tuple(builder, coefficients), builder.fmul, builder.fadd)

    return x(x, coefficients), codegen


@overload(polynomial)
def _polynomial_of(x, coefficients):
    if coefficients.dtype == x:
        return lambda x, coefficients: _polynomial(x, coefficients)


@scalar
def cut(a, far):
    """min(a, far); NaN if a is."""
    return far if a > far else a


@scalar
def nearest_integer(x):
    """x rounded to a whole number (ties to even), as a float; for abs(x) < 2^22 (2^51).

    Numbers near ROUNDER are whole, so the addition rounds.
    """
    rounder = pick(x, *ROUNDER)
    return (x + rounder) - rounder


@scalar
def power_of_two(n):
    """2^n for a whole number n (a float) from -126 to 127 (-1022 to 1023), and 0 for -127 (-1023).

    The same addition puts n + BIAS into the lowest bits, and a shift moves it into the exponent field. (A conversion to int64 has
    no vector instruction before AVX-512.)
    """
    bits = bits_of(n + pick(n, *ROUNDER_BIASED))
    I = type(bits)      # Numba computes int32 with int32 in int64: cast back  # noqa: E741
    return float_of(I(bits << pick(n, *WIDTH)))


@scalar
def two_powers(n):
    """Two powers of two, both normal, with the product 2^n; n as in `power_of_two`, but up to twice as large.

    n + 2 BIAS is split into two halves, the exponent fields; the shift by the width removes all other bits.
    """
    bits, width = bits_of(n + pick(n, *ROUNDER_TWICE_BIASED)), pick(n, *WIDTH)
    I = type(bits)  # noqa: E741
    half = I(bits >> 1)
    return float_of(I(half << width)), float_of(I(I(bits - half) << width))


@scalar
def two_powers_down(n):
    """As `two_powers`, for n from -222 to 31 (-1534 to 511): the second one is a constant, which saves half of the work."""
    bits = bits_of(n + pick(n, *ROUNDER_LIFTED))
    return float_of(type(bits)(bits << pick(n, *WIDTH))), pick(n, *DROP)


@scalar
def split_exponent(x):
    """k, m with x = 2^k m, and m from sqrt(1/2) to sqrt(2); x is positive and normal, k is a float.

    Adding (one - sqrt(1/2)), as bits, carries into the exponent field exactly when the significand exceeds sqrt(2).
    """
    bits, width = bits_of(x), pick(x, *WIDTH)
    I = type(bits)  # noqa: E741
    biased = I(I(bits + pick(x, *ONE_BEYOND_ROOT_HALF)) >> width)
    m = float_of(I(bits - I(biased << width) + pick(x, *ONE_BITS)))
    k = float_of(I(bits_of(pick(x, *WHOLE)) + biased)) - (pick(x, *WHOLE) + pick(x, *BIAS))
    return k, m


@scalar
def leading_half(x):
    """x with the lower half of its significand cut off: the product of two such numbers is exact."""
    bits = bits_of(x)
    return float_of(type(bits)(bits & pick(x, *LEADING_HALF)))


@scalar
def settled(x):
    """x with the last bit cleared, which keeps the compiler from fusing the product x into a later sum."""
    bits = bits_of(x)
    return float_of(type(bits)(bits & pick(x, *BUT_LAST)))


@scalar
def split_product(a, b):
    """`product` by splitting a and b into halves (Dekker 1971); lo is 0 where a b is huge."""
    T = type(a)
    rough = settled(a * b)                  # else a fused multiply-add might subtract the exact product from itself below
    a_top, b_top = leading_half(a), leading_half(b)
    a_rest, b_rest = a - a_top, b - b_top
    error = (((a_top * b_top - rough) + a_top * b_rest) + a_rest * b_top) + a_rest * b_rest
    hi = rough + error
    huge = abs(rough) > pick(a, *HUGE)
    return rough if huge else hi, T(0) if huge else (rough - hi) + error


def product(a, b):
    """hi, lo with hi + lo = a b to twice the precision, hi = a b rounded. Where a b is infinite, lo may be anything.

    Kernels compute lo = fma(a, b, -hi) where a fused multiply-add is an instruction, in a tenth of the operations.
    """
    return split_product(a, b)


@intrinsic
def _product(typing_context, a, b):
    from numba import types

    def codegen(context, builder, signature, arguments):
        a, b = arguments
        hi = builder.fmul(a, b, flags=("nsz",))     # a flag of its own: else Numba would let LLVM fuse it with a later sum
        return context.make_tuple(builder, signature.return_type, (hi, builder.fma(a, b, builder.fneg(hi))))

    return types.UniTuple(a, 2)(a, b), codegen


@overload(product)
def _product_of(a, b):
    if a == b:
        return (lambda a, b: _product(a, b)) if has_fma() else (lambda a, b: split_product(a, b))


@scalar
def quotient(a, b):
    """hi, lo with hi + lo = a / b to nearly twice the precision; lo is 0 where a / b is huge."""
    T = type(a)
    inverse = T(1) / b
    rough = settled(a * inverse)
    back, back_low = product(rough, b)
    error = ((a - back) - back_low) * inverse
    hi = rough + error
    huge = abs(rough) > pick(a, *HUGE)
    return rough if huge else hi, T(0) if huge else (rough - hi) + error
