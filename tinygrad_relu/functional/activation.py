"""The activations as functions: the elementwise ones are made from their records, which have the formulas and the docs."""
from __future__ import annotations

from numpy.random import Generator

from ..autodiff.node import Array
from ..checks import check_count, check_name
from ..kernels.formulas import gaussian, piecewise, saturating, smooth
from ..ops import activation as ops
from ..ops import shape
from ..ops.elementwise import new_place, operand_array, uniform
from ..tensor import Tensor
from .array import Input, as_tensor, elementwise

relu = elementwise(piecewise.RELU)
leaky_relu = elementwise(piecewise.LEAKY_RELU)
step = elementwise(piecewise.STEP)
hardtanh = elementwise(piecewise.HARDTANH)
relu6 = elementwise(piecewise.RELU6)
hardsigmoid = elementwise(piecewise.HARDSIGMOID)
hardswish = elementwise(piecewise.HARDSWISH)
elu = elementwise(saturating.ELU)
selu = elementwise(saturating.SELU)
celu = elementwise(saturating.CELU)
sigmoid = elementwise(saturating.SIGMOID)
logsigmoid = elementwise(saturating.LOGSIGMOID)
tanh = elementwise(saturating.TANH)
softsign = elementwise(saturating.SOFTSIGN)
softplus = elementwise(smooth.SOFTPLUS)
silu = elementwise(smooth.SILU)
mish = elementwise(smooth.MISH)
gelu_erf = elementwise(gaussian.GELU)
gelu_tanh = elementwise(gaussian.GELU_TANH)
erf = elementwise(gaussian.ERF)
erfc = elementwise(gaussian.ERFC)


def gelu(x: Input, approximate: str = "none") -> Tensor:
    """``x Phi(x)``, elementwise, with Phi the distribution function of N(0, 1); or with ``approximate="tanh"``
    ``0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))``.

    Source: Hendrycks & Gimpel 2016, arXiv 1606.08415

    >>> round(F.gelu([1.0]).item(), 6), round(F.gelu([1.0], approximate="tanh").item(), 6)
    (0.841345, 0.841192)
    """
    forms = {"none": gelu_erf, "tanh": gelu_tanh}
    return forms[check_name(approximate, forms, "gelu: approximate")](x)


def prelu(x: Input, weight: Input) -> Tensor:
    """``x if x > 0 else weight * x`` with learned slopes: one for all, or one per channel (axis 1 of x, or its only axis).

    The gradient of a slope is the sum of ``min(0, x) g``. At x = 0 the slope is `weight`.

    Source: He et al. 2015, arXiv 1502.01852

    >>> F.prelu([[-4.0, 4.0]], Tensor([0.25]))
    Tensor([[-1.,  4.]])
    """
    weight = as_tensor(weight)
    x = operand_array(x, weight, "prelu: x")
    ndim = len(x.shape)
    if weight.size == 1:
        return ops.prelu(x, weight if weight.ndim <= ndim else shape.reshape(weight, shape=()))
    if weight.shape != x.shape[ndim > 1:][:1]:
        raise ValueError(f"prelu: got a weight of shape {weight.shape} for x of shape {x.shape}; expected one slope, or one per "
                         "channel (axis 1)")
    return ops.prelu(x, weight if ndim < 3 else shape.reshape(weight, shape=(weight.size,) + (1,) * (ndim - 2)))


def rrelu(x: Input, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False,
          rng: int | Generator | None = None) -> Tensor:
    """``x if x > 0 else a x``: in training a ~ U(lower, upper) is drawn for every element, in evaluation it is the mean.

    Training needs `rng`; a seed draws the same slopes whatever the number of threads. The default bounds are PyTorch's; the paper
    draws 1/a from U(3, 8).

    Source: Xu et al. 2015, arXiv 1505.00853

    >>> F.rrelu([-24.0, 24.0], training=False)
    Tensor([-5.5, 24. ])
    """
    lower, upper = piecewise.RRELU.bind("rrelu", (lower, upper))
    x = as_tensor(x)
    if not training:
        return leaky_relu(x, 0.5 * (lower + upper))
    return ops.prelu(x, uniform(new_place(rng, "rrelu in training"), x.shape, x.dtype, lower, upper))


def maxout(x: Input, pieces: int) -> Tensor:
    """The largest of each group of `pieces` neighbours along the last axis: x (..., units * pieces) gives (..., units).

    The gradient goes to the winner; in a tie that is the piece of the lowest index.

    Source: Goodfellow et al. 2013, arXiv 1302.4389

    >>> F.maxout([[1.0, 3.0, -5.0, -4.0]], 2)
    Tensor([[ 3., -4.]])
    """
    return ops.maxout(_by_pieces(as_tensor(x), pieces))


def maxout_winners(x: Input, pieces: int) -> Array:
    """Which piece of each group wins (in a tie the first): integers of shape (..., units). No gradient.

    >>> F.maxout_winners([[1.0, 3.0, -4.0, -4.0]], 2)
    array([[1, 0]])
    """
    return ops.maxout_with_winners(_by_pieces(as_tensor(x), pieces).array)[1]


def _by_pieces(x: Tensor, pieces: int) -> Tensor:
    pieces = check_count(pieces, "maxout: pieces")
    if x.ndim == 0 or x.shape[-1] % pieces:
        raise ValueError(f"maxout: got x of shape {x.shape} and {pieces} pieces; expected a last axis divisible by {pieces}")
    return shape.reshape(x, shape=(*x.shape[:-1], x.shape[-1] // pieces, pieces))


# For `import *` (after a plain `__all__ = ...`, mypy would find no name here).
vars()["__all__"] = [
    name for name, f in vars().items() if getattr(f, "__module__", "") in (__name__, __package__) and not name.startswith("_")]
