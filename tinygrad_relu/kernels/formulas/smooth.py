"""Smooth relatives of ReLU (softplus, silu, mish), and the functions exp, expm1, log, log1p.

The activations use e = exp(-abs x), between 0 and 1, which cannot overflow; sums have positive terms only, except in mish and
where the slope itself crosses zero. In the tails e is subnormal and has lost digits; products with it are formed from its
parts (`decay_parts`): factors are multiplied into p, and the result is rounded once.

x is the input, y the output, g the incoming gradient, c the incoming curvature. docs/accuracy.md has the error of each.
"""
from __future__ import annotations

import math

import numpy as np

from ..machine.policy import scalar
from .bits import cut, leading_half, pick, product, scaled_down
from .exponential import TINY, decay, decay_parts, exp, expm1, log, log1p, log1p_of_unit
from .record import Elementwise
from .saturating import sigmoid_dxx, sigmoid_dxxx

FAR = np.float32(120), 770.0                    # beyond it x exp(-abs x) is 0 in the type; the cut avoids inf * 0


@scalar
def softplus_parts(x, beta):
    """u = beta x, and p, t with exp(-abs u) = ``scaled_down(p, t)``, corrected for the rounding error of u."""
    u, u_low = product(x, beta)
    p, t = decay_parts(-abs(u), u_low if u < type(x)(0) else -u_low)
    return u, p, t


def softplus(x: float, beta: float = 1.0, threshold: float = math.inf) -> float:
    """max(x, 0) + ln(1 + exp(-abs u))/beta, u = beta x."""
    T = type(x)
    u, p, t = softplus_parts(x, T(beta))
    e, inverse = scaled_down(p, t), T(1) / T(beta)
    far = scaled_down(p * inverse, t)
    rest = far if e < pick(x, *TINY) else log1p_of_unit(e) * inverse
    y = (x if x > T(0) else T(0)) + rest
    return x if u > T(threshold) else y


def softplus_dx(g, x, y, beta=1.0, threshold=math.inf):
    T = type(x)
    u, p, t = softplus_parts(x, T(beta))
    e = scaled_down(p, t)
    curved = g * ((e if u < T(0) else T(1)) / (T(1) + e))
    return g if u > T(threshold) else curved


def softplus_dxx(c, x, y, beta=1.0, threshold=math.inf):
    T = type(x)
    u, p, t = softplus_parts(x, T(beta))
    d = T(1) + scaled_down(p, t)
    curved = c * scaled_down(p * T(beta) / (d * d), t)
    return T(0) if u > T(threshold) else curved


def softplus_dxxx(c, x, y, beta=1.0, threshold=math.inf):
    """beta^2 sigmoid''(u)."""
    T = type(x)
    u = T(beta) * x
    return T(0) if u > T(threshold) else sigmoid_dxx(c * T(beta) * T(beta), u, y)


# The kink is where the threshold replaces the curve by x (for 20: a step of 2e-9 / beta).
SOFTPLUS = Elementwise("softplus", softplus, softplus_dx, softplus_dxx,
                       "ln(1 + e^(beta x)) / beta; x where beta x > threshold (never by default; PyTorch: 20)",
                       "Dugas, Bengio, Bélisle, Nadeau, Garcia 2001, NIPS 13", lambda beta=1.0, threshold=math.inf: ()
                       if threshold == math.inf else ((threshold / beta, 1.0 / (1.0 + math.exp(-threshold))),),
                       f_dxxx=softplus_dxxx,
                       expected=lambda beta=1.0, threshold=0.0: None if beta else "a beta other than 0")


def silu(x: float) -> float:
    T = type(x)
    p, t = decay_parts(-abs(x), T(0))
    y = (-cut(abs(x), pick(x, *FAR)) * p if x < T(0) else x) / (T(1) + scaled_down(p, t))
    return scaled_down(y, t) if x < T(0) else y


def silu_dx(g, x, y):
    """Left e (1 - a + e)/d^2, right (1 + e + a e)/d^2, with a = abs x and d = 1 + e.

    The rounding error of 1 - a + e is added back: without it the slope at -0.5355, just below 1/4, would be 4.1 ulp off.
    """
    T = type(x)
    a = cut(abs(x), pick(x, *FAR))
    p, t = decay_parts(-a, T(0))
    e = scaled_down(p, t)
    square = T(1) + e * (T(2) + e)
    top = (T(1) - a) + e
    top_low = e - (top - (T(1) - a))
    left, right = p * top + p * top_low, T(1) + e * (T(1) + a)
    slope = (left if x < T(0) else right) / square
    return g * (scaled_down(slope, t) if x < T(0) else slope)


def silu_dxx(c, x, y):
    """(e/d^2) (2 - a (1 - e)/d): an even function."""
    T = type(x)
    a = cut(abs(x), pick(x, *FAR))
    e = decay(-a)
    d = T(1) + e
    return c * (e * (T(2) * d - a * (T(1) - e)) / (d * d * d))


