"""Softmax, log-softmax and the cross-entropy of logits: along the last axis, by one kernel each way. And logsumexp."""
from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..autodiff.node import Array, Op, value
from ..checks import check_labels
from ..kernels.loops import softmax as kernels
from ..kernels.machine.door import launch, launch_typed
from .elementary import exp, log
from .elementwise import add, mul, neg, sub, where
from .reduction import sum_
from .shape import Axis, kept_shape, normalised_axes, reshape


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


def _logsumexp(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    axes = normalised_axes("logsumexp", axis, x.shape)
    top = np.empty(kept_shape(x.shape, axes), x.dtype)
    launch(np.maximum.reduce, x, axes, None, top, True, -np.inf)
    launch(_finite_or_zero, top)            # infinity - infinity would be NaN
    y = add(log(sum_(exp(sub(x, top)), axis=axes, keepdims=True)), top)
    return y if keepdims else y.reshape([n for i, n in enumerate(x.shape) if i not in axes])


def _finite_or_zero(out: Array) -> None:
    np.copyto(out, 0, where=~np.isfinite(out))


def _logsumexp_pull(g: Any, y: Any, x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """g times the softmax of x."""
    kept = kept_shape(x.shape, normalised_axes("logsumexp", axis, x.shape))
    return mul(reshape(g, shape=kept), exp(sub(x, reshape(y, shape=kept))))


logsumexp: Op = Op("logsumexp", _logsumexp, pull=(_logsumexp_pull,))


_INT64 = np.dtype(np.int64)         # compared with a dtype, a dtype is twice as fast as with a type


def labels_of(labels: Any, logits: Array) -> Array:
    """Labels as int64, one for each row of `logits` (rows, classes)."""
    if type(labels) is np.ndarray and labels.dtype == _INT64 and labels.shape == logits.shape[:1] and labels.size:
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


cross_entropy: Op = Op("cross_entropy", _cross_entropy, fused=_cross_entropy_fused, saves=True,
                       pull=(_cross_entropy_pull, None), index="labels")


def _soft_cross_entropy(x: Array, targets: Array, *, scale: float, reduction: str) -> tuple[Array, Array]:
    probabilities = np.empty(x.shape, x.dtype)
    losses = np.empty(x.shape[:1] if reduction == "none" else (), x.dtype)
    launch(kernels.soft_cross_entropy, x, targets, scale, probabilities, losses.ravel())
    return losses, probabilities


def _soft_cross_entropy_fused(g: Array, y: Array, probabilities: Array, into: list[Array], add: int, x: Array,
                              targets: Array, *, scale: float, reduction: str) -> None:
    to_x, to_targets = into
    if to_x.size:
        launch(kernels.soft_cross_entropy_pullback, g.ravel(), probabilities, targets, scale, to_x)
    if to_targets.size:
        launch(kernels.soft_cross_entropy_to_targets, g.ravel(), x, scale, to_targets)


def _soft_cross_entropy_pull(g: Any, y: Any, x: Any, targets: Any, scale: float, reduction: str) -> Any:
    weights = reshape(mul(g, scale), shape=(prod(g.shape), 1))
    slopes = mul(sub(mul(softmax(x), _last_sum(targets)), targets), weights)
    return where((value(targets) != 0).any(axis=1, keepdims=True), slopes, 0.0)


def _soft_cross_entropy_pull_targets(g: Any, y: Any, x: Any, targets: Any, scale: float, reduction: str) -> Any:
    return mul(log_softmax(x), neg(reshape(mul(g, scale), shape=(prod(g.shape), 1))))


# What is asked of each class of a row, in place of one label: class probabilities; and labels, where classes have weights,
# or labels are smoothed or ignored.
soft_cross_entropy: Op = Op("soft_cross_entropy", _soft_cross_entropy, fused=_soft_cross_entropy_fused, saves=True, pull=(
    _soft_cross_entropy_pull, _soft_cross_entropy_pull_targets))
