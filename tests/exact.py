"""Every activation once, by the formula of its paper: one expression, which gives all tests their reference values.

The expression is applied to a `Jet`, a number that carries its first two derivatives along. In 150 bits (mpmath) it gives the
exact values in `exact`; on float64 arrays (NumPy) it gives the twins of the other tests in `on_arrays`. None of it is our code.
"""
from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import naive
import numpy as np
from reference import mp
from scipy import special

from tinygrad_relu.kernels.formulas import ACTIVATIONS

FAR = 1e60      # stands for infinity: it is infinite in float32, and its product with a number near 0 is not NaN


class Exact:
    """The functions of numbers of 150 bits."""

    pi = mp.pi
    log, log1p, sqrt, abs = map(staticmethod, (mp.log, mp.log1p, mp.sqrt, abs))

    def __init__(self, dtype: type) -> None:
        self.dtype = dtype

    def number(self, v: float) -> Any:
        """A parameter or constant, rounded to the floating-point type under test."""
        return mp.mpf(float(self.dtype(float(v))))

    def exp(self, x):
        return mp.exp(max(min(x, 20000), -20000))

    def expm1(self, x):
        return mp.expm1(max(min(x, 20000), -20000))

    def tanh(self, x):
        return mp.tanh(max(min(x, 20000), -20000))

    def erf(self, x):
        return mp.erf(max(min(x, 100), -100))

    def erfc(self, x):
        return mp.erfc(max(min(x, 100), -100))

    def where(self, condition, a, b):
        return a if condition else b


class Arrays:
    """The functions of float64 arrays: no exp of them is infinite."""

    pi, sqrt, abs, tanh, erf, erfc = np.pi, np.sqrt, np.abs, np.tanh, special.erf, special.erfc
    where = staticmethod(np.where)

    def __init__(self, dtype: type) -> None:
        self.dtype = dtype

    def number(self, v: float) -> float:
        return float(self.dtype(v))

    def exp(self, x):
        return np.exp(np.clip(x, -700, 700))

    def expm1(self, x):
        return np.expm1(np.clip(x, -700, 700))

    def log(self, x):
        return np.where(x < FAR, np.log(x), np.inf)

    def log1p(self, x):
        return np.where(x < FAR, np.log1p(x), np.inf)


class Jet:
    """A value with its slope and, if wanted, its second derivative (`curvature`).

    The error of a sum that crosses zero is measured against its terms: `larger` is the larger term of the slope, `terms` the sum
    of the absolute values of all terms of the curvature.
    """

    def __init__(self, of: Any, value: Any, slope: Any = 0, curvature: Any = None, larger: Any = None, terms: Any = None) -> None:
        self.of, self.value, self.slope, self.curvature = of, value, slope, curvature
        self.larger = of.abs(slope) if larger is None else larger
        self.terms = (None if curvature is None else of.abs(curvature)) if terms is None else terms

    def through(self, value: Any, slope: Any, curvature: Callable[[], Any], terms: Callable[[], Any] | None = None) -> Jet:
        """The chain rule, for a function that has these derivatives at this point."""
        of, inner = self.of, self
        if inner.curvature is None:
            return Jet(of, value, slope * inner.slope, None, of.abs(slope) * inner.larger)
        bend = curvature()
        size = of.abs(bend) if terms is None else terms()
        return Jet(of, value, slope * inner.slope, bend * inner.slope**2 + slope * inner.curvature,
                   of.abs(slope) * inner.larger, size * inner.larger**2 + of.abs(slope) * inner.terms)

    def __mul__(self, other: Any) -> Jet:
        a, b, of = self, other, self.of
        if not isinstance(b, Jet):
            return a.through(b * a.value, b, lambda: 0 * a.value)
        both = [of.abs(a.slope * b.value), of.abs(a.value * b.slope)]
        larger = of.where(both[0] > both[1], *both)
        value, slope = a.value * b.value, a.slope * b.value + a.value * b.slope
        if a.curvature is None:
            return Jet(of, value, slope, None, larger)
        return Jet(of, value, slope, a.curvature * b.value + 2 * a.slope * b.slope + a.value * b.curvature, larger,
                   a.terms * of.abs(b.value) + 2 * a.larger * b.larger + of.abs(a.value) * b.terms)

    def __add__(self, number: Any) -> Jet:
        return Jet(self.of, self.value + number, self.slope, self.curvature, self.larger, self.terms)

    __rmul__, __radd__ = __mul__, __add__

    def __neg__(self) -> Jet:
        return -1 * self

    def pick(self, condition: Any, a: Jet, b: Jet) -> Jet:
        """`a` where the condition holds, else `b`."""
        return Jet(self.of, *(None if mine is None else self.of.where(condition, mine, other) for mine, other in zip(
            (a.value, a.slope, a.curvature, a.larger, a.terms), (b.value, b.slope, b.curvature, b.larger, b.terms))))


