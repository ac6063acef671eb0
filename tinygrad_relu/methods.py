"""The methods that a Tensor has from NumPy's arrays: elementwise functions and reductions.

Each is one operation. What it says about kinks, ties and special values stands with the function of the same name
(`functional.array`, `functional.reduction`).
"""
from __future__ import annotations

from typing import Any, Self

from .autodiff.node import Node
from .ops import elementary, reduction, softmax
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
