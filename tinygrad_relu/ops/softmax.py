"""Softmax, log-softmax, and logsumexp; and the cross-entropy of logits. Along the last axis, by one kernel each way."""
from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..autodiff.node import Array, Op, value
from ..checks import check_labels
from ..kernels.loops import softmax as kernels
from ..kernels.machine.door import launch
from .axes import Axis, T, kept_shape, left_shape, normalised_axes
from .elementary import EXP, LOG
from .elementwise import add, mul, neg, sub, where
from .shape import RESHAPE, TRANSPOSE, reshape
from .sums import SUM


def _rows(x: Array) -> Array:
    """x (..., n) as a matrix (rows, n)."""
    return x.reshape(prod(x.shape[:-1]), x.shape[-1])


def _rowwise(kernel: Any) -> Any:
    """The forward of a kernel over rows."""

    def forward(x: Array) -> Array:
        if x.shape[-1] == 0:
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
    return SUM(x, axis=-1, keepdims=True)


# Rules that are written in y keep it differentiable: y is the node itself when the walk is recorded.
SOFTMAX: Op = Op("softmax", _rowwise(kernels.softmax), fused=_rowwise_fused(kernels.softmax_pullback), pull=(
    lambda g, y, x: mul(y, sub(g, _last_sum(mul(g, y)))),))
LOG_SOFTMAX: Op = Op("log_softmax", _rowwise(kernels.log_softmax), fused=_rowwise_fused(kernels.log_softmax_pullback), pull=(
    lambda g, y, x: sub(g, mul(SOFTMAX(x), _last_sum(g))),))


def softmax(x: T, axis: int = -1) -> T:
    """``exp(x_i) / sum_k exp(x_k)`` along `axis`, without overflow.

    A number is its own axis, as in PyTorch: the result is 1.

    >>> F.softmax([0.0, 0.0])
    Tensor([0.5, 0.5])
    """
    return _along(SOFTMAX, x, axis)


def log_softmax(x: T, axis: int = -1) -> T:
    """``x_i - log sum_k exp(x_k)`` along `axis`, without overflow; small probabilities keep their digits.

    >>> F.log_softmax([0.0, 1000.0])
    Tensor([-1000.,     0.])
    """
    return _along(LOG_SOFTMAX, x, axis)


def _along(op: Op, x: T, axis: int) -> T:
    """Apply an operation on the last axis to another one."""
    shape = x.shape
    if shape and axis == -1:        # the usual case
        return op(x)
    if not shape:
        normalised_axes(op.name, axis, (1,))
        return RESHAPE(op(RESHAPE(x, shape=(1,))), shape=())
    axes = normalised_axes(op.name, axis, shape)
    if len(axes) != 1:
        raise ValueError(f"{op.name}: got axis {axis} for shape {shape}; expected one axis")
    last = len(shape) - 1
    if axes[0] == last:
        return op(x)
    swapped = list(range(last + 1))
    swapped[axes[0]], swapped[last] = last, axes[0]
    return TRANSPOSE(op(TRANSPOSE(x, axes=tuple(swapped))), axes=tuple(swapped))


def _logsumexp(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    axes = normalised_axes("logsumexp", axis, x.shape)
    top = np.empty(kept_shape(x.shape, axes), x.dtype)
    launch(np.maximum.reduce, x, axes, None, top, True, -np.inf)
    launch(_zero_where_infinite, top)           # infinity - infinity would be NaN
    y = add(LOG(SUM(EXP(sub(x, top)), axis=axes, keepdims=True)), top)
    return y if keepdims else y.reshape(left_shape(x.shape, axes))


def _zero_where_infinite(out: Array) -> None:
    np.copyto(out, 0, where=~np.isfinite(out))


def _logsumexp_pull(g: Any, y: Any, x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """g times the softmax of x."""
    kept = kept_shape(x.shape, normalised_axes("logsumexp", axis, x.shape))
    return mul(reshape(g, shape=kept), EXP(sub(x, reshape(y, shape=kept))))


LOGSUMEXP: Op = Op("logsumexp", _logsumexp, pull=(_logsumexp_pull,))


def logsumexp(x: T, axis: Axis = None, keepdims: bool = False) -> T:
    """``log sum_k exp(x_k)`` over `axis` (None: all axes), without overflow; -infinity for no numbers.

    Its gradient is the softmax.

    >>> round(tg.logsumexp([1000.0, 1000.0]).item() - 1000.0, 6)
    0.693147
    """
    return LOGSUMEXP(x, axis=axis, keepdims=keepdims)


# -- cross-entropy -----------------------------------------------------------------------------------------------------

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
        launch(kernels.cross_entropy, x, labels, _scale(labels, reduction), probabilities, losses.ravel())
    except IndexError:
        check_labels(labels, x.shape[0], x.shape[1], "cross_entropy: labels")       # says which one, and where
        raise
    return losses, probabilities


def _scale(labels: Array, reduction: str) -> float:
    return 1.0 / labels.size if reduction == "mean" else 1.0


def _cross_entropy_fused(g: Array, y: Array, probabilities: Array, into: list[Array], add: int, x: Array,
                         labels: Array, *, reduction: str = "mean") -> None:
    launch(kernels.cross_entropy_pullback, g.ravel(), probabilities, labels, _scale(labels, reduction), into[0])


def _cross_entropy_pull(g: Any, y: Any, x: Any, labels: Array, reduction: str = "mean") -> Any:
    weights = reshape(g, shape=(prod(g.shape), 1))
    return mul(mul(sub(SOFTMAX(x), _one_hot(labels, value(x))), weights), _scale(labels, reduction))


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
    slopes = mul(sub(mul(SOFTMAX(x), _last_sum(targets)), targets), weights)
    return where((value(targets) != 0).any(axis=1, keepdims=True), slopes, 0.0)


def _soft_cross_entropy_pull_targets(g: Any, y: Any, x: Any, targets: Any, scale: float, reduction: str) -> Any:
    return mul(LOG_SOFTMAX(x), neg(reshape(mul(g, scale), shape=(prod(g.shape), 1))))


# What is asked of each class of a row, in place of one label: class probabilities; and labels, where classes have weights,
# or labels are smoothed or ignored.
soft_cross_entropy: Op = Op("soft_cross_entropy", _soft_cross_entropy, fused=_soft_cross_entropy_fused, saves=True, pull=(
    _soft_cross_entropy_pull, _soft_cross_entropy_pull_targets))
