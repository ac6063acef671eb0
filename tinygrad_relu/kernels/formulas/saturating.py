"""Activations with a plateau: elu, selu, celu, sigmoid, logsigmoid, tanh, softsign.

On a plateau the slope is tiny but not 0, so a unit there still learns. Therefore no slope is taken from the output: in float32
y (1 - y) of a sigmoid is 0 from x = 16.6 on, 1 - y^2 of tanh from 9.01 on, and y + alpha of an elu has no digits left near
-alpha. The formulas with exponentials use e = exp(-abs x), between 0 and 1, which cannot overflow; no first derivative is a
difference.

x is the input, y the output, g the incoming gradient, c the incoming curvature. docs/accuracy.md has the error of each.
"""
from __future__ import annotations

import numpy as np

from .bits import HUGE, cut, pick, quotient, scaled_down
from .exponential import decay, decay_parts, exp, exp_sum, expm1, log1p_of_unit, scaled_exp, tanh
from .record import Elementwise

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
SELU_SLOPE = SELU_SCALE * SELU_ALPHA


def elu(x: float, alpha: float = 1.0) -> float:
    T = type(x)
    left = T(alpha) * expm1(x)
    return x if x > T(0) else left


def elu_dx(g, x, y, alpha=1.0):
    T = type(x)
    left = g * scaled_exp(x, T(alpha))
    return g if x > T(0) else left


def elu_dxx(c, x, y, alpha=1.0):
    T = type(x)
    left = c * scaled_exp(x, T(alpha))
    return T(0) if x > T(0) else left


ELU = Elementwise("elu", elu, elu_dx, elu_dxx, "x if x > 0 else alpha (e^x - 1)",
                  "Clevert, Unterthiner, Hochreiter 2016, arXiv 1511.07289",
                  lambda alpha=1.0: () if alpha == 1.0 else ((0.0, alpha),), f_dxxx=elu_dxx)


def selu(x: float) -> float:
    T = type(x)
    left = T(SELU_SLOPE) * expm1(x)
    return T(SELU_SCALE) * x if x > T(0) else left


def selu_dx(g, x, y):
    T = type(x)
    left = g * scaled_exp(x, T(SELU_SLOPE))
    return g * T(SELU_SCALE) if x > T(0) else left


def selu_dxx(c, x, y):
    return elu_dxx(c, x, y, SELU_SLOPE)


SELU = Elementwise("selu", selu, selu_dx, selu_dxx, "1.0507 elu(x, alpha=1.6733)",
                   "Klambauer, Unterthiner, Mayr, Hochreiter 2017, arXiv 1706.02515", lambda: ((0.0, SELU_SLOPE),),
                   f_dxxx=selu_dxx)


def celu(x: float, alpha: float = 1.0) -> float:
    """No kink at any alpha: the slope at 0 is 1 on both sides."""
    T = type(x)
    left = T(alpha) * expm1(x / T(alpha))
    return x if x > T(0) else left


def celu_dx(g, x, y, alpha=1.0):
    T = type(x)
    left = g * exp_sum(*quotient(x, T(alpha)))          # in two parts: rounding x/alpha = 80 once would cost 40 ulps
    return g if x > T(0) else left


def celu_dxx(c, x, y, alpha=1.0):
    T = type(x)
    left = c * (exp(x / T(alpha)) / T(alpha))
    return T(0) if x > T(0) else left


CELU = Elementwise("celu", celu, celu_dx, celu_dxx, "x if x > 0 else alpha (e^(x/alpha) - 1)",
                   "Barron 2017, arXiv 1704.07483", expected=lambda alpha=1.0: None if alpha else "an alpha other than 0",
                   f_dxxx=lambda c, x, y, alpha=1.0: celu_dxx(c, x, y, alpha) / type(x)(alpha))


def sigmoid(x: float) -> float:
    T = type(x)
    e = decay(-abs(x))
    return (e if x < T(0) else T(1)) / (T(1) + e)


def sigmoid_dx(g, x, y):
    T = type(x)
    e = decay(-abs(x))
    return g * (e / (T(1) + e * (T(2) + e)))    # (1 + e)^2, rounded once


def sigmoid_dxx(c, x, y):
    T = type(x)
    e = decay(-abs(x))
    d = T(1) + e
    bend = e * (T(1) - e) / (d * d * d)
    return c * (bend if x < T(0) else -bend)


def sigmoid_dxxx(c, x, y):
    """s' (1 - 6 s'), with s' the slope."""
    T = type(x)
    slope = sigmoid_dx(T(1), x, y)
    return c * (slope * (T(1) - T(6) * slope))


SIGMOID = Elementwise("sigmoid", sigmoid, sigmoid_dx, sigmoid_dxx, "1 / (1 + e^-x)",
                      "Rumelhart, Hinton, Williams 1986, Nature 323", f_dxxx=sigmoid_dxxx)


def logsigmoid(x: float) -> float:
    """min(x, 0) - ln(1 + e)."""
    T = type(x)
    return (x if x < T(0) else T(0)) - log1p_of_unit(decay(-abs(x)))


def logsigmoid_dx(g, x, y):
    T = type(x)
    e = decay(-abs(x))
    return g * ((T(1) if x < T(0) else e) / (T(1) + e))


LOGSIGMOID = Elementwise("logsigmoid", logsigmoid, logsigmoid_dx, lambda c, x, y: -sigmoid_dx(c, x, y),
                         "ln sigmoid(x) = -softplus(-x)",
                         "the log-likelihood of logistic regression: Cox 1958, J. R. Stat. Soc. B 20",
                         f_dxxx=lambda c, x, y: -sigmoid_dxx(c, x, y))


def tanh_dx(g, x, y):
    """4q / (1 + q)^2 with q = exp(-2 abs x). In the tail 4q has more digits than q."""
    T = type(x)
    a = -abs(x)
    p, t = decay_parts(a + a, T(0))
    w = scaled_down(p, t + T(2))
    return g * (w / (T(1) + w * (T(0.5) + T(0.0625) * w)))


def tanh_dxx(c, x, y):
    return c * (-(y + y) * tanh_dx(type(x)(1), x, y))


def tanh_dxxx(c, x, y):
    """s (6 y^2 - 2), with s the slope."""
    T = type(x)
    slope = tanh_dx(T(1), x, y)
    return c * (slope * (T(6) * (y * y) - T(2)))


TANH = Elementwise("tanh", tanh, tanh_dx, tanh_dxx, "(e^x - e^-x) / (e^x + e^-x)",
                   "LeCun, Bottou, Orr, Müller 1998, Efficient BackProp", f_dxxx=tanh_dxxx)


def softsign(x: float) -> float:
    T = type(x)
    a = cut(abs(x), pick(x, *HUGE))             # inf/inf would be NaN
    return np.copysign(a / (T(1) + a), x)


def softsign_dx(g, x, y):
    r = type(x)(1) / (type(x)(1) + abs(x))
    return g * (r * r)


def softsign_dxx(c, x, y):
    T = type(x)
    r = T(1) / (T(1) + abs(x))
    bend = T(2) * r * r * r
    return c * (bend if x < T(0) else -bend)


def softsign_dxxx(c, x, y):
    T = type(x)
    r = T(1) / (T(1) + abs(x))
    return c * (T(6) * (r * r) * (r * r))


SOFTSIGN = Elementwise("softsign", softsign, softsign_dx, softsign_dxx, "x / (1 + |x|)",
                       "Bergstra, Desjardins, Lamblin, Bengio 2009, Univ. de Montréal TR 1337", f_dxxx=softsign_dxxx)