# -- functions with their derivatives, written so that no difference cancels ---------------------------------------------

def exp(x: Jet) -> Jet:
    y = x.of.exp(x.value)
    return x.through(y, y, lambda: y)


def expm1(x: Jet) -> Jet:
    y = x.of.exp(x.value)
    return x.through(x.of.expm1(x.value), y, lambda: y)


def log(x: Jet) -> Jet:
    return x.through(x.of.log(x.value), 1 / x.value, lambda: -1 / x.value**2)


def log1p(x: Jet) -> Jet:
    return x.through(x.of.log1p(x.value), 1 / (1 + x.value), lambda: -1 / (1 + x.value) ** 2)


def logistic(of: Any, v: Any) -> Any:
    return 1 / (1 + of.exp(-v))


def sigmoid(x: Jet) -> Jet:
    y, other = logistic(x.of, x.value), logistic(x.of, -x.value)
    return x.through(y, y * other, lambda: y * other * (other - y), lambda: y * other)


def softplus(x: Jet) -> Jet:
    of, v = x.of, x.value
    y, other = logistic(of, v), logistic(of, -v)
    return x.through(of.where(v > 0, v, 0 * v) + of.log1p(of.exp(-of.abs(v))), y, lambda: y * other)


def tanh(x: Jet) -> Jet:
    y, slope = x.of.tanh(x.value), 4 * logistic(x.of, 2 * x.value) * logistic(x.of, -2 * x.value)
    return x.through(y, slope, lambda: -2 * y * slope)


def softsign(x: Jet) -> Jet:
    d = 1 + x.of.abs(x.value)
    return x.through(x.value / d, 1 / (d * d), lambda: -2 * x.of.where(x.value > 0, 1, -1) / d**3)


def erf(x: Jet) -> Jet:
    bell = 2 / x.of.sqrt(x.of.pi) * x.of.exp(-x.value * x.value)
    return x.through(x.of.erf(x.value), bell, lambda: -2 * x.value * bell)


def erfc(x: Jet) -> Jet:
    bell = -2 / x.of.sqrt(x.of.pi) * x.of.exp(-x.value * x.value)
    return x.through(x.of.erfc(x.value), bell, lambda: -2 * x.value * bell)


def normal_cdf(x: Jet) -> Jet:
    density = x.of.exp(-x.value * x.value / 2) / x.of.sqrt(2 * x.of.pi)
    return x.through(x.of.erfc(-x.value / x.of.sqrt(2)) / 2, density, lambda: -x.value * density)


# -- the activations ---------------------------------------------------------------------------------------------------

def leaky_relu(x: Jet, a: float = 0.01) -> Jet:
    return x.pick(x.value > 0, x, a * x)


def step(x: Jet, straight_through: float = 0.0) -> Jet:
    """Its slope is declared, not derived."""
    return x.through(x.of.where(x.value >= 0, 1, 0) + 0 * x.value, straight_through + 0 * x.value, lambda: 0 * x.value)


def clip(x: Jet, low: float, high: float) -> Jet:
    return x.pick(x.value <= low, 0 * x + low, x.pick(x.value >= high, 0 * x + high, x))


def hardswish(x: Jet) -> Jet:
    """x (x + 3)/6 between -3 and 3. The slope (2x + 3)/6 is exact around its zero, where its terms cancel."""
    middle = x.through(x.value * ((x.value + 3) / 6), (2 * x.value + 3) / 6, lambda: 1 / (3 + 0 * x.value))
    return x.pick(x.value <= -3, 0 * x, x.pick(x.value >= 3, x, middle))


def selu(x: Jet) -> Jet:
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    return x.pick(x.value > 0, x.of.number(scale) * x, x.of.number(scale * alpha) * expm1(x))


