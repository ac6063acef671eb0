"""What users call: every function takes Tensors or arrays and returns a Tensor.

The elementwise activations are made from their records (`kernels.piecewise`, `kernels.smooth`, `kernels.gaussian`): the
record gives the formula, the names and defaults of the parameters, the source, and so the docstring.
"""
from __future__ import annotations

import inspect
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from numpy.random import Generator

from .autodiff.node import Array, Node, value
from .autodiff.op import Op
from .checks import as_floats, check_count, check_name, check_real, check_rng
from .kernels.activations import ACTIVATIONS
from .kernels.record import Activation
from .ops import activation as activation_ops
from .ops import linalg, shape
from .ops import softmax as softmax_ops
from .ops.elementwise import mul, sub
from .tensor import Tensor, operand_array

_NO_BIAS = {np.dtype(t): np.empty(0, t) for t in (np.float32, np.float64)}
REDUCTIONS = ("mean", "sum", "none")
Input = Any     # a Tensor, or whatever NumPy can make an array of


def as_tensor(x: Input) -> Tensor:
    """A Tensor as it is; anything else as a Tensor without gradient, sharing memory where it can."""
    return x if isinstance(x, Tensor) else Tensor.leaf(as_floats(x, name="x"))


def _elementwise(name: str) -> Callable[..., Tensor]:
    """The function of one activation, with the signature and the docstring that its record implies."""
    record = ACTIVATIONS[name]
    op = activation_ops.activation_op(record)
    defaults = record.parameters
    names, p_default = list(defaults), tuple(float(v) for v in defaults.values())

    def function(x: Input, *args: float, **kwargs: float) -> Tensor:
        p = p_default if not args and not kwargs else _bind(name, names, p_default, args, kwargs)
        return op(x if isinstance(x, Tensor) else as_tensor(x), p=p)

    function.__name__ = function.__qualname__ = name
    function.__module__ = __name__
    positional = inspect.Parameter.POSITIONAL_OR_KEYWORD
    function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter("x", positional)]
        + [inspect.Parameter(n, positional, default=v) for n, v in defaults.items()])
    function.__doc__ = _docstring(record)
    return function


def _bind(name: str, names: list[str], defaults: tuple[float, ...], args: Any, kwargs: dict[str, Any]) -> tuple[float, ...]:
    values = dict(zip(names, defaults))
    if len(args) > len(names):
        raise TypeError(f"{name}: got {len(args)} parameters; expected at most {len(names)}: {', '.join(names) or 'none'}")
    for key, given in [*zip(names, args), *kwargs.items()]:
        if key not in values:
            raise TypeError(f"{name}: got an unknown parameter {key!r}; expected {', '.join(names) or 'none'}")
        values[key] = check_real(given, f"{name}: {key}")
    return tuple(values.values())


def _docstring(record: Activation) -> str:
    example = np.array([-2.0, 0.0, 2.0])
    parameters = "".join(f"{n} : float, default {v:.6g}\n" for n, v in record.parameters.items())
    kinks = record.kinks(*record.parameters.values())
    at = ", ".join(f"{slope:g} at x = {x:g}" for x, slope in kinks)
    return (f"{record.formula}, elementwise.\n\nParameters\n----------\nx : Tensor or array_like\n{parameters}\n"
            f"Returns\n-------\nTensor of the shape and dtype of `x`; NaN gives NaN.\n\n"
            + (f"Notes\n-----\nNot differentiable everywhere; the slope used is {at}.\n\n" if kinks else "")
            + f"References\n----------\n{record.source}\n\nExamples\n--------\n"
            f">>> {record.name}(np.array({example.tolist()})).shape\n(3,)\n")


relu = _elementwise("relu")
leaky_relu = _elementwise("leaky_relu")
elu = _elementwise("elu")
selu = _elementwise("selu")
celu = _elementwise("celu")
sigmoid = _elementwise("sigmoid")
logsigmoid = _elementwise("logsigmoid")
tanh = _elementwise("tanh")
softplus = _elementwise("softplus")
step = _elementwise("step")
softsign = _elementwise("softsign")
hardtanh = _elementwise("hardtanh")
relu6 = _elementwise("relu6")
hardsigmoid = _elementwise("hardsigmoid")
hardswish = _elementwise("hardswish")
silu = _elementwise("silu")
mish = _elementwise("mish")
gelu_erf = _elementwise("gelu")
gelu_tanh = _elementwise("gelu_tanh")
exp = _elementwise("exp")
expm1 = _elementwise("expm1")
log = _elementwise("log")
log1p = _elementwise("log1p")
erf = _elementwise("erf")
erfc = _elementwise("erfc")


