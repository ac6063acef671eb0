"""Softmax, log-softmax and the cross-entropy of logits: along the last axis, by one kernel each way."""
from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..autodiff.node import Array, value
from ..autodiff.op import Op
from ..checks import check_labels
from ..kernels import softmax as kernels
from ..kernels.door import launch, launch_typed
from .elementwise import mul, sub
from .shape import reshape, sum_


def _rows(x: Array) -> Array:
    """x (..., n) as a matrix (rows, n)."""
    return x.reshape(prod(x.shape[:-1]), x.shape[-1])


def _rowwise(kernel: Any) -> Any:
    """The forward of a kernel over rows."""

    def forward(x: Array) -> Array:
        if x.ndim == 0 or x.shape[-1] == 0:
            raise ValueError(f"{kernel.__name__}: got shape {x.shape}; expected at least one entry along the axis")
        out = np.empty(x.shape, x.dtype)
        launch(kernel, _rows(x), _rows(out))
        return out

    return forward


def _rowwise_fused(kernel: Any) -> Any:
    def fused(g: Array, y: Array, saved: Any, into: list[Array], add: int, x: Array) -> None:
        launch(kernel, _rows(g), _rows(y), _rows(into[0]))

    return fused


def _last_sum(x: Any) -> Any:
    return sum_(x, axis=-1, keepdims=True)


# Rules that are written in y keep it differentiable: y is the node itself when the walk is recorded.
softmax: Op = Op("softmax", _rowwise(kernels.softmax), fused=_rowwise_fused(kernels.softmax_pullback), pull=(
    lambda g, y, x: mul(y, sub(g, _last_sum(mul(g, y)))),))
log_softmax: Op = Op("log_softmax", _rowwise(kernels.log_softmax), fused=_rowwise_fused(kernels.log_softmax_pullback), pull=(
    lambda g, y, x: sub(g, mul(softmax(x), _last_sum(g))),))


def labels_of(labels: Any, logits: Array) -> Array:
    """Labels as int64, one for each row of `logits` (rows, classes)."""
    if logits.ndim != 2:
        raise ValueError(f"cross_entropy: the logits have shape {logits.shape}, expected (rows, classes)")
    if type(labels) is np.ndarray and labels.dtype == np.int64 and labels.shape == logits.shape[:1] and labels.size:
        found = labels          # whether they are in range, the kernel sees on its way
    else:
        found = check_labels(value(labels), logits.shape[0], logits.shape[1], "cross_entropy: labels")
    return found if found.flags.carray else found.copy()    # strided or read-only: another type to Numba, compiled anew


def _one_hot(labels: Array, like: Array) -> Array:
    out = np.zeros(like.shape, like.dtype)
    out[np.arange(labels.size), labels] = 1
    return out


def _cross_entropy(x: Array, labels: Array, *, reduction: str = "mean") -> tuple[Array, Array]:
    """The losses, and on the side the probabilities, from which the pullback is one subtraction."""
    probabilities = np.empty(x.shape, x.dtype)
    losses = np.empty(labels.shape if reduction == "none" else (), x.dtype)
    try:
        launch_typed(kernels.cross_entropy, x.dtype, x, labels, _scale(labels, reduction), probabilities, losses.ravel())
    except IndexError:
        check_labels(labels, x.shape[0], x.shape[1], "cross_entropy: labels")       # says which one, and where
        raise
    return losses, probabilities


def _scale(labels: Array, reduction: str) -> float:
    return 1.0 / labels.size if reduction == "mean" else 1.0


def _cross_entropy_fused(g: Array, y: Array, probabilities: Array, into: list[Array], add: int, x: Array,
                         labels: Array, *, reduction: str = "mean") -> None:
    launch_typed(kernels.cross_entropy_pullback, g.dtype, g.ravel(), probabilities, labels, _scale(labels, reduction), into[0])


def _cross_entropy_pull(g: Any, y: Any, x: Any, labels: Array, reduction: str = "mean") -> Any:
    weights = reshape(g, shape=(prod(g.shape), 1))
    return mul(mul(sub(softmax(x), _one_hot(labels, value(x))), weights), _scale(labels, reduction))


cross_entropy: Op = Op("cross_entropy", _cross_entropy, fused=_cross_entropy_fused, saves=True, pull=(_cross_entropy_pull, None))
