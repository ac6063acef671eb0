"""Softmax and log-softmax along any axis."""
from __future__ import annotations

from typing import Any

from ..ops import shape
from ..ops import softmax as softmax_ops
from ..tensor import Tensor
from .inputs import Input, as_tensor


def softmax(x: Input, axis: int = -1) -> Tensor:
    """``exp(x_i) / sum_k exp(x_k)`` along `axis`, without overflow.

    Parameters
    ----------
    x : Tensor or array_like
    axis : int

    Returns
    -------
    Tensor, of the shape of `x`

    Raises
    ------
    ValueError
        If `x` has no such axis.

    Examples
    --------
    >>> softmax([0.0, 0.0])
    Tensor([0.5, 0.5])
    """
    return _along(softmax_ops.softmax, as_tensor(x), axis)


def log_softmax(x: Input, axis: int = -1) -> Tensor:
    """``x_i - log sum_k exp(x_k)`` along `axis`, without overflow and without the loss of small probabilities.

    Parameters, shape and errors are those of `softmax`.

    Examples
    --------
    >>> log_softmax([0.0, 1000.0])
    Tensor([-1000.,     0.])
    """
    return _along(softmax_ops.log_softmax, as_tensor(x), axis)


def _along(op: Any, x: Tensor, axis: int) -> Tensor:
    """Apply an operation on the last axis to another one."""
    axes = shape.normalised_axes(op.name, axis, x.shape)
    if len(axes) != 1:
        raise ValueError(f"{op.name}: got axis {axis} for shape {x.shape}; expected one axis")
    if axes[0] == x.ndim - 1:
        return op(x)
    order = list(range(x.ndim))
    order[axes[0]], order[-1] = order[-1], axes[0]
    return shape.transpose(op(shape.transpose(x, axes=tuple(order))), axes=tuple(order))
