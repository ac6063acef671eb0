"""Normalisation: softmax and logsumexp along axes, batch norm per channel, layer norm per sample.

`weight` and `bias` broadcast over x: they have shape (channels, 1) for a batch norm of x (batch, channels, length), and the
normalised shape for a layer norm.
"""
from __future__ import annotations

from math import nan, prod
from typing import Any, NamedTuple

import numpy as np

from ..autodiff.broadcast import filled
from ..autodiff.node import Array, Op, Pull
from ..autodiff.tape import derivative
from ..kernels.loops import norm as kernels
from ..kernels.machine.door import launch
from .axes import Axis, T, lines, normalised_axes, reduced_shape, spelled
from .elementary import EXP, LOG, power
from .elementwise import add, mul, sub
from .shape import reshape, swapaxes
from .sums import SUM, kept, mean

# -- softmax -----------------------------------------------------------------------------------------------------------


def _rowwise(kernel: Any, pullback: Any, pull: Pull) -> Op:
    """An operation along the last axis, from its kernels over rows."""

    def forward(x: Array) -> Array:
        if x.shape[-1] == 0:
            raise ValueError(f"{kernel.__name__}: got shape {x.shape}; expected at least one entry along the axis")
        return filled(lines(np.empty(x.shape, x.dtype)), kernel, lines(x)).reshape(x.shape)

    return Op(kernel.__name__, forward, pull=(pull,), adds=True,
              fused=lambda g, y, saved, into, add, x: launch(pullback, lines(g), lines(y), bool(add), lines(into[0])))


def _last_sum(x: Any) -> Any:
    return SUM(x, axis=-1, keepdims=True)


# A rule in terms of y can be differentiated again: when the backward pass is recorded, y is the node itself.
SOFTMAX: Op = _rowwise(kernels.softmax, kernels.softmax_pullback, lambda g, y, x: mul(y, sub(g, _last_sum(mul(g, y)))))
LOG_SOFTMAX: Op = _rowwise(kernels.log_softmax, kernels.log_softmax_pullback,
                           lambda g, y, x: sub(g, mul(SOFTMAX(x), _last_sum(g))))


@spelled()
def softmax(x: T, axis: int = -1) -> T:
    """``exp(x_i) / sum_k exp(x_k)`` along `axis`, without overflow.

    A 0-d tensor has one entry, as in PyTorch: the result is 1.

    >>> F.softmax([0.0, 0.0])
    Tensor([0.5, 0.5])
    """
    return _along(SOFTMAX, x, axis)


@spelled()
def log_softmax(x: T, axis: int = -1) -> T:
    """``x_i - log sum_k exp(x_k)`` along `axis`, without overflow; small probabilities keep their digits.

    >>> F.log_softmax([0.0, 1000.0])
    Tensor([-1000.,     0.])
    """
    return _along(LOG_SOFTMAX, x, axis)


def _along(op: Op, x: T, axis: int) -> T:
    """Apply an operation on the last axis to another axis."""
    shape = x.shape
    if shape and axis == -1:        # the usual case
        return op(x)
    axes = normalised_axes(op.name, axis, shape or (1,))
    if len(axes) != 1:
        raise ValueError(f"{op.name}: got axis {axis} for shape {shape}; expected one axis")
    if not shape:
        return reshape(op(reshape(x, 1)), ())
    return swapaxes(op(swapaxes(x, axes[0], -1)), axes[0], -1) if axes[0] < len(shape) - 1 else op(x)


# -- the logarithm of a sum of exponentials -------------------------------------------------------------------------------


