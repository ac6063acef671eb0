"""Functions that give numbers another shape or order.

Axes are NumPy's, negative ones included. What `reshape`, `squeeze`, `expand_dims` and `flatten` return shares memory with
their input, as in NumPy; everything else returns numbers of its own.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..checks import check_real
from ..ops import indexing
from ..ops import shape as shapes
from ..ops.shape import Axis
from ..tensor import Tensor
from .inputs import Input, as_tensor


def _sizes(sizes: Any) -> tuple[int, ...]:
    return tuple(sizes) if np.ndim(sizes) else (sizes,)


def reshape(x: Input, shape: int | Sequence[int]) -> Tensor:
    """The same numbers, in the same order, in another shape; one -1 stands for what is left.

    Parameters
    ----------
    x : Tensor or array_like
    shape : int or sequence of int

    Returns
    -------
    Tensor
        Shares memory with `x`.

    Raises
    ------
    ValueError
        If the numbers do not fit.

    Examples
    --------
    >>> reshape([1.0, 2.0, 3.0, 4.0], (2, -1))
    Tensor([[1., 2.],
            [3., 4.]])
    """
    return shapes.reshape(as_tensor(x), shape=_sizes(shape))


def transpose(x: Input, axes: Sequence[int] | None = None) -> Tensor:
    """The axes in another order: axis k of the result is axis ``axes[k]`` of `x`; None reverses them.

    Parameters
    ----------
    x : Tensor or array_like
    axes : sequence of int, optional
        A permutation of all axes. (PyTorch's transpose of two axes is `swapaxes` here.)

    Raises
    ------
    ValueError
        If `axes` is no permutation.

    Examples
    --------
    >>> transpose(np.ones((2, 3, 4))).shape, transpose(np.ones((2, 3, 4)), (2, 0, 1)).shape
    ((4, 3, 2), (4, 2, 3))
    """
    return shapes.transpose(as_tensor(x), axes=None if axes is None else tuple(axes))


def permute(x: Input, axes: Sequence[int]) -> Tensor:
    """The axes in this order: PyTorch's name of `transpose`. Errors are those of `transpose`.

    Examples
    --------
    >>> permute(np.ones((2, 3, 4)), (2, 0, 1)).shape
    (4, 2, 3)
    """
    return transpose(x, axes)


def swapaxes(x: Input, axis1: int, axis2: int) -> Tensor:
    """Two axes in each other's place.

    Parameters
    ----------
    x : Tensor or array_like
    axis1, axis2 : int

    Raises
    ------
    ValueError
        If `x` has no such axis.
    TypeError
        If one is no whole number.

    Examples
    --------
    >>> swapaxes(np.ones((2, 3, 4)), 0, -1).shape
    (4, 3, 2)
    """
    return shapes.swapaxes(as_tensor(x), axis1, axis2)


def squeeze(x: Input, axis: Axis = None) -> Tensor:
    """Without axes of size 1: all of them, or those in `axis`.

    Parameters
    ----------
    x : Tensor or array_like
    axis : int or tuple of int, optional

    Returns
    -------
    Tensor
        Shares memory with `x`.

    Raises
    ------
    ValueError
        If an axis in `axis` has another size, as in NumPy (PyTorch would leave it).

    Examples
    --------
    >>> squeeze(np.ones((1, 3, 1))).shape, squeeze(np.ones((1, 3, 1)), 0).shape
    ((3,), (3, 1))
    """
    return shapes.squeeze(as_tensor(x), axis)


def expand_dims(x: Input, axis: int | Sequence[int]) -> Tensor:
    """With new axes of size 1, which are the axes `axis` of the result. PyTorch's name of it is `unsqueeze`.

    Parameters
    ----------
    x : Tensor or array_like
    axis : int or sequence of int

    Returns
    -------
    Tensor
        Shares memory with `x`.

    Raises
    ------
    ValueError
        If the result has no such axis, or it is named twice.
    TypeError
        If `axis` is no whole number.

    Examples
    --------
    >>> expand_dims([1.0, 2.0], 0).shape, unsqueeze([1.0, 2.0], -1).shape, expand_dims([1.0, 2.0], (0, 2)).shape
    ((1, 2), (2, 1), (1, 2, 1))
    """
    return shapes.expand_dims(as_tensor(x), axis)


unsqueeze = expand_dims


def flatten(x: Input, start_axis: int = 0, end_axis: int = -1) -> Tensor:
    """The axes from `start_axis` to `end_axis`, both included, made one; a number becomes a vector of one.

    Parameters
    ----------
    x : Tensor or array_like
    start_axis, end_axis : int
        PyTorch calls them start_dim and end_dim.

    Returns
    -------
    Tensor
        Shares memory with `x`.

    Raises
    ------
    ValueError
        If `x` has no such axis, or the start lies behind the end.
    TypeError
        If one is no whole number.

    Examples
    --------
    >>> flatten(np.ones((2, 3, 4))).shape, flatten(np.ones((2, 3, 4)), 1).shape, flatten(3.0).shape
    ((24,), (2, 12), (1,))
    """
    return shapes.flatten(as_tensor(x), start_axis, end_axis)


def broadcast_to(x: Input, shape: int | Sequence[int]) -> Tensor:
    """Repeated along axes of size 1, and along new axes in front, up to this shape. The gradient is summed over them.

    Parameters
    ----------
    x : Tensor or array_like
    shape : int or sequence of int

    Raises
    ------
    ValueError
        If the shapes do not broadcast.

    Examples
    --------
    >>> broadcast_to([1.0, 2.0], (2, 2))
    Tensor([[1., 2.],
            [1., 2.]])
    """
    return shapes.broadcast(as_tensor(x), _sizes(shape))


def flip(x: Input, axis: Axis = None) -> Tensor:
    """The other way round along `axis`: ``y_i = x_(n-1-i)``.

    Parameters
    ----------
    x : Tensor or array_like
    axis : int, tuple of int, or None
        None: along all axes.

    Returns
    -------
    Tensor, of the shape of `x`

    Raises
    ------
    ValueError
        If `x` has no such axis, or it is named twice.
    TypeError
        If `axis` is no whole number.

    Examples
    --------
    >>> flip([[1.0, 2.0], [3.0, 4.0]], 0)
    Tensor([[3., 4.],
            [1., 2.]])
    """
    return indexing.flip(as_tensor(x), axis)


def pad(x: Input, pad_width: Any, constant_values: float = 0.0) -> Tensor:
    """With so many constants before and behind the numbers of each axis, as np.pad.

    Parameters
    ----------
    x : Tensor or array_like
    pad_width : int, (before, after), or one such pair per axis
    constant_values : float

    Raises
    ------
    ValueError
        If the widths do not fit the axes, or one is negative.
    TypeError
        If they are no whole numbers.

    Examples
    --------
    >>> pad([[1.0, 2.0]], ((0, 1), (1, 0)))
    Tensor([[0., 1., 2.],
            [0., 0., 0.]])
    """
    return indexing.pad(as_tensor(x), pad_width, check_real(constant_values, "pad: constant_values"))
