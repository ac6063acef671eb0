"""GELU in both forms, and erf and erfc as activations.

Both GELUs satisfy f(x) = x + f(-x), so f(x) = max(x, 0) - tail(abs(x)) and f'(x) = 1 - f'(-x). Only the left half is computed: a
smooth factor times an exponential that is multiplied in last. So the left tail keeps its relative accuracy down to the subnormal
numbers, and infinities give 0, inf and the slopes 0, 1, never inf * 0.
"""
from __future__ import annotations

import numpy as np

from ..machine.policy import scalar
from .bits import cut, leading_half, pick, scaled_down
from .error_function import ERFC_FAR, N_FIRST, PHI_FAR, erf, erf_slope, erfc, exp_in_two, gaussian, normal_tail, two_parts
from .record import Elementwise

# phi(0) = 1/sqrt(2 pi)
PHI_0, PHI_0_LOW = two_parts("0.39894228040143267793994605993438186847585863116493")

# The tanh form is x sigmoid(v), v = x (A + B x^2): A = 2 sqrt(2/pi), B = 0.044715 A.
A, A_LOW = two_parts("1.59576912160573071175978423973752747390343452465974")
B, B_LOW = two_parts("0.07135481627260024877633875227986354099559207477")
TANH_FAR = np.float32(12), 22.0     # from here on x exp(-v) is 0 in the type


@scalar
def bell(x):
    """a, e, t: a = abs(x), cut; exp(-a^2/2) = ``scaled_down(1 + e, t)``."""
    a = cut(abs(x), pick(x, *PHI_FAR))
    return a, *gaussian(a, type(x)(0.5))


def gelu(x: float) -> float:
    """x Phi(x); its least value is -0.169971, at x = -0.751792."""
    T = type(x)
    a, e, t = bell(x)
    n, d, n1, d1 = normal_tail(a)
    q = a * n / d
    return (T(-0.0) if x < T(0) else x) - scaled_down(q + q * e, t)


def gelu_dx(g, x, y):
    """Phi(x) + x phi(x), from -0.129 to 1.129.

    On the left it is (q - a phi(0)) exp(-a^2/2) with q = n/d. The difference vanishes at -0.7518; the errors of n, d and q are
    largest near 0, and there the remainder n - q d returns them, computed from parts that nearly cancel.
    """
    T = type(x)
    a, e, t = bell(x)
    n, d, n1, d1 = normal_tail(a)
    inverse = T(1) / d
    q = n * inverse
    remainder = (T(N_FIRST) - T(2 * N_FIRST) * q) + a * (n1 - q * d1)
    p = (q - pick(x, *PHI_0) * a) + (remainder * inverse - pick(x, *PHI_0_LOW) * a)
    tail = scaled_down(p + p * e, t)
    return g * (tail if x <= T(0) else T(1) - tail)


def gelu_dxx(c, x, y):
    """phi(x) (2 - x^2)."""
    T = type(x)
    a, e, t = bell(x)
    p = T(0.3989422804014327) * (T(2) - a * a)
    return c * scaled_down(p + p * e, t)


def gelu_dxxx(c, x, y):
    """phi(x) x (x^2 - 4)."""
    T = type(x)
    a, e, t = bell(x)
    p = T(0.3989422804014327) * a * (a * a - T(4))
    right = scaled_down(p + p * e, t)
    return c * (right if x > T(0) else -right)


@scalar
def tanh_form_parts(x):
    """a, p, p_low, e, t: a = abs(x), cut; p + p_low = a dv/da; exp(-v(a)) = ``scaled_down(1 + e, t)``.

    v reaches 745, and its absolute error is the relative error of the tail. So v is carried in two parts, like the square in
    `error_function.gaussian`. v = a w with w = A + B a^2; a^2, w and v are each a leading half (or a product of two) plus a rest.
    p = a (3 w - 2 A) is carried in two parts too, because 1 + exp(-v) - p vanishes at the minimum of the function.
    """
    a = cut(abs(x), pick(x, *TANH_FAR))
    c, c_low = pick(x, *A), pick(x, *A_LOW)
    b, b_low = pick(x, *B), pick(x, *B_LOW)
    top = leading_half(a)
    square = leading_half(a * a)
    square_low = (top * top - square) + (a - top) * (a + top)
    w = leading_half(c + b * square)
    w_low = ((c - w) + b * square) + (c_low + (b * square_low + b_low * (a * a)))
    v, v_low = top * w, (a - top) * w + a * w_low
    total = v + v_low
    e, t = exp_in_two(-total, (total - v) - v_low)
    T = type(x)
    slope = T(3) * w - T(2) * c
    slope_high = leading_half(slope)
    slope_low = (slope - slope_high) + (T(3) * w_low - T(2) * c_low)
    return a, top * slope_high, (a - top) * slope_high + a * slope_low, e, t


