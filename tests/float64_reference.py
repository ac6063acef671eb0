"""Every activation and its slope in float64, fast enough for all 2^32 float32 numbers: with NumPy and SciPy, none of our code.

A float64 number has 29 bits more than a float32 one, so a formula that loses two or three of them is still right to a
millionth of a float32 ulp, if nothing in it cancels: `tests/test_accuracy.py` compares each of these with mpmath.

Each takes float64 numbers (NaN excepted) and returns the value and the slope, and a third array where the slope is a sum
that crosses zero: its larger summand. Parameters have their defaults, as float32 rounds them. At a kink the slope is
PyTorch's.
"""
from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import special

Array = np.ndarray
FAR = 700.0         # here e^x and e^-x are infinite and zero for float32, and not yet for float64: no product is inf * 0


def single(parameter: float) -> float:
    """A parameter, as float32 rounds it."""
    return float(np.float32(parameter))


def near(x: Array) -> Array:
    return np.clip(x, -FAR, FAR)


def e(x: Array) -> Array:
    """e^x, cut off where float32 cannot tell: NumPy takes three times as long where the result leaves the range."""
    return np.exp(near(x))


def s(x: Array) -> Array:
    """sigmoid"""
    return 1 / (1 + e(-x))


def ln_1_plus_e(x: Array) -> Array:
    return np.maximum(x, 0) + np.log1p(e(-abs(x)))


# -- straight pieces ---------------------------------------------------------------------------------------------------

def leaky(a: float) -> Callable:
    a = single(a)
    return lambda x: (np.where(x > 0, x, a * x), np.where(x > 0, 1.0, a))


def relu(x):
    return np.maximum(x, 0), np.where(x > 0, 1.0, 0.0)


def step(x):
    return np.where(x >= 0, 1.0, 0.0), np.zeros_like(x)


def clip(low: float, high: float) -> Callable:
    return lambda x: (np.clip(x, low, high), np.where((x > low) & (x < high), 1.0, 0.0))


def hardsigmoid(x):
    return np.clip(x + 3, 0, 6) / 6, np.where(abs(x) < 3, 1 / 6, 0)


def hardswish(x):
    inner = np.clip(x, -3, 3)
    return np.maximum(x, -3) * ((inner + 3) / 6), np.where(x <= -3, 0, np.where(x >= 3, 1, (2 * inner + 3) / 6))


# -- exponentials ------------------------------------------------------------------------------------------------------

def elu(scale: float, left: float) -> Callable:
    scale, left = single(scale), single(left)
    return lambda x: (np.where(x > 0, scale * x, left * np.expm1(near(x))), np.where(x > 0, scale, left * e(x)))


def sigmoid(x):
    right = s(x)
    return right, right * s(-x)


def logsigmoid(x):
    return -ln_1_plus_e(-x), s(-x)


def tanh(x):
    return np.tanh(near(x)), 4 * s(2 * x) * s(-2 * x)


def softsign(x):
    d = 1 + abs(x)
    return np.clip(x, -1e300, 1e300) / np.minimum(d, 1e300), 1 / (d * d)


def softplus(x):
    return ln_1_plus_e(x), s(x)


def silu(x):
    right, x_near = s(x), near(x)
    second = x_near * right * s(-x_near)
    return np.maximum(x, -FAR) * right, right + second, np.maximum(right, abs(second))


def mish(x):
    t, x_near = np.tanh(ln_1_plus_e(x)), near(x)
    second = x_near * (1 - t * t) * s(x_near)
    return np.maximum(x, -FAR) * t, t + second, np.maximum(t, abs(second))


def exp(x):
    y = e(x)
    return y, y


def expm1(x):
    return np.expm1(near(x)), e(x)


def log(x):
    return np.log(x), 1 / x


def log1p(x):
    return np.log1p(x), 1 / (1 + x)


# -- the normal distribution -------------------------------------------------------------------------------------------

def gelu(x):
    cdf, x_near = special.erfc(x * -np.sqrt(0.5)) / 2, near(x)
    second = x_near * e(x_near * x_near * -0.5) / np.sqrt(2 * np.pi)
    return np.maximum(x, -FAR) * cdf, cdf + second, np.maximum(cdf, abs(second))


def gelu_tanh(x):
    a, b, x_near = 2 * np.sqrt(2 / np.pi), 0.044715, near(x)
    square = x_near * x_near
    v = a * x_near * (1 + b * square)
    right = s(v)
    second = x_near * right * s(-v) * (a * (1 + 3 * b * square))
    return np.maximum(x, -FAR) * right, right + second, np.maximum(right, abs(second))


def bell(x):
    return 2 / np.sqrt(np.pi) * e(-x * x)


SCALE, ALPHA = 1.0507009873554805, 1.6732632423543772
REFERENCE: dict[str, Callable] = {
    "relu": relu, "leaky_relu": leaky(0.01), "prelu": leaky(0.25), "rrelu": leaky((1 / 8 + 1 / 3) / 2), "step": step,
    "hardtanh": clip(-1, 1), "relu6": clip(0, 6), "hardsigmoid": hardsigmoid, "hardswish": hardswish,
    "elu": elu(1, 1), "selu": elu(SCALE, SCALE * ALPHA), "celu": elu(1, 1), "sigmoid": sigmoid, "logsigmoid": logsigmoid,
    "tanh": tanh, "softsign": softsign, "softplus": softplus, "silu": silu, "mish": mish,
    "exp": exp, "expm1": expm1, "log": log, "log1p": log1p, "gelu": gelu, "gelu_tanh": gelu_tanh,
    "erf": lambda x: (special.erf(x), bell(x)), "erfc": lambda x: (special.erfc(x), -bell(x)),
}
CROSSINGS = {"silu": -1.2784645, "mish": -1.1924312, "gelu": -0.7517915, "gelu_tanh": -0.7524614}   # zeros of the slope