def _logsumexp(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    axes = normalised_axes("logsumexp", axis, x.shape)
    top = np.empty(reduced_shape(x.shape, axes, True), x.dtype)
    launch(np.maximum.reduce, x, axes, None, top, True, -np.inf)
    launch(_finite_or_0, top)                   # infinity - infinity would be NaN
    y = add(LOG(SUM(EXP(sub(x, top)), axis=axes, keepdims=True)), top)
    return y if keepdims else y.reshape(reduced_shape(x.shape, axes))


def _finite_or_0(x: Array) -> None:
    x[~np.isfinite(x)] = 0


def _logsumexp_pull(g: Any, y: Any, x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """g times the softmax of x."""
    return mul(kept(g, x, axis), EXP(sub(x, kept(y, x, axis))))


LOGSUMEXP: Op = Op("logsumexp", _logsumexp, pull=(_logsumexp_pull,))


@spelled()
def logsumexp(x: T, axis: Axis = None, keepdims: bool = False) -> T:
    """``log sum_k exp(x_k)`` over `axis` (None: all axes), without overflow; -infinity for no numbers.

    Its gradient is the softmax.

    >>> round(tg.logsumexp([1000.0, 1000.0]).item() - 1000.0, 6)
    0.693147
    """
    return LOGSUMEXP(x, axis=axis, keepdims=keepdims)


# -- both norms, step by step -------------------------------------------------------------------------------------------


def _normalised(x: Any, weight: Any, bias: Any, axes: tuple[int, ...], eps: float) -> Any:
    """``(x - mean) / sqrt(var + eps) * weight + bias``, with the moments over `axes`."""
    centred = sub(x, mean(x, axes, keepdims=True))
    scale = power(add(mean(mul(centred, centred), axes, keepdims=True), eps), -0.5)
    return add(mul(mul(centred, scale), weight), bias)


# -- batch norm --------------------------------------------------------------------------------------------------------


class Running(NamedTuple):
    """Running statistics: arrays that a forward in training updates in place."""

    mean: Array
    var: Array
    batches: Array              # shape (1,): how many batches there have been
    momentum: float | None      # None: the mean over all batches


def _channels(x: Array) -> Array:
    """x (outer, channels, inner)."""
    return x.reshape(x.shape[0], x.shape[1], prod(x.shape[2:]))


def _batch_norm(x: Array, weight: Array, bias: Array, *, eps: float, running: Running | None = None) -> tuple[Array, Any]:
    out, mean, var = np.empty(x.shape, x.dtype), np.empty(x.shape[1]), np.empty(x.shape[1])
    launch(kernels.batch_norm, _channels(x), weight.ravel(), bias.ravel(), eps, mean, var, _channels(out))
    if running is not None:
        momentum = nan if running.momentum is None else running.momentum
        launch(kernels.track_moments, mean, var, x.size // mean.size, momentum, *running[:3])
    return out, (mean, var)


def _batch_norm_fused(g: Array, y: Array, saved: Any, into: list[Array], add: int, x: Array, weight: Array,
                      bias: Array, *, eps: float, moments: Any = None, **_: Any) -> None:
    """The pullback of both operations; `moments` are the given statistics, `saved` those of the batch."""
    to_x, to_weight, to_bias = into
    launch(kernels.batch_norm_pullback, _channels(g), _channels(x), *(moments or saved), eps, weight.ravel(), moments is not None,
           _channels(to_x), to_weight.ravel(), to_bias.ravel())


batch_norm: Op = Op("batch_norm", _batch_norm, fused=_batch_norm_fused, saves=True, pull=derivative(
    lambda x, weight, bias, eps, running=None: _normalised(x, weight, bias, (0, *range(2, len(x.shape))), eps)))


def _batch_norm_by(x: Array, weight: Array, bias: Array, *, moments: tuple[Array, Array], eps: float) -> Array:
    out = np.empty(x.shape, x.dtype)
    launch(kernels.batch_norm_by, _channels(x), *moments, eps, weight.ravel(), bias.ravel(), _channels(out))
    return out


def _by_steps(x: Any, weight: Any, bias: Any, moments: tuple[Array, Array], eps: float) -> Any:
    center, var = (m.reshape(weight.shape).astype(x.dtype, copy=False) for m in moments)
    return add(mul(mul(sub(x, center), (var + eps) ** -0.5), weight), bias)


# With a given mean and variance, which are constants: as in evaluation.
batch_norm_by: Op = Op("batch_norm_by", _batch_norm_by, fused=_batch_norm_fused, pull=derivative(_by_steps))


# -- layer norm --------------------------------------------------------------------------------------------------------


def _rows(x: Array, features: int) -> Array:
    return x.reshape(x.size // features, features)


def _layer_norm(x: Array, weight: Array, bias: Array, *, eps: float) -> tuple[Array, Any]:
    out, n = np.empty(x.shape, x.dtype), weight.size
    moments = np.empty(x.size // n), np.empty(x.size // n)      # mean and scale of each row
    launch(kernels.layer_norm, _rows(x, n), eps, weight.ravel(), bias.ravel(), *moments, _rows(out, n))
    return out, moments


def _layer_norm_fused(g: Array, y: Array, moments: Any, into: list[Array], add: int, x: Array, weight: Array,
                      bias: Array, *, eps: float) -> None:
    n = weight.size
    launch(kernels.layer_norm_pullback, _rows(g, n), _rows(x, n), *moments, weight.ravel(), _rows(into[0], n),
           into[1].ravel(), into[2].ravel(), add)


layer_norm: Op = Op("layer_norm", _layer_norm, fused=_layer_norm_fused, saves=True, adds=True, pull=derivative(
    lambda x, weight, bias, eps: _normalised(x, weight, bias, tuple(range(-len(weight.shape), 0)), eps)))