def gelu(x: Input, approximate: str = "none") -> Tensor:
    """``x Phi(x)``, elementwise, with Phi the distribution function of N(0, 1).

    Parameters
    ----------
    x : Tensor or array_like
    approximate : {"none", "tanh"}
        "none" is exact; "tanh" is ``0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))``.

    References
    ----------
    Hendrycks & Gimpel 2016, arXiv 1606.08415

    Examples
    --------
    >>> round(gelu([1.0]).item(), 6), round(gelu([1.0], approximate="tanh").item(), 6)
    (0.841345, 0.841192)
    """
    return (gelu_erf, gelu_tanh)[("none", "tanh").index(check_name(approximate, ("none", "tanh"), "gelu: approximate"))](x)


def prelu(x: Input, weight: Input) -> Tensor:
    """``x if x > 0 else weight * x`` with learned slopes, elementwise.

    Parameters
    ----------
    x : Tensor or array_like, shape (batch, channels, ...) or (channels,)
    weight : Tensor, shape (1,) or (channels,)
        One slope for all, or one per channel. Its gradient is the sum of ``min(0, x) g``. At x = 0 the slope is `weight`.

    Raises
    ------
    ValueError
        If the number of slopes is neither 1 nor the number of channels.

    References
    ----------
    He et al. 2015, arXiv 1502.01852

    Examples
    --------
    >>> prelu([[-4.0, 4.0]], Tensor([0.25]))
    Tensor([[-1.,  4.]])
    """
    weight = as_tensor(weight)
    x = operand_array(x, weight, "prelu: x")
    slopes = weight
    if weight.size != 1:
        axis = 1 if len(x.shape) > 1 else 0
        if weight.ndim != 1 or len(x.shape) == 0 or x.shape[axis] != weight.size:
            raise ValueError(f"prelu: got a weight of shape {weight.shape} for x of shape {x.shape}; expected one slope, or one "
                             "per channel (axis 1)")
        if len(x.shape) > 2:
            slopes = shape.reshape(weight, shape=(weight.size,) + (1,) * (len(x.shape) - 2))
    elif len(x.shape) < weight.ndim:
        slopes = shape.reshape(weight, shape=())
    return activation_ops.prelu(x, slopes)


def rrelu(x: Input, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False,
          rng: int | Generator | None = None) -> Tensor:
    """``x if x > 0 else a x``, with a ~ U(lower, upper) drawn for every element in training, and its mean in evaluation.

    Parameters
    ----------
    x : Tensor or array_like
    lower, upper : float
        Bounds of the slope. The defaults are PyTorch's; the paper draws 1/a with a ~ U(3, 8).
    training : bool
    rng : int or Generator
        Required in training.

    Raises
    ------
    ValueError
        If lower > upper.
    TypeError
        If `rng` is missing in training.

    References
    ----------
    Xu et al. 2015, arXiv 1505.00853

    Examples
    --------
    >>> rrelu([-24.0, 24.0], training=False)
    Tensor([-5.5, 24. ])
    """
    if not check_real(lower, "rrelu: lower") <= check_real(upper, "rrelu: upper"):
        raise ValueError(f"rrelu: got lower {lower} and upper {upper}; expected lower <= upper")
    x = as_tensor(x)
    if not training:
        return leaky_relu(x, 0.5 * (lower + upper))
    draws = check_rng(rng, "rrelu in training").random(x.shape, dtype=x.dtype.type)
    return activation_ops.prelu(x, np.asarray(lower + (upper - lower) * draws, x.dtype))


def maxout(x: Input, pieces: int) -> Tensor:
    """The largest of each group of `pieces` neighbours along the last axis.

    Parameters
    ----------
    x : Tensor or array_like, shape (..., units * pieces)
    pieces : int

    Returns
    -------
    Tensor, shape (..., units)
        The gradient goes to the winner; in a tie that is the piece of the lowest index.

    References
    ----------
    Goodfellow et al. 2013, arXiv 1302.4389

    Examples
    --------
    >>> maxout([[1.0, 3.0, -5.0, -4.0]], 2)
    Tensor([[ 3., -4.]])
    """
    return activation_ops.maxout(_by_pieces(as_tensor(x), pieces))


