"""NumPy's reductions for Tensors: along one axis, several, or all of them.

`axis` is a number, a tuple of numbers, or None for all axes; with `keepdims` the reduced axes stay, with length 1.
"""
from __future__ import annotations

from typing import Any

from ..ops.shape import Axis
from ..tensor import Tensor
from .inputs import Input, as_tensor


def sum(x: Input, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The sum over `axis`; 0 for no numbers.

    >>> sum([[1.0, 2.0], [3.0, 4.0]], axis=0)
    Tensor([4., 6.])
    """
    return as_tensor(x).sum(axis, keepdims)


def mean(x: Input, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The mean over `axis`; NaN for no numbers.

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

    Examples
    --------
    >>> var([1.0, 3.0]).item(), var([1.0, 3.0], ddof=1).item()
    (1.0, 2.0)
    """
    return as_tensor(x).var(axis, ddof, keepdims)


def std(x: Input, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> Tensor:
    """The square root of `var`. Where all numbers are equal, and it is 0, its gradient is 0.

    >>> std([[1.0, 3.0], [2.0, 2.0]], axis=1)
    Tensor([1., 0.])
    """
    return as_tensor(x).std(axis, ddof, keepdims)


def max(x: Input, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The largest number over `axis`, NaN if there is one.

    The gradient goes to the largest number, in a tie to the first one (that of `argmax`), and exactly 0 to every other one. NaN
    counts as the largest.

    Raises
    ------
    ValueError
        If there is no number to choose from.

    Examples
    --------
    >>> x = Tensor([1.0, 3.0, 3.0], requires_grad=True)
    >>> max(x).backward()
    >>> x.grad
    array([0., 1., 0.])
    """
    return as_tensor(x).max(axis, keepdims)


def min(x: Input, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The smallest number over `axis`, NaN if there is one; everything else as in `max`.

    >>> min([[1.0, 2.0], [4.0, 3.0]], axis=1)
    Tensor([1., 3.])
    """
    return as_tensor(x).min(axis, keepdims)


def argmax(x: Input, axis: int | None = None, keepdims: bool = False) -> Any:
    """Where the largest number is: plain integers without a gradient. In a tie the first; the first NaN if there is one.

    >>> argmax([[1.0, 2.0], [4.0, 3.0]], axis=1), argmax([[1.0, 2.0], [4.0, 3.0]])
    (array([1, 0]), np.int64(2))
    """
    return as_tensor(x).argmax(axis, keepdims)


def argmin(x: Input, axis: int | None = None, keepdims: bool = False) -> Any:
    """Where the smallest number is, as `argmax`.

    >>> argmin([[1.0, 2.0], [4.0, 3.0]], axis=0)
    array([0, 0])
    """
    return as_tensor(x).argmin(axis, keepdims)


def prod(x: Input, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The product over `axis`; 1 for no numbers.

    Each slope is the product of all other factors, right also where factors are 0. (For the second derivative of a product
    of n factors n x n numbers are laid out.)

    >>> x = Tensor([0.0, 2.0, 3.0], requires_grad=True)
    >>> prod(x).backward()
    >>> x.grad
    array([6., 0., 0.])
    """
    return as_tensor(x).prod(axis, keepdims)


def cumsum(x: Input, axis: int | None = None) -> Tensor:
    """The sums of the first 1, 2, 3 ... numbers along one axis; None: of x made flat.

    >>> cumsum([[1.0, 2.0], [3.0, 4.0]], axis=1)
    Tensor([[1., 3.],
            [3., 7.]])
    """
    return as_tensor(x).cumsum(axis)


def logsumexp(x: Input, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """``log sum_k exp(x_k)`` over `axis`, without overflow; -infinity for no numbers. Its gradient is the softmax.

    >>> round(logsumexp([1000.0, 1000.0]).item() - 1000.0, 6)
    0.693147
    """
    return as_tensor(x).logsumexp(axis, keepdims)
