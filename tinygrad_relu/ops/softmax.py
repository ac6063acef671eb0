"""Softmax and log-softmax, along the last axis by one kernel each way; and logsumexp."""
from __future__ import annotations

from typing import Any

import numpy as np

from ..autodiff.node import Array, Op
from ..kernels.loops import softmax as kernels
from ..kernels.machine.door import launch
from .elementary import EXP, LOG
from .elementwise import add, mul, sub
from .shape import Axis, T, kept_shape, left_shape, lines, normalised_axes, reshape, swapaxes
from .sums import SUM


def _rowwise(kernel: Any) -> Any:
    """The forward of a kernel over rows."""

    def forward(x: Array) -> Array:
        if x.shape[-1] == 0:
            raise ValueError(f"{kernel.__name__}: got shape {x.shape}; expected at least one entry along the axis")
        out = np.empty(x.shape, x.dtype)
        launch(kernel, lines(x), lines(out))
        return out

    return forward


def _rowwise_fused(kernel: Any) -> Any:
    def fused(g: Array, y: Array, saved: Any, into: list[Array], add: int, x: Array) -> None:
        launch(kernel, lines(g), lines(y), lines(into[0]))

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

    A 0-d tensor has one entry, as in PyTorch: the result is 1.

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
        return reshape(op(reshape(x, 1)), ())
    axes = normalised_axes(op.name, axis, shape)
    if len(axes) != 1:
        raise ValueError(f"{op.name}: got axis {axis} for shape {shape}; expected one axis")
    if axes[0] == len(shape) - 1:
        return op(x)
    return swapaxes(op(swapaxes(x, axes[0], -1)), axes[0], -1)


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