def maxout_winners(x: Input, pieces: int) -> Array:
    """Which piece of each group wins: integers of shape (..., units). No gradient.

    >>> maxout_winners([[1.0, 3.0, -4.0, -4.0]], 2)
    array([[1, 0]])
    """
    return activation_ops.maxout_with_winners(_by_pieces(as_tensor(x), pieces).array)[1]


def _by_pieces(x: Tensor, pieces: int) -> Tensor:
    if x.ndim == 0 or x.shape[-1] % check_count(pieces, "maxout: pieces"):
        raise ValueError(f"maxout: got x of shape {x.shape} and {pieces} pieces; expected a last axis that is a multiple of it")
    return shape.reshape(x, shape=(*x.shape[:-1], x.shape[-1] // pieces, pieces))


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
    return linear_layer(linalg.linear, x, weight, bias)


def linear_layer(op: Op, x: Input, weight: Any, bias: Any, **params: Any) -> Tensor:
    """Apply an operation on matrices (`linear`, or `linear` with an activation) to the rows of x, whatever its shape."""
    if not isinstance(x, Node):
        x = operand_array(x, weight, "linear: x")
    if bias is None:
        bias = _NO_BIAS[weight.dtype]
    array = value(x)
    if array.ndim == 2:
        return op(x, weight, bias, **params)
    shape_of_x = array.shape
    if weight.ndim != 2 or not shape_of_x:
        raise ValueError(f"linear: x has shape {shape_of_x}, the weight {weight.shape}; expected x (..., inputs) and weight "
                         "(outputs, inputs)")
    y = op(shape.reshape(x, shape=(prod(shape_of_x[:-1]), shape_of_x[-1])), weight, bias, **params)
    return shape.reshape(y, shape=(*shape_of_x[:-1], weight.shape[0]))


def softmax(x: Input, axis: int = -1) -> Tensor:
    """``exp(x_i) / sum_k exp(x_k)`` along `axis`, without overflow.

    >>> softmax([0.0, 0.0])
    Tensor([0.5, 0.5])
    """
    return _along(softmax_ops.softmax, as_tensor(x), axis)


def log_softmax(x: Input, axis: int = -1) -> Tensor:
    """``x_i - log sum_k exp(x_k)`` along `axis`, without overflow and without the loss of small probabilities.

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


def cross_entropy(x: Input, labels: Any, reduction: str = "mean") -> Tensor:
    """``log sum_k exp(x_k) - x_label``, the cross-entropy of logits, averaged over the rows.

    Parameters
    ----------
    x : Tensor or array_like, shape (rows, classes)
        Logits: no softmax before this.
    labels : array_like of int, shape (rows,)
    reduction : {"mean", "sum", "none"}

    Returns
    -------
    Tensor, shape (), or (rows,) for "none"

    Raises
    ------
    TypeError
        If the labels are no integers.
    ValueError
        If a label is no class (named with its row), the lengths differ, or the batch is empty.

    Examples
    --------
    >>> round(cross_entropy([[0.0, 0.0]], [1]).item(), 6)
    0.693147
    """
    x = as_tensor(x)
    if reduction not in REDUCTIONS:
        check_name(reduction, REDUCTIONS, "cross_entropy: reduction")
    return softmax_ops.cross_entropy(x, softmax_ops.labels_of(labels, x.array), reduction=reduction)


def mse_loss(x: Input, target: Input, reduction: str = "mean") -> Tensor:
    """``(x - target)^2``, averaged over all elements.

    Parameters
    ----------
    x, target : Tensor or array_like, of one shape
    reduction : {"mean", "sum", "none"}

    Raises
    ------
    ValueError
        If the shapes differ (broadcasting a target is nearly always a mistake), or there is nothing to average.

    Examples
    --------
    >>> mse_loss([1.0, 2.0], [1.0, 4.0]).item()
    2.0
    """
    check_name(reduction, REDUCTIONS, "mse_loss: reduction")
    x = as_tensor(x)
    target = operand_array(target, x, "mse_loss: target")
    if x.shape != target.shape:
        raise ValueError(f"mse_loss: got x of shape {x.shape} and a target of shape {target.shape}; expected one shape")
    if x.size == 0 and reduction == "mean":
        raise ValueError("mse_loss: the batch is empty; the mean over nothing is not defined")
    error = sub(x, target)
    squares = mul(error, error)
    return squares if reduction == "none" else shape.sum_(squares) if reduction == "sum" else shape.mean(squares)