def silu_dxxx(c, x, y):
    """3 sigmoid''(x) + x sigmoid'''(x): an odd function."""
    a = cut(abs(x), pick(x, *FAR))
    right = sigmoid_dxx(type(x)(3), a, y) + sigmoid_dxxx(a, a, y)
    return c * (right if x > type(x)(0) else -right)


SILU = Elementwise("silu", silu, silu_dx, silu_dxx, "x sigmoid(x)", "Elfwing, Uchibe, Doya 2018, arXiv 1702.03118",
                   f_dxxx=silu_dxxx)


def mish(x: float) -> float:
    """x tanh(softplus x) = x w (1 + w/2) / (1 + w (1 + w/2)) with w = e^x; for x > 0 both are divided by w^2."""
    T = type(x)
    a = cut(abs(x), pick(x, *FAR))
    p, t = decay_parts(-a, T(0))
    e = scaled_down(p, t)
    half = T(0.5) * e
    left, right = -(a + a * half) * p, x * (T(1) + (e + e))
    rest = e + e * half if x < T(0) else T(2) * (e + e * e)
    y = (left if x < T(0) else right) / (T(1) + rest)
    return scaled_down(y, t) if x < T(0) else y


def mish_dx(g, x, y):
    """t + x (1 - t^2) s with t = tanh(softplus x), s = sigmoid x, in e; large terms come last in the sums.

    On the left it is e r/d^2 with d = 1 + e + e^2/2 and r = 1 - a + e q. Where the slope is just below 1/2 and 1/4 (at -0.18 and
    -0.55) an ulp is smallest, and the roundings of r and d^2 would add up to 5 of them. So both are carried in two parts;
    products of leading halves are exact.
    """
    T = type(x)
    a = cut(abs(x), pick(x, *FAR))
    p, t = decay_parts(-a, T(0))
    e = scaled_down(p, t)
    e_top = leading_half(e)
    e_rest = e - e_top
    b, q = T(1) - a, (T(1.5) - a) + e * (T(1) + T(0.25) * e)
    q_top = leading_half(q)
    main = e_top * q_top
    r = b + main
    r_low = (main - (r - b) if b < main else b - (r - main)) + (e_rest * q_top + e * (q - q_top))
    c, half = T(1) + e, T(0.5) * e_top * e_top
    d = c + half
    d_low = (e - (c - T(1))) + (half - (d - c)) + T(0.5) * e_rest * (e + e_top)
    d_top = leading_half(d)
    main, rest = d_top * d_top, (d - d_top) * (d + d_top) + (d + d) * d_low
    square = main + rest
    square_low = (main - square) + rest
    ratio = r / square
    left = scaled_down(p * ratio + p * ((r_low - ratio * square_low) / square), t)
    n = T(2) * (e + e * e)                      # t = (1 + 2e)/(1 + n)
    right = T(1) - T(2) * e * e * (T(1) + T(2) * (T(1) + e) * (e - a)) / (T(1) + n * (T(2) + n))
    return g * (left if x < T(0) else right)


def mish_dxx(c, x, y):
    """h (2 + x (1 - s - 2 t s)), with s = sigmoid x, t = tanh(softplus x), h = (1 - t^2) s = 4w (1 + w)/D^2."""
    T = type(x)
    a = cut(abs(x), pick(x, *FAR))
    e = decay(-a)
    d = T(1) + e
    low, top = e * (e + T(2)) + T(2), T(1) + (e + e)
    high = top + T(2) * e * e
    left = T(4) * e * d / (low * low) * (T(2) - a * (T(1) - T(2) * e * (low - T(2)) / low) / d)
    right = T(4) * e * e * d / (high * high) * (T(2) + a * (e - T(2) * top / high) / d)
    return c * (left if x < T(0) else right)


MISH = Elementwise("mish", mish, mish_dx, mish_dxx, "x tanh(softplus(x))", "Misra 2019, arXiv 1908.08681")


def exp_dx(g, x, y):
    return g * y


def expm1_dx(g, x, y):
    return g * exp(x)


def log_dxx(c, x, y):
    return -(c / x) / x                         # x^2 might overflow


def log_dxxx(c, x, y):
    return (c + c) / x / x / x


EXP = Elementwise("exp", exp, exp_dx, exp_dx, "e^x", "Cody, Waite 1980, Software Manual, ch. 6")
EXPM1 = Elementwise("expm1", expm1, expm1_dx, expm1_dx, "e^x - 1", "Tang 1992, ACM TOMS 18")
LOG = Elementwise("log", log, lambda g, x, y: g / x, log_dxx, "ln x", "Cody, Waite 1980, Software Manual, ch. 5", f_dxxx=log_dxxx)
LOG1P = Elementwise("log1p", log1p, lambda g, x, y: g / (type(x)(1) + x), lambda c, x, y: log_dxx(c, type(x)(1) + x, y),
                    "ln(1 + x)", "Tang 1990, ACM TOMS 16", f_dxxx=lambda c, x, y: log_dxxx(c, type(x)(1) + x, y))
