"""Initial weights. An initialiser is a function ``(shape, rng, dtype)`` that returns a weight of shape (outputs, inputs).

One that draws the bias too returns the pair (weight, bias); otherwise biases start at 0. Fix further arguments of an initialiser
with `functools.partial`: ``Linear(3, 4, init=partial(nn.init.orthogonal, gain=2.0), rng=0)``. Numbers are drawn in the order of
``W.T``, (inputs, outputs), so that a seed gives the same weights as in code that computes ``x @ W``.

>>> w = nn.init.he((100, 400), np.random.default_rng(0), "float64")
>>> w.shape, round(w.std() / sqrt(2 / 400), 2)
((100, 400), np.float64(1.0))
"""
from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from numbers import Real
from typing import Any

import numpy as np
from numpy.random import Generator

from ..autodiff.node import Array
from ..checks import check_name, check_real

Initialiser = Callable[[tuple[int, ...], Generator, Any], Any]      # an array, or the pair (weight, bias)

# PyTorch's factors for the standard deviation, so that the signal keeps its size through a nonlinearity.
GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": sqrt(2), "leaky_relu": sqrt(2 / (1 + 0.01**2)), "selu": 3 / 4}


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Inputs and outputs of one unit: (n, m) for a weight of shape (m, n)."""
    return max(1, shape[-1]), max(1, shape[0])


def _normal(shape: tuple[int, ...], rng: Generator, dtype: Any, std: float) -> Array:
    return np.ascontiguousarray(rng.standard_normal(shape[::-1]).T * std, dtype)


def _uniform(shape: tuple[int, ...], rng: Generator, dtype: Any, bound: float) -> Array:
    return np.ascontiguousarray(rng.uniform(-bound, bound, shape[::-1]).T, dtype)


def he(shape: tuple[int, ...], rng: Generator, dtype: Any) -> Array:
    """N(0, 2/inputs), made for ReLU (He et al. 2015, arXiv 1502.01852; PyTorch's ``kaiming_normal_``)."""
    return _normal(shape, rng, dtype, sqrt(2 / _fans(shape)[0]))


def glorot(shape: tuple[int, ...], rng: Generator, dtype: Any) -> Array:
    """U(-a, a) with a = sqrt(6 / (inputs + outputs)), made for tanh (Glorot & Bengio 2010; ``xavier_uniform_``)."""
    return xavier_uniform(shape, rng, dtype)


def lecun(shape: tuple[int, ...], rng: Generator, dtype: Any) -> Array:
    """N(0, 1/inputs), made for SELU (LeCun et al. 1998, Efficient BackProp)."""
    return _normal(shape, rng, dtype, sqrt(1 / _fans(shape)[0]))


def pytorch(shape: tuple[int, ...], rng: Generator, dtype: Any, bias: bool = True) -> Any:
    """U(-a, a) with a = 1 / sqrt(inputs), for weights and biases: the default of PyTorch's Linear."""
    bound = 1 / sqrt(_fans(shape)[0])
    weight = _uniform(shape, rng, dtype, bound)
    return (weight, _uniform(shape[:1], rng, dtype, bound)) if bias else weight


def normal(shape: tuple[int, ...], rng: Generator, dtype: Any) -> Array:
    """N(0, 1) for any shape: gradients explode or vanish."""
    return _normal(shape, rng, dtype, 1.0)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor for the standard deviation of weights before a nonlinearity: "linear", "sigmoid", "tanh", "relu", "selu", or
    "leaky_relu", for which it is ``sqrt(2 / (1 + param^2))``, with the negative slope as `param` (0.01 by default).

    >>> nn.init.calculate_gain("leaky_relu", 1.0)
    1.0
    """
    gain = GAINS[check_name(nonlinearity, GAINS, "calculate_gain: nonlinearity")]
    if param is None or nonlinearity != "leaky_relu":
        return gain
    return sqrt(2 / (1 + check_real(param, "calculate_gain: param") ** 2))


def _kaiming_std(shape: tuple[int, ...], a: float, mode: str, nonlinearity: str) -> float:
    fan = _fans(shape)[("fan_in", "fan_out").index(check_name(mode, ("fan_in", "fan_out"), "kaiming: mode"))]
    return calculate_gain(nonlinearity, a) / sqrt(fan)


def kaiming_normal(shape: tuple[int, ...], rng: Generator, dtype: Any, a: float = 0.0, mode: str = "fan_in",
                   nonlinearity: str = "leaky_relu") -> Array:
    """N(0, gain^2 / fan), with the gain of `calculate_gain` (He et al. 2015, arXiv 1502.01852); by default this is `he`.

    `a` is the negative slope of a leaky ReLU. The `mode` "fan_in" keeps the size of the values, "fan_out" that of the gradients.
    """
    return _normal(shape, rng, dtype, _kaiming_std(shape, a, mode, nonlinearity))


def kaiming_uniform(shape: tuple[int, ...], rng: Generator, dtype: Any, a: float = 0.0, mode: str = "fan_in",
                    nonlinearity: str = "leaky_relu") -> Array:
    """U(-b, b) with the variance of `kaiming_normal`, ``b = gain sqrt(3 / fan)``."""
    return _uniform(shape, rng, dtype, sqrt(3) * _kaiming_std(shape, a, mode, nonlinearity))


def xavier_normal(shape: tuple[int, ...], rng: Generator, dtype: Any, gain: float = 1.0) -> Array:
    """N(0, 2 gain^2 / (inputs + outputs)) (Glorot & Bengio 2010)."""
    return _normal(shape, rng, dtype, check_real(gain, "xavier_normal: gain") * sqrt(2 / sum(_fans(shape))))


def xavier_uniform(shape: tuple[int, ...], rng: Generator, dtype: Any, gain: float = 1.0) -> Array:
    """U(-b, b) with the variance of `xavier_normal`, ``b = gain sqrt(6 / (inputs + outputs))``. By default this is `glorot`."""
    return _uniform(shape, rng, dtype, check_real(gain, "xavier_uniform: gain") * sqrt(6 / sum(_fans(shape))))


def orthogonal(shape: tuple[int, ...], rng: Generator, dtype: Any, gain: float = 1.0) -> Array:
    """`gain` times a random matrix with orthonormal rows, or columns if there are fewer (Saxe et al. 2014, arXiv 1312.6120).

    It is the Q of the QR decomposition of a normal matrix, with the signs of R's diagonal, which make it uniform among the
    orthogonal matrices (Mezzadri 2007, Notices of the AMS 54).

    >>> w = nn.init.orthogonal((2, 3), np.random.default_rng(0), "float64", gain=2.0)
    >>> bool(abs(w @ w.T - 4 * np.eye(2)).max() < 1e-12)
    True
    """
    outputs, inputs = shape
    draws = rng.standard_normal((inputs, outputs))
    q, r = np.linalg.qr(draws if inputs >= outputs else draws.T)
    q *= np.where(np.diag(r) < 0, -1.0, 1.0)
    return np.ascontiguousarray(check_real(gain, "orthogonal: gain") * (q.T if inputs >= outputs else q), dtype)


def rai(shape: tuple[int, ...], rng: Generator, dtype: Any) -> tuple[Array, Array]:
    """Randomized asymmetric: units that are rarely born dead (Lu, Shin, Su & Karniadakis 2019, arXiv 1903.06733).

    In each row of [W b], one entry at random is drawn from Beta(2, 1), which is positive, and the others from
    N(0, 0.6007^2 / inputs). A layer without a bias discards b.

    >>> weight, bias = nn.init.rai((2, 3), np.random.default_rng(0), "float64")
    >>> weight.shape, bias.shape
    ((2, 3), (2,))
    """
    outputs, inputs = shape
    both = rng.standard_normal((inputs + 1, outputs)).T * (0.6007 / sqrt(inputs))
    both[np.arange(outputs), rng.integers(inputs + 1, size=outputs)] = rng.beta(2, 1, outputs)
    return np.ascontiguousarray(both[:, :-1], dtype), np.ascontiguousarray(both[:, -1], dtype)


def constant(value: float) -> Initialiser:
    """Every entry the same.

    >>> nn.init.constant(0.5)((1, 2), np.random.default_rng(0), "float32")
    array([[0.5, 0.5]], dtype=float32)
    """
    return lambda shape, rng, dtype: np.full(shape, value, dtype)


INITIALISERS: dict[str, Initialiser] = {f.__name__: f for f in (
    he, glorot, lecun, pytorch, normal, kaiming_normal, kaiming_uniform, xavier_normal, xavier_uniform, orthogonal, rai)}


def start(init: str | float | Initialiser, outputs: int, inputs: int, rng: Generator, dtype: Any,
          bias: bool = True) -> tuple[Any, Any]:
    """The initial weight (outputs, inputs) and bias (outputs,) of a layer, by an initialiser, its name, or a constant."""
    if isinstance(init, Real):              # NumPy's numbers too
        init = constant(float(init))
    make = init if callable(init) else INITIALISERS[check_name(init, INITIALISERS, "init")]
    options = {"bias": False} if make is pytorch and not bias else {}
    drawn = make((outputs, inputs), rng, dtype, **options)
    weight, bias = drawn if isinstance(drawn, tuple) else (drawn, np.zeros(outputs, dtype))
    for name, got, expected in (("weight", np.shape(weight), (outputs, inputs)), ("bias", np.shape(bias), (outputs,))):
        if got != expected:
            raise ValueError(f"init gave a {name} of shape {got}; expected {expected}")
    return weight, bias
