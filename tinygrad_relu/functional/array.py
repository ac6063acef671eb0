"""NumPy's elementwise functions for Tensors. (exp, expm1, log and log1p stand with the other records, in `activation`.)

Where the arguments of a function tie, the first of them gets the gradient. Where a function has a kink, as that of abs at 0 or
of `maximum` at a Python number, the shortest of the slopes between those on the two sides is taken. The second derivative at
such a point is that of the piece, which is 0. NaN comes out as NaN; where it wins a choice (`maximum`, as in NumPy), it gets
the gradient too.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from ..autodiff.node import value
from ..checks import as_numbers
from ..ops import elementary, elementwise
from ..tensor import Tensor, operand
from .inputs import Input, as_tensor


def abs(x: Input) -> Tensor:
    """``|x|``, elementwise; the slope at 0 is 0 (as in PyTorch).

    Parameters
    ----------
    x : Tensor or array_like

    Returns
    -------
    Tensor, of the shape and dtype of `x`

    Raises
    ------
    TypeError
        If `x` holds no real numbers.

    Examples
    --------
    >>> abs([-2.0, 0.0, 3.0])
    Tensor([2., 0., 3.])
    """
    return elementary.abs_(as_tensor(x))


def sqrt(x: Input) -> Tensor:
    """``x^(1/2)``, elementwise; NaN below 0. The slope at 0 is infinite.

    Shape and errors are those of `abs`.

    Examples
    --------
    >>> sqrt([0.0, 4.0])
    Tensor([0., 2.])
    """
    return elementary.sqrt(as_tensor(x))


def square(x: Input) -> Tensor:
    """``x * x``, elementwise.

    Shape and errors are those of `abs`.

    Examples
    --------
    >>> square([-3.0, 2.0])
    Tensor([9., 4.])
    """
    return elementary.square(as_tensor(x))


def sin(x: Input) -> Tensor:
    """``sin(x)``, elementwise, x being an angle in radians; NaN at infinity.

    Shape and errors are those of `abs`.

    Examples
    --------
    >>> sin([0.0, np.pi / 2])
    Tensor([0., 1.])
    """
    return elementary.sin(as_tensor(x))


def cos(x: Input) -> Tensor:
    """``cos(x)``, elementwise, x being an angle in radians; NaN at infinity.

    Shape and errors are those of `abs`.

    Examples
    --------
    >>> cos([0.0, np.pi])
    Tensor([ 1., -1.])
    """
    return elementary.cos(as_tensor(x))


def maximum(a: Input, b: Input) -> Tensor:
    """The larger of two numbers, elementwise, with broadcasting; NaN if one is NaN.

    Parameters
    ----------
    a, b : Tensor, array_like or number
        In a tie the first gets the gradient. A number gets none, and then the slope in a tie is 0: ``maximum(x, 0)`` is
        relu.

    Returns
    -------
    Tensor, of the shape that both have together

    Raises
    ------
    ValueError
        If the shapes cannot be broadcast together.
    TypeError
        If one holds no real numbers.

    Examples
    --------
    >>> x, y = Tensor([1.0, 2.0, 3.0], requires_grad=True), Tensor([3.0, 2.0, 1.0], requires_grad=True)
    >>> maximum(x, y).sum().backward()
    >>> x.grad, y.grad
    (array([0., 1., 1.]), array([1., 0., 0.]))
    """
    return _joined(elementwise.maximum, a, b)


def minimum(a: Input, b: Input) -> Tensor:
    """The smaller of two numbers, elementwise, with broadcasting; gradient, shape and errors as in `maximum`.

    Examples
    --------
    >>> minimum([1.0, 5.0], 3.0)
    Tensor([1., 3.])
    """
    return _joined(elementwise.minimum, a, b)


def clip(x: Input, min: Input | None = None, max: Input | None = None) -> Tensor:
    """``minimum(maximum(x, min), max)``: x, but not less than `min` and not more than `max`.

    Parameters
    ----------
    x : Tensor or array_like
    min, max : number, array_like, Tensor or None
        None is no bound. At a bound that is a number the slope is 0, as that of hardtanh (in PyTorch's clamp it is 1). Where
        `min` is above `max`, the result is `max`, as in NumPy.

    Returns
    -------
    Tensor, of the shape that all have together

    Raises
    ------
    ValueError, TypeError
        As `maximum`.

    Examples
    --------
    >>> x = Tensor([-2.0, -1.0, 0.0], requires_grad=True)
    >>> clip(x, -1, 1).sum().backward()
    >>> x.grad
    array([0., 0., 1.])
    """
    return as_tensor(x).clip(min, max)


def where(condition: Input, a: Input, b: Input) -> Tensor:
    """`a` where the condition holds, `b` elsewhere, with broadcasting.

    Parameters
    ----------
    condition : array_like of bool
        Of numbers, all but 0 hold. Nothing is differentiated through it.
    a, b : Tensor, array_like or number
        What is not chosen gets a gradient of exactly 0, also where it is NaN. (If an infinite slope lies behind it, 0 times
        that is NaN: choose the divisor then, not the quotient.)

    Returns
    -------
    Tensor, of the shape that all three have together

    Raises
    ------
    ValueError
        If the shapes cannot be broadcast together.

    Examples
    --------
    >>> x = Tensor([-1.0, 4.0], requires_grad=True)
    >>> where(x > 0, x, 0.0)
    Tensor([0., 4.], requires_grad=True)
    """
    holds = as_numbers(value(condition), "where: condition")
    return _joined(lambda a, b: elementwise.where(holds if holds.dtype == bool else holds != 0, a, b), a, b)


def _joined(op: Any, a: Input, b: Input) -> Tensor:
    """Apply an operation on two operands: numbers stay numbers, and arrays take the dtype of a Tensor (or of `a`)."""
    if not isinstance(a, Tensor) and not isinstance(b, Tensor):
        if np.ndim(a) == 0:
            b = as_tensor(b)
        else:
            a = as_tensor(a)
    like = a if isinstance(a, Tensor) else b
    return op(operand(a, like), operand(b, like))
