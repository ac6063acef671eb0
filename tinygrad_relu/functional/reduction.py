"""NumPy's reductions for Tensors: along one axis, several, or all of them.

`axis` is a number, a tuple of numbers, or None for all axes; with `keepdims` the reduced axes stay, with length 1.
"""
from __future__ import annotations

from typing import Any

from ..ops.shape import Axis
from ..tensor import Tensor
from .inputs import Input, as_tensor


def sum(x: Input, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """``sum_k x_k`` over `axis`; 0 for no numbers.

    Parameters
    ----------
    x : Tensor or array_like
    axis : int, tuple of int, or None
        Negative ones count from the end; None means all.
    keepdims : bool
        Whether the axes that are summed stay, with length 1.

    Returns
    -------
    Tensor, of the shape of `x` without the axes in `axis`

    Raises
    ------
    ValueError
        If `x` has no such axis, or it is named twice.
    TypeError
        If `axis` is no whole number.

    Examples
    --------
    >>> sum([[1.0, 2.0], [3.0, 4.0]], axis=0)
    Tensor([4., 6.])
    """
    return as_tensor(x).sum(axis, keepdims)


def mean(x: Input, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """``sum_k x_k / n`` over `axis`, n being how many there are; NaN for no numbers.

    Parameters, shape of the result and errors are those of `sum`.

    Examples
    --------
    >>> mean([[1.0, 2.0], [3.0, 4.0]], axis=(0, 1)).item()
    2.5
    """
    return as_tensor(x).mean(axis, keepdims)


def var(x: Input, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> Tensor:
    """``sum((x - mean(x))^2) / (n - ddof)``.

    Parameters
    ----------
    x : Tensor or array_like
    axis : int, tuple of int, or None
    ddof : float
        0 as in NumPy; 1 is PyTorch's default. Where n - ddof is not positive, the result is infinite or NaN.
    keepdims : bool

    Raises
    ------
    ValueError, TypeError
        As `sum`.

    Examples
    --------
    >>> var([1.0, 3.0]).item(), var([1.0, 3.0], ddof=1).item()
    (1.0, 2.0)
    """
    return as_tensor(x).var(axis, ddof, keepdims)


def std(x: Input, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> Tensor:
    """``sqrt(var(x))``. Where all numbers are equal, and it is 0, its gradient is 0.

    Parameters, shape of the result and errors are those of `var`.

    Examples
    --------
    >>> std([[1.0, 3.0], [2.0, 2.0]], axis=1)
    Tensor([1., 0.])
    """
    return as_tensor(x).std(axis, ddof, keepdims)


def max(x: Input, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The largest number over `axis`, NaN if there is one.

    The gradient goes to the largest number, in a tie to the first one (that of `argmax`), and exactly 0 to every other one. NaN
    counts as the largest. (PyTorch's `amax` shares it out among equals; its `max(dim)` does as is done here.)

    Parameters and shape of the result are those of `sum`.

    Raises
    ------
    ValueError
        As `sum`, and if there is no number to choose from.

    Examples
    --------
    >>> x = Tensor([1.0, 3.0, 3.0], requires_grad=True)
    >>> max(x).backward()
    >>> x.grad
    array([0., 1., 0.])
    """
    return as_tensor(x).max(axis, keepdims)


def min(x: Input, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The smallest number over `axis`, NaN if there is one; gradient, parameters, shape and errors as in `max`.

    Examples
    --------
    >>> min([[1.0, 2.0], [4.0, 3.0]], axis=1)
    Tensor([1., 3.])
    """
    return as_tensor(x).min(axis, keepdims)


def argmax(x: Input, axis: int | None = None, keepdims: bool = False) -> Any:
    """Where the largest number is: plain integers without a gradient. In a tie the first; the first NaN if there is one.

    Parameters
    ----------
    x : Tensor or array_like
    axis : int, optional
        None: the position in `x` made flat.
    keepdims : bool
        Whether the axis stays, with length 1.

    Returns
    -------
    ndarray of int, of the shape of `x` without that axis

    Raises
    ------
    ValueError
        If `x` has no such axis, or there is no number to choose from.
    TypeError
        If `axis` is no whole number.

    Examples
    --------
    >>> argmax([[1.0, 2.0], [4.0, 3.0]], axis=1), argmax([[1.0, 2.0], [4.0, 3.0]])
    (array([1, 0]), np.int64(2))
    """
    return as_tensor(x).argmax(axis, keepdims)


def argmin(x: Input, axis: int | None = None, keepdims: bool = False) -> Any:
    """Where the smallest number is; everything else as in `argmax`.

    Examples
    --------
    >>> argmin([[1.0, 2.0], [4.0, 3.0]], axis=0)
    array([0, 0])
    """
    return as_tensor(x).argmin(axis, keepdims)


def prod(x: Input, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """``x_1 x_2 ... x_n`` over `axis`; 1 for no numbers.

    Each slope is the product of all other factors, right also where factors are 0. (For the second derivative of a product
    of n factors n x n numbers are laid out.)

    Parameters, shape of the result and errors are those of `sum`.

    Examples
    --------
    >>> x = Tensor([0.0, 2.0, 3.0], requires_grad=True)
    >>> prod(x).backward()
    >>> x.grad
    array([6., 0., 0.])
    """
    return as_tensor(x).prod(axis, keepdims)


def cumsum(x: Input, axis: int | None = None) -> Tensor:
    """``y_i = x_1 + ... + x_i``: the sums of the first 1, 2, 3 ... numbers along an axis.

    Parameters
    ----------
    x : Tensor or array_like
    axis : int, optional
        None: of `x` made flat.

    Returns
    -------
    Tensor, of the shape of `x`, or flat

    Raises
    ------
    ValueError
        If `x` has no such axis.
    TypeError
        If `axis` is no whole number.

    Examples
    --------
    >>> cumsum([[1.0, 2.0], [3.0, 4.0]], axis=1)
    Tensor([[1., 3.],
            [3., 7.]])
    """
    return as_tensor(x).cumsum(axis)


def logsumexp(x: Input, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """``log sum_k exp(x_k)`` over `axis`, without overflow; -infinity for no numbers. Its gradient is the softmax.

    Parameters, shape of the result and errors are those of `sum`.

    Examples
    --------
    >>> round(logsumexp([1000.0, 1000.0]).item() - 1000.0, 6)
    0.693147
    """
    return as_tensor(x).logsumexp(axis, keepdims)
