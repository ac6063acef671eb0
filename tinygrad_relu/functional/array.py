"""The functions of arrays: those of `ops`, extended to any array_like, and functions of several operands.

Where operands tie, the first gets the gradient. At a kink, such as `abs` at 0 or `maximum` at a Python number, the slope is the
smallest in magnitude between those of the two sides, and the second derivative is 0. NaN gives NaN; where it wins a choice
(`maximum`, as in NumPy), it gets the gradient too.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import update_wrapper
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from ..autodiff.node import Node, value
from ..checks import as_floats, as_numbers
from ..kernels.formulas import smooth
from ..kernels.formulas.record import Elementwise
from ..ops import einsum as contraction
from ..ops import elementary, indexing, linalg, normalization, reductions, shape, sums
from ..ops import elementwise as arithmetic
from ..ops.activation import elementwise_function
from ..ops.axes import spelled
from ..ops.elementwise import operand, operand_array
from ..tensor import Tensor

Input = Any     # a Tensor, or anything that NumPy can make an array of

P = ParamSpec("P")
R = TypeVar("R")


def as_tensor(x: Input) -> Tensor:
    """A Tensor as it is; anything else as a Tensor without gradient, sharing memory where it can.

    >>> x = F.as_tensor([1, 2])
    >>> x, F.as_tensor(x) is x
    (Tensor([1., 2.]), True)
    """
    return x if isinstance(x, Tensor) else Tensor.leaf(as_floats(x, name="x"))


def lift(f: Callable[Concatenate[Tensor, P], R]) -> Callable[Concatenate[Input, P], R]:
    """The public form of a function f of `ops`: its first argument may be any array_like. Name, signature and docstring stay.

    >>> lift(lambda x: x * 2)([1, 2])
    Tensor([2., 4.])
    """

    def lifted(x: Input, *args: P.args, **options: P.kwargs) -> R:
        return f(as_tensor(x), *args, **options)

    return _public(update_wrapper(lifted, f))


def elementwise(record: Elementwise[P]) -> Callable[Concatenate[Input, P], Tensor]:
    """The public function of a record."""
    return _public(elementwise_function(record))


def _public(function: Any) -> Any:
    function.__module__ = __package__       # where pickle finds it
    return function


_before = set(vars())

abs = lift(elementary.abs)
exp = elementwise(smooth.EXP)
expm1 = elementwise(smooth.EXPM1)
log = elementwise(smooth.LOG)
log1p = elementwise(smooth.LOG1P)
sqrt = lift(elementary.sqrt)
square = lift(elementary.square)
sin = lift(elementary.sin)
cos = lift(elementary.cos)
clip = lift(arithmetic.clip)

sum = lift(sums.sum)
mean = lift(sums.mean)
var = lift(reductions.var)
std = lift(reductions.std)
cumsum = lift(reductions.cumsum)
max = lift(reductions.max)
min = lift(reductions.min)
argmax = lift(reductions.argmax)
argmin = lift(reductions.argmin)
prod = lift(reductions.prod)
logsumexp = lift(normalization.logsumexp)

reshape = lift(shape.reshape)
transpose = lift(shape.transpose)
permute = lift(shape.permute)
swapaxes = lift(shape.swapaxes)
squeeze = lift(shape.squeeze)
expand_dims = unsqueeze = lift(shape.expand_dims)
flatten = lift(shape.flatten)
broadcast_to = lift(shape.broadcast_to)
flip = lift(indexing.flip)
pad = lift(indexing.pad)
take_along_axis = lift(indexing.take_along_axis)
gather = lift(indexing.gather)
split = lift(shape.split)


def maximum(a: Input, b: Input) -> Tensor:
    """The larger of two numbers, elementwise, with broadcasting; NaN if one is NaN.

    In a tie the first gets the gradient. A Python number gets none, and the slope in a tie with it is 0: ``maximum(x, 0)`` is
    relu.

    >>> x, y = Tensor([1.0, 2.0, 3.0], requires_grad=True), Tensor([3.0, 2.0, 1.0], requires_grad=True)
    >>> tg.maximum(x, y).sum().backward()
    >>> x.grad, y.grad
    (array([0., 1., 1.]), array([1., 0., 0.]))
    """
    return arithmetic.maximum(*_pair(a, b))


def minimum(a: Input, b: Input) -> Tensor:
    """The smaller of two numbers, elementwise, with broadcasting; NaN if one is NaN. The gradient is as in `maximum`.

    >>> tg.minimum([1.0, 5.0], 3.0)
    Tensor([1., 3.])
    """
    return arithmetic.minimum(*_pair(a, b))


def where(condition: Input, a: Input, b: Input) -> Tensor:
    """`a` where the condition holds (is not 0), `b` elsewhere, with broadcasting. The condition has no gradient.

    Numbers that are not chosen get a gradient of exactly 0, even where they are NaN. The operation that made them may multiply it
    by an infinite slope, which is NaN: write not ``where(x > 0, 1 / x, 0)`` but ``where(x > 0, 1 / where(x > 0, x, 1), 0)``.

    >>> x = Tensor([-1.0, 4.0], requires_grad=True)
    >>> tg.where(x > 0, x, 0.0)
    Tensor([0., 4.], requires_grad=True)
    """
    holds = as_numbers(value(condition), "where: condition")
    return arithmetic.where(holds if holds.dtype == bool else holds != 0, *_pair(a, b))


def _pair(a: Input, b: Input) -> tuple[Any, Any]:
    """Two operands of one operation: numbers stay numbers, and arrays take the dtype of a Tensor (or of `a`)."""
    if not isinstance(a, Tensor) and not isinstance(b, Tensor):
        if np.ndim(a) == 0:
            b = as_tensor(b)
        else:
            a = as_tensor(a)
    like = a if isinstance(a, Tensor) else b
    return operand(a, like), operand(b, like)


def matmul(a: Input, b: Input) -> Tensor:
    """``a @ b``: products of vectors (inner,), matrices (rows, inner) @ (inner, columns), and stacks of matrices.

    Leading axes broadcast. The axis that a vector lacks is missing from the result.

    >>> tg.matmul([[1.0, 2.0]], [[3.0], [4.0]]), tg.matmul([[[1.0, 2.0]]], [10.0, 1.0])
    (Tensor([[11.]]), Tensor([[12.]]))
    """
    return linalg.matmul(*_together("matmul", (a, b)))


def einsum(subscripts: str, *operands: Input) -> Tensor:
    """Sums of products in Einstein's notation: ``einsum("ij,jk->ik", a, b)`` is ``a @ b``.

    Every axis has a letter; letters that the result lacks are summed over. A letter that occurs twice in one operand takes its
    diagonal; ``...`` means all other axes, which broadcast. Without ``->`` the result has the axes of the ellipsis, then the
    letters that occur once, in alphabetical order. Computed by matrix products, in the order that np.einsum_path finds. (NumPy's
    form with lists of integers is not supported.)

    >>> x = Tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> tg.einsum("ii", x).item(), tg.einsum("ij->j", x), tg.einsum("...j,j", x, [1.0, 10.0])
    (5.0, Tensor([4., 6.]), Tensor([21., 43.]))
    """
    if not isinstance(subscripts, str):
        raise TypeError(f"einsum: the subscripts are {type(subscripts).__name__}; expected text, such as 'ij,jk->ik'")
    return contraction.einsum(subscripts, *_together("einsum", operands))


@spelled()
def concatenate(tensors: Iterable[Input], axis: int | None = 0) -> Tensor:
    """Tensors joined along an existing axis (None: all of them flattened). Their other axes have equal lengths.

    Arrays take the dtype of the first Tensor; of two Tensors the wider dtype wins.

    >>> tg.concatenate([[1.0, 2.0], [3.0]])
    Tensor([1., 2., 3.])
    """
    return shape.concatenate(_together("concatenate", tensors), axis)


@spelled()
def stack(tensors: Iterable[Input], axis: int = 0) -> Tensor:
    """Tensors of one shape joined along a new axis, which is axis `axis` of the result. Dtypes as in `concatenate`.

    >>> tg.stack([[1.0, 2.0], [3.0, 4.0]], axis=1)
    Tensor([[1., 3.],
            [2., 4.]])
    """
    return shape.stack(_together("stack", tensors), axis)


def _together(name: str, operands: Iterable[Input]) -> list[Any]:
    """The operands of one operation: arrays take the dtype of the first Tensor."""
    if not isinstance(operands, Iterable) or isinstance(operands, (dict, set)):
        raise TypeError(f"{name}: got {type(operands).__name__}; expected several Tensors or arrays")
    found = list(operands)
    like = next((x for x in found if isinstance(x, Node)), None)
    return [as_tensor(x) if like is None else operand_array(x, like, name) for x in found]


_CPU_DEVICES = {1: "CPU", 3: "CUDA host", 11: "ROCm host", 13: "CUDA managed"}       # kDLCPU ...: what a CPU can read


def from_dlpack(x: Any, /, *, copy: bool | None = None) -> Tensor:
    """A Tensor over the memory of an array of another library (NumPy, PyTorch, JAX, ...): changes show on both sides.

    The array must hold float32 or float64, on the CPU, and require no gradient. An array that is not C-contiguous or not writable
    is copied, because a graph needs both; ``copy=True`` always copies, and ``copy=False`` raises a ValueError instead of copying.

    >>> array = np.array([1.0, 2.0])
    >>> x = tg.from_dlpack(array)
    >>> array[0] = 5.0
    >>> x
    Tensor([5., 2.])
    """
    kind = type(x).__name__
    if not hasattr(x, "__dlpack__"):
        raise TypeError(f"from_dlpack: got {kind}; expected an array of a library that supports DLPack")
    device = tuple(map(int, x.__dlpack_device__()))
    if device[0] not in _CPU_DEVICES:
        raise ValueError(f"from_dlpack: the {kind} is on the DLPack device {device}; expected (1, 0), the CPU: copy it there "
                         "first")
    try:
        array = np.from_dlpack(x)
    except (RuntimeError, BufferError) as error:    # NumPy has no such numbers: bfloat16, say (from 2.5 on a BufferError)
        if isinstance(error, BufferError) and "dtype" not in str(error):
            raise
        array = None
    if array is None or array.dtype not in (np.float32, np.float64):
        raise TypeError(f"from_dlpack: the {kind} holds {getattr(x, 'dtype', 'other')} numbers, expected float32 or float64, as "
                        "memory is shared; for a converted copy use Tensor(...)")
    if copy or not array.flags.carray:      # carray: C-contiguous, aligned, writable
        if copy is False:
            why = "read-only" if not array.flags.writeable else "not C-contiguous"
            raise ValueError(f"from_dlpack: the {kind} of shape {array.shape} is {why}, and every array in a graph is writable "
                             "and C-contiguous, so it has to be copied; got copy=False")
        array = np.array(array, order="C")
    return Tensor.leaf(array)


# For `import *` (after a plain `__all__ = ...`, mypy would find no name here).
vars()["__all__"] = [name for name in vars() if not name.startswith("_") and name not in _before]
