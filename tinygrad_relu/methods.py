"""The methods that a Tensor has from NumPy's arrays: elementwise functions, shapes and reductions.

Each is one operation. What it says about kinks, ties and special values stands with the function of the same name
(`functional.array`, `functional.shapes`, `functional.reduction`).
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from .autodiff.node import Node
from .ops import elementary, reduction, shape, softmax
from .ops.shape import Axis


class ArrayMethods(Node):
    """What `Tensor` inherits. (Annotated with Self; of a Parameter, too, the result is a plain Tensor.)"""

    __slots__ = ()

    # -- elementwise --------------------------------------------------------------------------------------------------

    def abs(self) -> Self:
        """The absolute value: ``x.abs()`` or ``abs(x)``; its slope at 0 is 0."""
        return elementary.abs_(self)

    __abs__ = abs

    def exp(self) -> Self:
        """``e^x``."""
        return elementary.exp(self)

    def expm1(self) -> Self:
        """``e^x - 1``, accurate near 0."""
        return elementary.expm1(self)

    def log(self) -> Self:
        """The natural logarithm."""
        return elementary.log(self)

    def log1p(self) -> Self:
        """``ln(1 + x)``, accurate near 0."""
        return elementary.log1p(self)

    def sqrt(self) -> Self:
        """The square root."""
        return elementary.sqrt(self)

    def square(self) -> Self:
        """``x * x``."""
        return elementary.square(self)

    def sin(self) -> Self:
        """The sine."""
        return elementary.sin(self)

    def cos(self) -> Self:
        """The cosine."""
        return elementary.cos(self)

    # -- shapes (those that share memory say so) ----------------------------------------------------------------------

    def permute(self, *axes: Any) -> Self:
        """The axes in this order: PyTorch's name of `transpose`. As a tuple, or one by one."""
        order = axes[0] if len(axes) == 1 and isinstance(axes[0], (tuple, list)) else axes
        return shape.transpose(self, axes=tuple(order))

    def swapaxes(self, axis1: int, axis2: int) -> Self:
        """Two axes in each other's place."""
        return shape.swapaxes(self, axis1, axis2)

    def squeeze(self, axis: Axis = None) -> Self:
        """Without axes of size 1: all of them, or those in `axis`. Shares memory, as `reshape`."""
        return shape.squeeze(self, axis)

    def unsqueeze(self, axis: int | Sequence[int]) -> Self:
        """With new axes of size 1, which are the axes `axis` of the result. Shares memory, as `reshape`."""
        return shape.expand_dims(self, axis)

    def flatten(self, start_axis: int = 0, end_axis: int = -1) -> Self:
        """The axes from `start_axis` to `end_axis`, both included, made one. Shares memory, as `reshape`."""
        return shape.flatten(self, start_axis, end_axis)

    # -- reductions ---------------------------------------------------------------------------------------------------

    def sum(self, axis: Axis = None, keepdims: bool = False) -> Self:
        """The sum over `axis` (None: all axes).

        >>> from tinygrad_relu import Tensor
        >>> Tensor([[1.0, 2.0], [3.0, 4.0]]).sum(axis=0)
        Tensor([4., 6.])
        """
        return reduction.sum_(self, axis=axis, keepdims=keepdims)

    def mean(self, axis: Axis = None, keepdims: bool = False) -> Self:
        """The mean over `axis` (None: all axes).

        >>> from tinygrad_relu import Tensor
        >>> Tensor([[1.0, 2.0], [3.0, 4.0]]).mean().item()
        2.5
        """
        return reduction.mean(self, axis=axis, keepdims=keepdims)

    def var(self, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> Self:
        """The mean squared distance to the mean: the sum of squares divided by n - ddof.

        >>> from tinygrad_relu import Tensor
        >>> x = Tensor([1.0, 3.0])
        >>> x.var().item(), x.var(ddof=1).item()
        (1.0, 2.0)
        """
        return reduction.var(self, axis=axis, ddof=ddof, keepdims=keepdims)

    def std(self, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> Self:
        """The square root of `var`."""
        return reduction.std(self, axis=axis, ddof=ddof, keepdims=keepdims)

    def max(self, axis: Axis = None, keepdims: bool = False) -> Self:
        """The largest number over `axis` (None: all axes); in a tie the first gets the gradient.

        >>> from tinygrad_relu import Tensor
        >>> Tensor([[1.0, 2.0], [4.0, 3.0]]).max(axis=1)
        Tensor([2., 4.])
        """
        return reduction.max_(self, axis=axis, keepdims=keepdims)

    def min(self, axis: Axis = None, keepdims: bool = False) -> Self:
        """The smallest number over `axis`, as `max`."""
        return reduction.min_(self, axis=axis, keepdims=keepdims)

    def argmax(self, axis: int | None = None, keepdims: bool = False) -> Any:
        """Where the largest number is: plain integers, no gradient. None: of x made flat.

        >>> from tinygrad_relu import Tensor
        >>> Tensor([[1.0, 2.0], [4.0, 3.0]]).argmax(axis=1)
        array([1, 0])
        """
        return reduction.argmax(self, axis, keepdims)

    def argmin(self, axis: int | None = None, keepdims: bool = False) -> Any:
        """Where the smallest number is, as `argmax`."""
        return reduction.argmin(self, axis, keepdims)

    def prod(self, axis: Axis = None, keepdims: bool = False) -> Self:
        """The product over `axis` (None: all axes)."""
        return reduction.prod(self, axis=axis, keepdims=keepdims)

    def cumsum(self, axis: int | None = None) -> Self:
        """The running sum along one axis (None: of x made flat).

        >>> from tinygrad_relu import Tensor
        >>> Tensor([1.0, 2.0, 3.0]).cumsum()
        Tensor([1., 3., 6.])
        """
        return reduction.cumsum(self, axis=axis)

    def logsumexp(self, axis: Axis = None, keepdims: bool = False) -> Self:
        """``log sum exp(x)`` over `axis` (None: all axes), without overflow."""
        return softmax.logsumexp(self, axis=axis, keepdims=keepdims)
