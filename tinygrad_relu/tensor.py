"""Tensor: an array, its gradient, and the operators."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Self

import numpy as np

from .autodiff import hooks, tape
from .autodiff.guard import current_recorder, guarded, read, refuse_while_recording, structure_changed
from .autodiff.node import Array, Node, is_grad_enabled, made_leaf, value
from .checks import as_finite_floats, as_floats, check_bool, check_dtype, copied, said
from .interop import Interoperable
from .kernels.formulas import piecewise, saturating, smooth
from .kernels.machine.door import copy, launch
from .missing import without
from .ops import elementary, elementwise, indexing, linalg, normalization, reductions, shape, sums
from .ops.activation import elementwise_function
from .ops.elementwise import operand, operand_array

Operator = Callable[["Tensor", Any], "Tensor"]


def _operators(op: Callable[..., Any]) -> tuple[Operator, Operator]:
    """An operation as two operators: for ``x + other``, and for ``other + x`` where `other` is no Tensor."""

    def left(self: Tensor, other: Any) -> Tensor:
        return op(self, operand(other, self))

    def right(self: Tensor, other: Any) -> Tensor:
        return op(operand(other, self), self)

    return left, right


def _in_place(op: Callable[..., Any]) -> Operator:
    """``w -= step``: under `no_grad` it changes a leaf that requires a gradient, as in PyTorch; else it is ``w = w - step``."""

    def changed(self: Tensor, other: Any) -> Any:
        if is_grad_enabled() or self.op is not None or not self.requires_grad:
            return NotImplemented
        self.data = op(self, operand(other, self))
        return self

    return changed


def _comparison(ufunc: np.ufunc) -> Callable[[Tensor, Any], Any]:
    def compared(self: Tensor, other: Any) -> Any:
        try:
            return guarded(elementwise.compare(ufunc, self, operand(other, self)))
        except TypeError:           # not a number: == is False, and < raises Python's TypeError
            return NotImplemented

    return compared


@without("Tensor")
class Tensor(Interoperable):
    """An n-dimensional array of float32 or float64 that remembers how it was made.

    The numbers in `array` are copied; float32 and float64 keep their type, integers become float64. With `requires_grad`,
    `backward` adds the gradient to ``grad``: None means that no gradient has arrived, zeros mean that the gradient is exactly
    zero. ``data`` holds the values; an assignment to ``data`` copies into the same memory.

    >>> x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    array([2., 4., 6.])
    """

    __slots__ = ()

    def __init__(self, array: Any, requires_grad: bool = False, dtype: Any = None) -> None:
        if not isinstance(requires_grad, (bool, np.bool_)):
            raise TypeError(f"Tensor: requires_grad is {said(requires_grad)}, expected True or False; for a dtype pass "
                            'dtype="float32" or "float64"')
        if _loses_gradient(array):
            raise TypeError("Tensor: a copy would lose the gradient of this Tensor; use it as it is, or copy x.detach()")
        floats = as_floats(value(array)) if dtype is None else as_finite_floats(value(array), dtype, "Tensor")
        made_leaf(self, copied(floats, np.array(floats, order="C")), bool(requires_grad))

    # -- the values ---------------------------------------------------------------------------------------------------

    @property
    def data(self) -> Array:
        return self.array if current_recorder() is None else guarded(self.array)

    @data.setter
    def data(self, values: Any) -> None:
        if self.op is not None:
            raise RuntimeError(f"data: this Tensor is a result of {self.op.name}, whose derivative needs it unchanged; expected "
                               "a leaf (x.detach() is one, and shares its memory)")
        array = as_finite_floats(value(values), self.array.dtype, "data")
        if array.shape != self.array.shape:
            raise ValueError(f"data: got values of shape {array.shape}; expected {self.array.shape}")
        if self.requires_grad and self.home is None:
            refuse_while_recording("assigns to a Tensor that requires a gradient and that no optimizer moves; call its "
                                   "requires_grad_(False) before, or use an optimizer")
        launch(copy, array, self.array)
        tape.changed([self])

    @property
    def ndim(self) -> int:
        return self.array.ndim

    @property
    def size(self) -> int:
        return self.array.size

    @property
    def T(self) -> Tensor:
        return self.transpose()

    def numpy(self) -> Array:
        """The values as a NumPy array that shares memory with the Tensor."""
        return guarded(self.array)

    def item(self) -> float:
        """The one number of a Tensor of size 1."""
        if self.array.size != 1:
            raise ValueError(f"a Tensor of shape {self.shape} is not one number (x.data.tolist() is a list of all)")
        return read(self.array)

    def detach(self) -> Tensor:
        """The same values, sharing memory, without the history."""
        return self.result.leaf(self.array)

    def astype(self, dtype: Any) -> Tensor:
        """The values as "float32" or "float64"; the Tensor itself if it has this dtype. The gradient is cast back.

        >>> Tensor([1.0, 2.0], requires_grad=True).astype("float32")
        Tensor([1., 2.], dtype=float32, requires_grad=True)
        """
        found = check_dtype(dtype, "; for other dtypes use x.data.astype(...), an array without a gradient")
        return self if found == self.dtype else elementwise.cast(self, dtype=found)

    def clone(self) -> Tensor:
        """A copy, through which gradients flow."""
        return elementwise.pos(self)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Set ``requires_grad`` of a leaf, and return the leaf."""
        if self.op is not None:
            raise RuntimeError(f"requires_grad_: this Tensor is a result of {self.op.name}; expected a leaf, such as x.detach()")
        self.requires_grad = check_bool(requires_grad, "requires_grad_: requires_grad")
        structure_changed()
        return self

    def __iter__(self) -> Iterator[Tensor]:
        """The parts along the first axis."""
        if not self.array.ndim:
            raise TypeError("a Tensor of shape () holds one number and cannot be iterated")
        return (self[i] for i in range(len(self.array)))

    def __contains__(self, number: Any) -> bool:
        return bool(np.any(self == number))

    def __len__(self) -> int:
        return len(self.array)

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        """The one number, truncated, as for a Python float."""
        return int(self.item())

    def __format__(self, spec: str) -> str:
        """The one number, formatted: ``f"{loss:.4f}"``; without a format, as `repr`."""
        return format(float(self), spec) if spec else str(self)

    def __bool__(self) -> bool:
        if self.array.size != 1:
            raise ValueError(f"the truth value of a Tensor of shape {self.shape} is ambiguous; write (x > 0).any() or .all()")
        return bool(self.item())

    __getitem__ = indexing.getitem

    def __setitem__(self, index: Any, values: Any) -> None:
        if self.requires_grad:
            raise RuntimeError("assigning into a Tensor that requires a gradient would change what its graph remembers; "
                               "build a new Tensor, or write to .data before the Tensor is used")
        if _loses_gradient(values):
            raise RuntimeError("assigning a Tensor that requires a gradient would lose it; join Tensors with tg.stack, "
                               "tg.concatenate or tg.where, or assign x.detach()")
        array = as_floats(value(values), self.dtype, "x[index] = values")
        try:
            launch(_put, array, index, self.array)
        except (IndexError, ValueError) as error:
            raise type(error)(f"x[index] = values: {error}, in shape {self.shape}") from None

    def __repr__(self) -> str:
        text = np.array2string(self.array, separator=", ", prefix="Tensor(")
        text += f", shape={self.shape}" if not self.array.size and self.array.ndim > 1 else ""
        dtype = "" if self.array.dtype == np.float64 else f", dtype={self.array.dtype}"
        grad = ", requires_grad=True" if self.requires_grad else ""
        return f"Tensor({text}{dtype}{grad})"

    backward = tape.backward
    register_hook = hooks.register_hook

    # -- arithmetic, with NumPy's broadcasting ------------------------------------------------------------------------

    __add__, __radd__ = _operators(elementwise.add)
    __sub__, __rsub__ = _operators(elementwise.sub)
    __mul__, __rmul__ = _operators(elementwise.mul)
    __truediv__, __rtruediv__ = _operators(elementwise.div)
    __pow__, __rpow__ = _operators(elementary.power)
    __iadd__, __isub__ = _in_place(elementwise.add), _in_place(elementwise.sub)
    __imul__, __itruediv__ = _in_place(elementwise.mul), _in_place(elementwise.div)

    def __pos__(self) -> Tensor:
        return elementwise.pos(self)

    def __neg__(self) -> Tensor:
        return elementwise.neg(self)

    def __matmul__(self, other: Any) -> Tensor:
        return linalg.matmul(self, other if isinstance(other, Node) else operand_array(other, self))

    def __rmatmul__(self, other: Any) -> Tensor:
        return linalg.matmul(operand_array(other, self), self)

    # -- comparisons: arrays of booleans, without a gradient ----------------------------------------------------------

    __lt__ = _comparison(np.less)
    __le__ = _comparison(np.less_equal)
    __gt__ = _comparison(np.greater)
    __ge__ = _comparison(np.greater_equal)
    __eq__ = _comparison(np.equal)
    __ne__ = _comparison(np.not_equal)
    __hash__ = Node.__hash__        # by identity, so a set or dict of Tensors never calls __eq__

    # -- NumPy's functions as methods: each is a plain function of `ops` -----------------------------------------------

    abs = __abs__ = elementary.abs
    exp = elementwise_function(smooth.EXP)
    expm1 = elementwise_function(smooth.EXPM1)
    log = elementwise_function(smooth.LOG)
    log1p = elementwise_function(smooth.LOG1P)
    sqrt = elementary.sqrt
    square = elementary.square
    sin = elementary.sin
    cos = elementary.cos
    clip = elementwise.clip
    relu = elementwise_function(piecewise.RELU)
    sigmoid = elementwise_function(saturating.SIGMOID)
    tanh = elementwise_function(saturating.TANH)
    softmax = normalization.softmax
    log_softmax = normalization.log_softmax

    sum = sums.sum
    mean = sums.mean
    cumsum = reductions.cumsum
    max = reductions.max
    min = reductions.min
    argmax = reductions.argmax
    argmin = reductions.argmin
    prod = reductions.prod
    var = reductions.var
    std = reductions.std
    logsumexp = normalization.logsumexp

    swapaxes = shape.swapaxes
    squeeze = shape.squeeze
    unsqueeze = shape.expand_dims
    flatten = shape.flatten

    def reshape(self, *sizes: Any) -> Tensor:
        """`tg.reshape`; the sizes may also be separate arguments, as in ``x.reshape(2, -1)``."""
        return shape.RESHAPE(self, shape=_several(sizes))

    def transpose(self, *axes: Any) -> Tensor:
        """`tg.transpose`; the axes may also be separate arguments. Without arguments, their order is reversed."""
        return shape.transpose(self, _several(axes) or None)

    def permute(self, *axes: Any) -> Tensor:
        """`tg.permute`; the axes may also be separate arguments."""
        return shape.permute(self, _several(axes))


def _put(values: Array, index: Any, out: Array) -> None:
    out[index] = values


Node.result = Tensor


def _loses_gradient(x: Any) -> bool:
    """Whether x requires a gradient, which a copy of its values alone would lose."""
    return isinstance(x, Node) and x.requires_grad and is_grad_enabled()


def _several(numbers: tuple[Any, ...]) -> tuple[Any, ...]:
    """The numbers in a call ``f(2, 3)`` or ``f((2, 3))``."""
    if len(numbers) != 1:
        return numbers
    only = numbers[0].tolist() if isinstance(numbers[0], np.ndarray) else numbers[0]
    return tuple(only) if isinstance(only, (tuple, list)) else (only,)
