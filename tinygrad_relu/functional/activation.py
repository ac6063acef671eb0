"""The activations as functions.

The elementwise ones are made from their records (`kernels.piecewise`, `kernels.smooth`, `kernels.gaussian`): the record
gives the formula, the names and defaults of the parameters, the source, and so the docstring.
"""
from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.random import Generator

from ..autodiff.node import Array
from ..checks import check_count, check_name, check_real
from ..kernels.formulas import ACTIVATIONS
from ..kernels.formulas.record import Activation
from ..ops import activation as activation_ops
from ..ops import random, shape
from ..ops.elementwise import operand_array
from ..tensor import Tensor
from .lift import Input, as_tensor


def _elementwise(name: str) -> Callable[..., Tensor]:
    """The function of one activation, with the signature and the docstring that its record implies."""
    record = ACTIVATIONS[name]
    op = activation_ops.activation_op(record)
    defaults = record.parameters
    p_default = tuple(float(v) for v in defaults.values())

    def function(x: Input, *args: float, **kwargs: float) -> Tensor:
        p = p_default if not args and not kwargs else bind_parameters(name, record, args, kwargs)
        return op(x if isinstance(x, Tensor) else as_tensor(x), p=p)

    function.__name__ = function.__qualname__ = name
    function.__module__ = __name__
    positional = inspect.Parameter.POSITIONAL_OR_KEYWORD
    function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter("x", positional)]
        + [inspect.Parameter(n, positional, default=v) for n, v in defaults.items()])
    function.__doc__ = _docstring(record)
    return function


def bind_parameters(name: str, record: Activation, args: Any, kwargs: dict[str, Any]) -> tuple[float, ...]:
    """The parameters of an activation in the order of its record, from positional and named ones."""
    values = {key: float(default) for key, default in record.parameters.items()}
    names = list(values)
    if len(args) > len(names):
        raise TypeError(f"{name}: got {len(args)} parameters; expected at most {len(names)}: {', '.join(names) or 'none'}")
    for key, given in [*zip(names, args), *kwargs.items()]:
        if key not in values:
            raise TypeError(f"{name}: got an unknown parameter {key!r}; expected {', '.join(names) or 'none'}")
        values[key] = check_real(given, f"{name}: {key}")
    expected = record.expected(*values.values())
    if expected is not None:
        got = " and ".join(f"{key} {given:g}" for key, given in values.items())
        raise ValueError(f"{name}: got {got}; expected {expected}")
    return tuple(values.values())


def _docstring(record: Activation) -> str:
    example = np.array([-2.0, 0.0, 2.0])
    parameters = "".join(f"{n} : float, default {v:.6g}\n" for n, v in record.parameters.items())
    kinks = record.kinks(*record.parameters.values())
    at = ", ".join(f"{slope:g} at x = {x:g}" for x, slope in kinks)
    return (f"{record.formula}, elementwise.\n\nParameters\n----------\nx : Tensor or array_like\n{parameters}\n"
            f"Returns\n-------\nTensor of the shape and dtype of `x`; NaN gives NaN.\n\n"
            f"Raises\n------\nTypeError\n    If `x` holds no real numbers{', or a parameter is none' if parameters else ''}.\n\n"
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
        Required in training. The same seed draws the same slopes, whatever the number of threads.

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
    lower, upper = check_real(lower, "rrelu: lower"), check_real(upper, "rrelu: upper")
    if not lower <= upper:
        raise ValueError(f"rrelu: got lower {lower:g} and upper {upper:g}; expected lower <= upper")
    x = as_tensor(x)
    if not training:
        return leaky_relu(x, 0.5 * (lower + upper))
    return rrelu_at(x, lower, upper, random.new_place(rng, "rrelu in training"))


def rrelu_at(x: Tensor, lower: float, upper: float, place: Array) -> Tensor:
    """`rrelu` in training, by the random numbers of a place (see `ops.random`)."""
    return activation_ops.prelu(x, random.uniform(place, x.shape, x.dtype, lower, upper))


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
    """Which piece of each group wins (in a tie the first): integers of shape (..., units). No gradient.

    >>> maxout_winners([[1.0, 3.0, -4.0, -4.0]], 2)
    array([[1, 0]])
    """
    return activation_ops.maxout_with_winners(_by_pieces(as_tensor(x), pieces).array)[1]


def _by_pieces(x: Tensor, pieces: int) -> Tensor:
    if x.ndim == 0 or x.shape[-1] % check_count(pieces, "maxout: pieces"):
        raise ValueError(f"maxout: got x of shape {x.shape} and {pieces} pieces; expected a last axis that is a multiple of it")
    return shape.reshape(x, shape=(*x.shape[:-1], x.shape[-1] // pieces, pieces))
