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
from ..machine.processor import features, has_fma

SAME_WIDTH = {np.float32: np.int32, np.float64: np.int64, np.int32: np.float32, np.int64: np.float64}
WIDTH = np.int32(23), np.int64(52)                  # bits of the significand; the exponent begins after them
LEADING_HALF = np.int32(-2**12), np.int64(-2**27)   # mask that clears the lower half of the significand
BUT_LAST = np.int32(-2), np.int64(-2)
HUGE = np.float32(2.0**60), 2.0**500
SMALLEST_NORMAL = np.float32(2.0**-126), 2.0**-1022

# Near ROUNDER the spacing of the floating-point numbers is 1, and a small number of either sign can be added to it. The lowest
# bits of ROUNDER + n, n whole, are n; those of ROUNDER_BIASED + n are the exponent field of 2^n. LIFT more: of 2^n / DROP.
ROUNDER = np.float32(1.5 * 2**23), 1.5 * 2.0**52
ROUNDER_BIASED = np.float32(1.5 * 2**23 + 127), 1.5 * 2.0**52 + 1023
LIFT = np.float32(127 + 96), 1023.0 + 512
DROP = np.float32(2.0**-96), 2.0**-512
TWICE_BIAS = np.int32(2 * 127), np.int64(2 * 1023)
EXPONENT = np.int32(-2**23), np.int64(-2**52)       # mask of the sign and the exponent
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
    odd, even = (_horner(square, coefficients[start::-2][::-1], multiply, add) for start in (-2, -1))
    return add(multiply(odd, x), even)


def _horner(x, coefficients, multiply, add):
    """The steps of `horner`."""
    return reduce(lambda total, c: add(multiply(total, x), c), coefficients)


def polynomial(x, coefficients):
    """The sum of a_k x^k; `coefficients` is a tuple of two or more numbers of x's type, the highest power first.

    Even and odd powers are summed separately, each by Horner's rule in x^2: two short chains of dependent steps instead of a long
    one. The kernel gets straight-line code, because LLVM does not unroll loops over more than some twenty entries, and does not
    vectorise a loop that contains a loop.
    """
    return _even_odd(x, coefficients, mul, add)


def horner(x, coefficients):
    """As `polynomial`, by Horner's rule: one operation less, and where x is small, only the last sum rounds noticeably."""
    return _horner(x, coefficients, mul, add)


def _straight(x, coefficients, steps):
    """What an intrinsic returns: signature and code."""
    from numba.core import cgutils

    def codegen(context, builder, signature, arguments):
        x, coefficients = arguments
        return steps(x, cgutils.unpack_tuple(builder, coefficients), builder.fmul, builder.fadd)

    return x(x, coefficients), codegen


@intrinsic
def _polynomial(typing_context, x, coefficients):
    return _straight(x, coefficients, _even_odd)


@overload(polynomial)
def _polynomial_of(x, coefficients):
    if coefficients.dtype == x:
        return lambda x, coefficients: _polynomial(x, coefficients)


@intrinsic
def _horner_rule(typing_context, x, coefficients):
    return _straight(x, coefficients, _horner)


@overload(horner)
def _horner_of(x, coefficients):
    if coefficients.dtype == x:
        return lambda x, coefficients: _horner_rule(x, coefficients)


@scalar
def cut(a, far):
    """min(a, far); NaN if a is."""
    return far if a > far else a


@scalar
def as_power(t):
    """2^n for t = n + ROUNDER_BIASED, n from -126 to 127 (-1022 to 1023), and 0 for -127 (-1023).

    A shift moves the lowest bits of t into the exponent field, and all others out.
    """
    bits = bits_of(t)       # Numba computes int32 with int32 in int64: cast back
    return float_of(type(bits)(bits << pick(t, *WIDTH)))


@scalar
def power_of_two(n):
    """2^n for a whole number n (a float), as `as_power`."""
    return as_power(n + pick(n, *ROUNDER_BIASED))


@scalar
def two_powers(t):
    """Two powers of two, both normal, with the product 2^n, for t = n + ROUNDER; n up to twice as large as in `as_power`.

    n + 2 BIAS is split into two halves, the exponent fields.
    """
    bits, width = bits_of(t), pick(t, *WIDTH)
    I = type(bits)  # noqa: E741
    twice = I(bits + pick(t, *TWICE_BIAS))
    half = I(twice >> 1)
    return float_of(I(half << width)), float_of(I(I(twice - half) << width))


@scalar
def split_scaling(p, t):
    """`scaled` by two factors: the product with the first is exact."""
    s1, s2 = two_powers(t)
    return p * s1 * s2


def scaled(p, t):
    """p 2^n, rounded once, for t = n + ROUNDER and p from 1/2 to 2; n as in `two_powers`.

    With AVX-512 it is one instruction, to which LLVM translates its ldexp: 2 instructions instead of 7, and exp in 0.85 of the
    time. Elsewhere LLVM would call a function for each number.
    """
    return split_scaling(p, t)


@intrinsic
def _ldexp(typing_context, p, n):
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils

    def codegen(context, builder, signature, arguments):
        kinds = [value.type for value in arguments]
        ldexp = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kinds[0], kinds), f"llvm.ldexp.f{p.bitwidth}.i32")
        return builder.call(ldexp, arguments)

    return p(p, types.int32), codegen


@overload(scaled)
def _scaled_of(p, t):
    if "+avx512f" in features():
        return lambda p, t: _ldexp(p, np.int32(bits_of(t) - bits_of(pick(t, *ROUNDER))))
    return lambda p, t: split_scaling(p, t)


@scalar
def dropped(p, t):
    """`scaled_down` by two factors: 2^n / DROP is normal, so only the last product rounds."""
    return p * as_power(t + pick(t, *LIFT)) * pick(t, *DROP)


def scaled_down(p, t):
    """p 2^n, rounded once, for t = n + ROUNDER and n from -222 to 31 (-1534 to 511)."""
    return dropped(p, t)


@overload(scaled_down)
def _scaled_down_of(p, t):
    return (lambda p, t: scaled(p, t)) if "+avx512f" in features() else (lambda p, t: dropped(p, t))


@scalar
def split_exponent(x):
    """k, m with x = 2^k m, and m from sqrt(1/2) to sqrt(2); x is positive and normal, k is a float.

    Adding (one - sqrt(1/2)), as bits, carries into the exponent field exactly when the significand exceeds sqrt(2).
    """
    bits = bits_of(x)
    I = type(bits)  # noqa: E741
    field = I(I(bits + pick(x, *ONE_BEYOND_ROOT_HALF)) & pick(x, *EXPONENT))
    k = float_of(I(I(field >> pick(x, *WIDTH)) + bits_of(pick(x, *ROUNDER)))) - pick(x, *ROUNDER_BIASED)
    return k, float_of(I(I(bits - field) + pick(x, *ONE_BITS)))


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
