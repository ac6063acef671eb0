"""Dropout as a function."""
from __future__ import annotations

from numpy.random import Generator

from ..autodiff.node import Array
from ..checks import check_real
from ..ops import random
from ..tensor import Tensor
from .lift import Input, as_tensor


def dropout(x: Input, p: float = 0.5, training: bool = True, rng: int | Generator | None = None) -> Tensor:
    """Every element is 0 with probability p, and else ``x / (1 - p)``; x itself where `training` is False.

    Parameters
    ----------
    x : Tensor or array_like
    p : float
        From 0 to 1.
    training : bool
    rng : int or Generator
        Required in training (but for p = 0). The same seed drops the same elements, in float32 and float64, whatever
        the number of threads.

    Returns
    -------
    Tensor of the shape and dtype of `x`. An element that is dropped is exactly 0, NaN and infinity too, and so is its
    gradient. The pullback draws the same numbers once more: no mask is kept.

    Raises
    ------
    ValueError
        If p is no probability.
    TypeError
        If `rng` is missing in training.

    References
    ----------
    Srivastava et al. 2014, Journal of Machine Learning Research 15

    Examples
    --------
    >>> dropout([1.0, 2.0, 3.0, 4.0], p=0.5, rng=1)
    Tensor([0., 4., 6., 0.])
    """
    p, x = check_probability(p, "dropout: p"), as_tensor(x)
    return dropout_at(x, p, random.new_place(rng, "dropout in training")) if training and p else x


def dropout_at(x: Tensor, p: float, place: Array) -> Tensor:
    """Dropout by the random numbers of a place (see `ops.random`)."""
    return random.dropout(x, place, p=p)


def check_probability(p: float, name: str) -> float:
    """A number from 0 to 1."""
    if not 0 <= check_real(p, name) <= 1:
        raise ValueError(f"{name} is {p}, expected a probability, from 0 to 1")
    return float(p)