def gelu_tanh(x: Jet) -> Jet:
    """x (1 + tanh u)/2 is x sigmoid(2u)."""
    v = x.value
    a, b = 2 * x.of.sqrt(2 / x.of.pi), v.__class__("0.044715") if isinstance(x.of, Exact) else 0.044715
    return x * sigmoid(x.through(a * (v + b * v**3), a * (1 + 3 * b * v * v), lambda: 6 * a * b * v))


EXPRESSIONS: dict[str, Callable[..., Jet]] = {
    "relu": lambda x, at_zero=0.0: x.pick(x.value > 0, x, x.pick(x.value == 0, at_zero * x, 0 * x)),
    "leaky_relu": leaky_relu, "prelu": lambda x, a=0.25: leaky_relu(x, a),
    "rrelu": lambda x, lower=1 / 8, upper=1 / 3: leaky_relu(x, x.of.number((lower + upper) / 2)),
    "step": step, "hardtanh": lambda x, low=-1.0, high=1.0: clip(x, low, high), "relu6": lambda x: clip(x, 0, 6),
    "hardsigmoid": lambda x: x.pick(x.value <= -3, 0 * x, x.pick(x.value >= 3, 0 * x + 1, (x + 3) * (1 / (6 + 0 * x.value)))),
    "hardswish": hardswish,
    "elu": lambda x, a=1.0: x.pick(x.value > 0, x, a * expm1(x)),
    "celu": lambda x, a=1.0: x.pick(x.value > 0, x, a * expm1(x * (1 / a))),
    "selu": selu, "sigmoid": sigmoid, "logsigmoid": lambda x: -softplus(-x), "tanh": tanh, "softsign": softsign,
    "softplus": lambda x, beta=1.0, threshold=np.inf: x.pick(beta * x.value > threshold, x, softplus(beta * x) * (1 / beta)),
    "silu": lambda x: x * sigmoid(x), "mish": lambda x: x * tanh(softplus(x)),
    "gelu": lambda x: x * normal_cdf(x), "gelu_tanh": gelu_tanh,
    "exp": exp, "expm1": expm1, "log": log, "log1p": log1p, "erf": erf, "erfc": erfc, "normal_cdf": normal_cdf,
}
LOWEST = {"log": 0, "log1p": -1}        # defined above it
CROSSINGS = {"silu": -1.2784645, "mish": -1.1924312, "gelu": -0.7517915, "gelu_tanh": -0.7524614}   # zeros of the slope


def parameters(name: str, p: tuple[float, ...]) -> tuple[float, ...]:
    return p or tuple(q.default for q in list(inspect.signature(EXPRESSIONS[name]).parameters.values())[1:])


@lru_cache(1 << 14)
def exact(name: str, x: float, p: tuple[float, ...] = (), dtype: type = np.float64) -> Jet | None:
    """The exact value to 150 bits, for parameters rounded to `dtype`; None where the function is not defined."""
    if name in LOWEST and x <= LOWEST[name]:
        return None
    of = Exact(dtype)
    jet = Jet(of, mp.mpf(float(x)), mp.mpf(1), mp.mpf(0))
    return EXPRESSIONS[name](jet, *map(of.number, parameters(name, p)))


def on_arrays(name: str, x: np.ndarray, p: tuple[float, ...] = (), dtype: type = np.float64) -> Jet:
    """In float64: value, slope and the larger term of the slope, for parameters rounded to `dtype`."""
    of = Arrays(dtype)
    return EXPRESSIONS[name](Jet(of, np.clip(x, -FAR, FAR), np.ones(np.shape(x))), *map(of.number, parameters(name, p)))


def value(name: str) -> Callable[..., np.ndarray]:
    """The value by the expression; for a record without an expression, by the formula of the record in plain Python."""
    if name in EXPRESSIONS:
        return lambda x, *p: on_arrays(name, x, p).value
    return np.vectorize(lambda x, *p: ACTIVATIONS[name].f(np.float64(x), *p), otypes=[float])


def slope(name: str) -> Callable[..., np.ndarray]:
    if name in EXPRESSIONS:
        return lambda x, *p: on_arrays(name, x, p).slope
    f, f_dx = ACTIVATIONS[name].f, ACTIVATIONS[name].f_dx
    return np.vectorize(lambda x, *p: f_dx(np.float64(1), np.float64(x), f(np.float64(x), *p), *p), otypes=[float])


def twin(name: str) -> Callable[..., np.ndarray]:
    """The expression as a function of complex steps (see naive.py)."""
    return naive.dual(value(name), slope(name))
