"""Batch and layer normalisation as functions."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autodiff.node import Array, Node, value
from ..checks import as_floats, check_count, check_number
from ..ops import normalization as norm_ops
from ..ops import shape
from ..ops.elementwise import operand_array
from ..tensor import Tensor
from .lift import Input, as_tensor

Shape = int | Sequence[int]


def batch_norm(x: Input, running_mean: Any, running_var: Any, weight: Input | None = None, bias: Input | None = None,
               training: bool = False, momentum: float = 0.1, eps: float = 1e-5) -> Tensor:
    """``(x - mean) / sqrt(var + eps) * weight + bias``, channel by channel.

    Parameters
    ----------
    x : Tensor or array_like, shape (batch, channels) or (batch, channels, ...)
    running_mean, running_var : ndarray, shape (channels,), or None
        In evaluation, the mean and the variance that are used. In training those of the batch are used (the biased
        variance), and these arrays follow them in place, the variance the unbiased one:
        ``running = (1 - momentum) * running + momentum * batch``.
    weight, bias : Tensor or array_like, shape (channels,), optional
    training : bool
    momentum : float
    eps : float

    Returns
    -------
    Tensor of the shape and dtype of `x`

    Raises
    ------
    ValueError
        If the shapes do not fit; in training, if there is but one value per channel; in evaluation, if there are no running
        statistics.
    TypeError
        If the dtypes of two Tensors differ, or running statistics cannot be changed in place.

    Notes
    -----
    Sums are float64, also in float32: one pass for mean and variance, over the differences from the first value.

    References
    ----------
    Ioffe & Szegedy 2015, arXiv 1502.03167

    Examples
    --------
    >>> mean, var = np.zeros(2), np.ones(2)
    >>> batch_norm([[1.0, 5.0], [3.0, 5.0]], mean, var, training=True)
    Tensor([[-0.999995,  0.      ],
            [ 0.999995,  0.      ]])
    >>> mean, var
    (array([0.2, 0.5]), array([1.1, 0.9]))
    """
    if (running_mean is None) != (running_var is None):
        raise ValueError("batch_norm: got one running statistic, expected both, or neither")
    moments = None if running_mean is None else (value(running_mean), value(running_var))
    if training and moments is not None:
        running = norm_ops.Running(*moments, np.zeros(1, np.int64), check_number(momentum, "batch_norm: momentum"))
        return batch_norm_following(x, running, weight, bias, eps)
    if training:
        return batch_norm_following(x, None, weight, bias, eps)
    if moments is None:
        raise ValueError("batch_norm: there are no running statistics; expected both in evaluation")
    x, weight, bias = _by_channel(x, weight, bias)
    mean, var = (_statistic(as_floats(m, None, "batch_norm: a running statistic"), x) for m in moments)
    return norm_ops.batch_norm_by(x, weight, bias, moments=(mean, var), eps=check_number(eps, "batch_norm: eps"))


def batch_norm_following(x: Input, running: norm_ops.Running | None, weight: Input | None, bias: Input | None,
                         eps: float) -> Tensor:
    """Batch norm in training; what is in `running` follows the batch, in place."""
    x, weight, bias = _by_channel(x, weight, bias)
    if x.size <= x.shape[1]:
        raise ValueError(f"batch_norm: x has shape {x.shape}; expected more than one value per channel in training, for there is "
                         "no variance of one")
    for moment in running[:2] if running is not None else ():
        if not (type(moment) is np.ndarray and moment.dtype.kind == "f" and moment.flags.carray):
            raise TypeError("batch_norm: a running statistic cannot be changed in place; expected a contiguous, writable ndarray "
                            "of floats")
        _statistic(moment, x)
    return norm_ops.batch_norm(x, weight, bias, eps=check_number(eps, "batch_norm: eps"), running=running)


def layer_norm(x: Input, normalized_shape: Shape, weight: Input | None = None, bias: Input | None = None,
               eps: float = 1e-5) -> Tensor:
    """``(x - mean) / sqrt(var + eps) * weight + bias``, mean and (biased) variance over the last axes.

    Parameters
    ----------
    x : Tensor or array_like, shape (..., *normalized_shape)
    normalized_shape : int or sequence of int
    weight, bias : Tensor or array_like, of shape `normalized_shape`, optional
    eps : float

    Returns
    -------
    Tensor of the shape and dtype of `x`

    Raises
    ------
    ValueError
        If the shapes do not fit.
    TypeError
        If the dtypes of two Tensors differ.

    References
    ----------
    Ba, Kiros & Hinton 2016, arXiv 1607.06450

    Examples
    --------
    >>> layer_norm([[1.0, 3.0], [10.0, 30.0]], 2, eps=0.0)
    Tensor([[-1.,  1.],
            [-1.,  1.]])
    """
    x, sizes = as_input("layer_norm", x, weight, bias), shape_of_layer(normalized_shape, "layer_norm")
    if x.shape[-len(sizes):] != sizes:
        raise ValueError(f"layer_norm: x has shape {x.shape}, expected (..., {', '.join(map(str, sizes))})")
    weight, bias = _affine("layer_norm", x, weight, bias, sizes)
    return norm_ops.layer_norm(x, weight, bias, eps=check_number(eps, "layer_norm: eps"))


def shape_of_layer(normalized_shape: Shape, who: str) -> tuple[int, ...]:
    """The normalised shape as a tuple of one or more sizes."""
    sizes = tuple(normalized_shape) if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
    if not sizes:
        raise ValueError(f"{who}: normalized_shape is empty, expected at least one size")
    return tuple(check_count(size, f"{who}: a size of normalized_shape") for size in sizes)


def as_input(who: str, x: Input, weight: Input | None, bias: Input | None) -> Tensor:
    """x as a Tensor. A plain array takes the dtype of the parameters."""
    if isinstance(x, Tensor):
        return x
    dtype = next((p.dtype for p in (weight, bias) if isinstance(p, Node)), None)
    return as_tensor(as_floats(x, dtype, f"{who}: x"))


def _affine(who: str, x: Tensor, weight: Input | None, bias: Input | None, sizes: tuple[int, ...]) -> tuple[Any, Any]:
    """Weight and bias in the dtype of x and of shape `sizes`; ones and zeros where they are missing."""
    weight = np.ones(sizes, x.dtype) if weight is None else operand_array(weight, x, f"{who}: weight")
    bias = np.zeros(sizes, x.dtype) if bias is None else operand_array(bias, x, f"{who}: bias")
    if weight.shape != sizes or bias.shape != sizes:
        raise ValueError(f"{who}: x has shape {x.shape}, the weight {weight.shape}, the bias {bias.shape}; expected {sizes} for "
                         "weight and bias")
    if not x.dtype == weight.dtype == bias.dtype:
        raise TypeError(f"{who}: x is {x.dtype}, the weight {weight.dtype}, the bias {bias.dtype}; expected one dtype")
    return weight, bias


def _by_channel(x: Input, weight: Input | None, bias: Input | None) -> tuple[Tensor, Any, Any]:
    """x, and weight and bias so that they broadcast over it along its axis 1."""
    x = as_input("batch_norm", x, weight, bias)
    if x.ndim < 2:
        raise ValueError(f"batch_norm: x has shape {x.shape}, expected (batch, channels) or (batch, channels, ...)")
    weight, bias = _affine("batch_norm", x, weight, bias, (x.shape[1],))
    if x.ndim > 2:
        along = (x.shape[1],) + (1,) * (x.ndim - 2)
        weight, bias = shape.reshape(weight, shape=along), shape.reshape(bias, shape=along)
    return x, weight, bias


def _statistic(moment: Array, x: Tensor) -> Array:
    """One running statistic, a number for each channel."""
    if moment.shape != (x.shape[1],):
        raise ValueError(f"batch_norm: x has shape {x.shape}, a running statistic {moment.shape}; expected ({x.shape[1]},)")
    return moment
