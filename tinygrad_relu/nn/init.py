"""How weights start. An initialiser is a function ``(shape, rng, dtype) -> array`` of a weight of shape (outputs, inputs).

Numbers are drawn in the order of ``W.T``, (inputs, outputs): the same seed gives what it gives to those who write ``x @ W``.
The variances keep the scale of the signal through the layers: He 2/n for ReLU, LeCun 1/n, Glorot 2/(n + m).
"""
from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

import numpy as np
from numpy.random import Generator

from ..autodiff.node import Array
from ..checks import check_name

Initialiser = Callable[[tuple[int, ...], Generator, Any], Array]


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
    bound = sqrt(6 / sum(_fans(shape)))
    return _uniform(shape, rng, dtype, bound)


def lecun(shape: tuple[int, ...], rng: Generator, dtype: Any) -> Array:
    """N(0, 1/inputs), made for SELU (LeCun et al. 1998, Efficient BackProp)."""
    return _normal(shape, rng, dtype, sqrt(1 / _fans(shape)[0]))


def pytorch(shape: tuple[int, ...], rng: Generator, dtype: Any) -> Array:
    """U(-a, a) with a = 1 / sqrt(inputs): what PyTorch's Linear starts with, for weights and biases alike."""
    return _uniform(shape, rng, dtype, 1 / sqrt(_fans(shape)[0]))


def normal(shape: tuple[int, ...], rng: Generator, dtype: Any) -> Array:
    """N(0, 1), whatever the shape: the start at which gradients explode or vanish."""
    return _normal(shape, rng, dtype, 1.0)


def constant(value: float) -> Initialiser:
    """Every entry the same.

    >>> constant(0.5)((1, 2), np.random.default_rng(0), "float32")
    array([[0.5, 0.5]], dtype=float32)
    """
    return lambda shape, rng, dtype: np.full(shape, value, dtype)


INITIALISERS: dict[str, Initialiser] = {f.__name__: f for f in (he, glorot, lecun, pytorch, normal)}


def initialiser(init: str | float | Initialiser) -> Initialiser:
    """An initialiser from its name, a number (constant), or itself."""
    if callable(init):
        return init
    if isinstance(init, (int, float)):
        return constant(float(init))
    return INITIALISERS[check_name(init, INITIALISERS, "init")]
