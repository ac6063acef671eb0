"""Derivatives of whole functions: Jacobian, Hessian, and the product of a Hessian with a vector.

All three differentiate `f` at leaves of their own, so no graph and no ``.grad`` of the caller is touched; and what they
return has no history: to differentiate further, nest `grad` with ``create_graph=True``, not these. Two walks
suffice for a Hessian-vector product, as long as one each for the value: H v is the gradient of (gradient . v) (Pearlmutter
1994, Fast exact multiplication by the Hessian). A Jacobian takes one walk per entry of the result: it is for small ones.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..checks import as_floats
from .node import Array, Node, recording, value
from .tape import grad


def hvp(f: Callable[..., Any], inputs: Node | Sequence[Node], vectors: Any) -> Any:
    """The Hessian of the scalar ``f(*inputs)``, times `vectors`, without ever forming the Hessian.

    Parameters
    ----------
    f : callable
        Takes the inputs, returns a Tensor of one element.
    inputs : Tensor or sequence of Tensors
        Where. They need not require a gradient.
    vectors : array_like or sequence of array_like
        One for each input, of its shape: the direction.

    Returns
    -------
    Tensor or tuple of Tensors
        Of the shape and dtype of each input; zeros for one that `f` does not depend on, or only linearly. At a kink, and where
        there is no second derivative by nature (piecewise linear functions), that of the piece, which is 0.

    Raises
    ------
    TypeError
        If an input, or what `f` returns, is no Tensor.
    ValueError
        If `f` returns more than one number, or the vectors do not fit the inputs.

    Examples
    --------
    >>> import tinygrad_relu as tg
    >>> hvp(lambda x: (x**3).sum(), tg.Tensor([1.0, 2.0]), [1.0, 1.0])      # the Hessian is diag(6 x)
    Tensor([ 6., 12.])
    """
    with _at(inputs, "hvp") as at:
        if not isinstance(inputs, Node) and not isinstance(vectors, Iterable):
            raise TypeError(f"hvp: the vectors are {type(vectors).__name__}; expected one for each input")
        given = [vectors] if isinstance(inputs, Node) else list(vectors)
        if len(given) != len(at):
            raise ValueError(f"hvp: got {len(given)} vectors for {len(at)} inputs; expected one for each")
        directions = [as_floats(value(v), x.dtype, f"hvp: vector {i}") for i, (v, x) in enumerate(zip(given, at))]
        for i, (v, x) in enumerate(zip(directions, at)):
            if v.shape != x.shape:
                raise ValueError(f"hvp: vector {i} has shape {v.shape}; expected {x.shape}, the shape of the input")
        slopes = _gradient(f, at, "hvp")
        along: Any = sum((g * v).sum() for g, v in zip(slopes, directions))
        products = grad(along, at) if along.requires_grad else tuple(x.result.leaf(np.zeros_like(x.array)) for x in at)
    return products[0] if isinstance(inputs, Node) else products


def jacobian(f: Callable[..., Any], inputs: Node | Sequence[Node]) -> Any:
    """All first derivatives of ``f(*inputs)``: entry [i..., j...] is that of entry i... of the result by entry j... of an input.

    Parameters
    ----------
    f : callable
        Takes the inputs, returns a Tensor of any shape.
    inputs : Tensor or sequence of Tensors
        Where. They need not require a gradient.

    Returns
    -------
    Tensor or tuple of Tensors
        For each input, of the shape of the result followed by that of the input; zeros where `f` does not depend on it.

    Raises
    ------
    TypeError
        If an input, or what `f` returns, is no Tensor.

    Examples
    --------
    >>> import tinygrad_relu as tg
    >>> jacobian(lambda x: x**2, tg.Tensor([1.0, 3.0]))
    Tensor([[2., 0.],
            [0., 6.]])
    """
    with _at(inputs, "jacobian") as at:
        blocks = _rows(_result(f, at, "jacobian"), at)
    return blocks[0] if isinstance(inputs, Node) else blocks


def hessian(f: Callable[..., Any], inputs: Node | Sequence[Node]) -> Any:
    """All second derivatives of the scalar ``f(*inputs)``.

    Parameters
    ----------
    f : callable
        Takes the inputs, returns a Tensor of one element.
    inputs : Tensor or sequence of Tensors
        Where. They need not require a gradient.

    Returns
    -------
    Tensor or tuple of tuples of Tensors
        For one Tensor, of its shape twice over. For several, block [i][j] holds the derivatives by input i and by input j, of
        the shape of i followed by that of j. About kinks see `hvp`.

    Raises
    ------
    TypeError
        If an input, or what `f` returns, is no Tensor.
    ValueError
        If `f` returns more than one number.

    Examples
    --------
    >>> import tinygrad_relu as tg
    >>> hessian(lambda x: x.prod(), tg.Tensor([2.0, 3.0, 5.0]))
    Tensor([[0., 5., 3.],
            [5., 0., 2.],
            [3., 2., 0.]])
    """
    with _at(inputs, "hessian") as at:
        blocks = tuple(_rows(g, at) for g in _gradient(f, at, "hessian"))
    return blocks[0][0] if isinstance(inputs, Node) else blocks


@contextmanager
def _at(inputs: Node | Sequence[Node], name: str) -> Iterator[list[Node]]:
    """Leaves with the values of the inputs, and recording on, even under `no_grad`."""
    if not isinstance(inputs, (Node, Iterable)):
        raise TypeError(f"{name}: got {type(inputs).__name__}; expected a Tensor, or several")
    nodes = [inputs] if isinstance(inputs, Node) else list(inputs)
    for i, x in enumerate(nodes):
        if not isinstance(x, Node):
            raise TypeError(f"{name}: input {i} is {type(x).__name__}; expected a Tensor")
    with recording():
        yield [x.result.leaf(x.array, requires_grad=True) for x in nodes]


def _result(f: Callable[..., Any], at: list[Node], name: str) -> Node:
    y = f(*at)
    if not isinstance(y, Node):
        raise TypeError(f"{name}: f returned {type(y).__name__}; expected one Tensor")
    return y


def _gradient(f: Callable[..., Any], at: list[Node], name: str) -> tuple[Any, ...]:
    """The gradient of the scalar f, as nodes that can be differentiated again."""
    y = _result(f, at, name)
    if y.array.size != 1:
        raise ValueError(f"{name}: f returned shape {y.shape}; expected one number")
    if not y.requires_grad:
        return tuple(x.result.leaf(np.zeros_like(x.array)) for x in at)
    return grad(y, at, create_graph=True)


def _rows(y: Node, at: list[Node]) -> tuple[Any, ...]:
    """The derivatives of y, entry by entry."""
    blocks = [np.zeros((y.array.size, *x.shape), x.dtype) for x in at]
    if y.requires_grad:
        seeds: Array = np.eye(y.array.size, dtype=y.dtype)
        for k, seed in enumerate(seeds):
            for block, g in zip(blocks, grad(y, at, seed.reshape(y.shape), retain_graph=True)):
                block[k] = g.array
    return tuple(x.result.leaf(block.reshape((*y.shape, *x.shape))) for block, x in zip(blocks, at))