def gelu_tanh(x: float) -> float:
    """x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))/2; within 5e-4 of GELU."""
    T = type(x)
    a, p, p_low, e, t = tanh_form_parts(x)
    tail = scaled_down((a + a * e) / (T(1) + scaled_down(T(1) + e, t)), t)
    return (T(-0.0) if x < T(0) else x) - tail


def gelu_tanh_dx(g, x, y):
    """sigmoid(v) + x sigmoid(v) sigmoid(-v) dv/dx: with E = exp(-v(a)), E (1 + E - p)/(1 + E)^2 on the left."""
    T = type(x)
    a, p, p_low, e, t = tanh_form_parts(x)
    small = scaled_down(T(1) + e, t)
    d = T(1) + small
    d_low = small - (d - T(1))
    above = small + small + small * small
    square = T(1) + above                   # d^2
    square_low = above - (square - T(1))
    inverse = T(1) / square
    q = (d - p) * inverse
    q = q + (((d - p) - q * square) + ((d_low - p_low) - q * square_low)) * inverse
    tail = scaled_down(q + q * e, t)
    return g * (tail if x <= T(0) else T(1) - tail)


def gelu_tanh_dxx(c, x, y):
    """s (1 - s) (2 v' + a ((1 - 2 s) v'^2 + v'')) with s = sigmoid(v); an even function, computed at a = abs(x)."""
    T = type(x)
    a, p, p_low, e, t = tanh_form_parts(x)
    small = scaled_down(T(1) + e, t)
    d = T(1) + small
    v1 = T(1.5957691216057308) + T(3 * 0.07135481627260026) * (a * a)
    v2 = T(6 * 0.07135481627260026) * a
    return c * scaled_down((T(1) + e) / (d * d) * (v1 + v1 + a * (v2 - (T(1) - small) / d * (v1 * v1))), t)


def erf_dxx(c, x, y):
    """-2 x times the slope."""
    T = type(x)
    a = cut(abs(x), pick(x, *ERFC_FAR))      # so that an infinite x gives 0, not inf * 0
    slope = erf_slope(x)
    second = T(-2) * a * slope
    return c * (second if x > T(0) else -second)


def erf_dxxx(c, x, y):
    """(4 x^2 - 2) times the slope."""
    T = type(x)
    a = cut(abs(x), pick(x, *ERFC_FAR))
    return c * ((T(4) * (a * a) - T(2)) * erf_slope(x))


GELU = Elementwise(
    "gelu", gelu, gelu_dx, gelu_dxx, "x * Phi(x), Phi the distribution function of N(0, 1)",
    "Hendrycks & Gimpel 2016, Gaussian error linear units, arXiv 1606.08415", f_dxxx=gelu_dxxx)
GELU_TANH = Elementwise(
    "gelu_tanh", gelu_tanh, gelu_tanh_dx, gelu_tanh_dxx, "0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))",
    "Hendrycks & Gimpel 2016, Gaussian error linear units, arXiv 1606.08415")
ERF = Elementwise(
    "erf", erf, lambda g, x, y: g * erf_slope(x), erf_dxx, "2 / sqrt(pi) * integral of exp(-t^2) from 0 to x",
    "Abramowitz & Stegun 1964, Handbook of mathematical functions, 7.1.1", f_dxxx=erf_dxxx)
ERFC = Elementwise(
    "erfc", erfc, lambda g, x, y: g * -erf_slope(x), lambda c, x, y: -erf_dxx(c, x, y), "1 - erf(x)",
    "Abramowitz & Stegun 1964, Handbook of mathematical functions, 7.1.2", f_dxxx=lambda c, x, y: -erf_dxxx(c, x, y))
