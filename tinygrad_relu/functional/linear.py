"""The affine layer as a function."""
from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..autodiff.node import Node, Op, value
from ..ops import shape
from ..ops.affine import affine
from ..ops.elementwise import operand_array
from ..tensor import Tensor
from .lift import Input, as_tensor

_NO_BIAS = {np.dtype(t): np.empty(0, t) for t in (np.float32, np.float64)}


def linear(x: Input, weight: Input, bias: Input | None = None) -> Tensor:
    """``x @ weight.T + bias``.

    Parameters
    ----------
    x : Tensor or array_like, shape (..., inputs)
        An array is converted to the dtype of the weight; a Tensor must have it.
    weight : Tensor or array_like, shape (outputs, inputs)
    bias : Tensor or array_like, shape (outputs,), optional

    Returns
    -------
    Tensor, shape (..., outputs)

    Raises
    ------
    ValueError
        If the shapes do not fit.
    TypeError
        If the dtypes of two Tensors differ.

    Examples
    --------
    >>> linear([[1.0, 2.0]], Tensor([[3.0, 4.0]]), Tensor([0.5]))
    Tensor([[11.5]])
    """
    if not isinstance(weight, Node):        # the kernel relies on dtype and layout: what comes from outside passes a gate
        weight = as_tensor(operand_array(weight, x, "linear: weight") if isinstance(x, Node) else weight)
    if bias is not None and not isinstance(bias, Node):
        bias = as_tensor(operand_array(bias, weight, "linear: bias"))
    return affine_layer(affine(), x, weight, bias)


def affine_layer(op: Op, x: Input, weight: Any, bias: Any) -> Tensor:
    """Apply an `ops.affine.affine` to the rows of x, whatever its shape; the weight is a Tensor, the bias a Tensor or None."""
    if not isinstance(x, Node):
        x = operand_array(x, weight, "linear: x")
    if bias is None:
        bias = _NO_BIAS[weight.dtype]
    array = value(x)
    if array.ndim == 2:
        return op(x, weight, bias)
    shape_of_x = array.shape
    if weight.ndim != 2 or not shape_of_x:
        raise ValueError(f"linear: x has shape {shape_of_x}, the weight {weight.shape}; expected x (..., inputs) and weight "
                         "(outputs, inputs)")
    y = op(shape.reshape(x, shape=(prod(shape_of_x[:-1]), shape_of_x[-1])), weight, bias)
    return shape.reshape(y, shape=(*shape_of_x[:-1], weight.shape[0]))
