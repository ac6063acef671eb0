"""Turns functions of arrays and nodes into functions of anything array_like: Tensors stay, all else is converted."""
from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Any, Concatenate, ParamSpec, TypeVar

from ..checks import as_floats
from ..kernels.formulas.record import Elementwise
from ..ops.activation import activation_op
from ..ops.elementary import elementwise_function
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
    """A function of `ops` for users: its first argument may be anything array_like. Name, signature and docstring are those of f.

    >>> lift(lambda x: x * 2)([1, 2])
    Tensor([2., 4.])
    """

    def lifted(x: Input, *args: P.args, **options: P.kwargs) -> R:
        return f(x if isinstance(x, Tensor) else as_tensor(x), *args, **options)

    update_wrapper(lifted, f)
    lifted.__module__ = __package__     # where pickle finds it
    return lifted   # type: ignore[return-value]      # for mypy x is positional only; at run time x=... works too


def elementwise(record: Elementwise[P]) -> Callable[Concatenate[Input, P], Tensor]:
    """The function of a record, for users: as `lift`, in one call instead of two."""
    op, usual = activation_op(record), record.defaults

    def function(x: Input, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        p = usual if not args and not kwargs else record.bind(record.name, args, kwargs)
        return op(x if isinstance(x, Tensor) else as_tensor(x), p=p)

    method: Any = elementwise_function(record)
    update_wrapper(function, method)
    function.__module__ = __package__
    return function     # type: ignore[return-value]      # as in `lift`
