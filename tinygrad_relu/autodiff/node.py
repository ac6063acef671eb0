"""A node: an array, and how it was made. The whole graph of a computation is nothing but nodes that point backwards."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ContextDecorator, contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass
from itertools import count
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Pull = Callable[..., Any]

next_order = count().__next__       # a result is made after its inputs, so this number is a topological order

bare = object.__new__       # past __init__, which copies and checks

_grad_mode: ContextVar[bool] = ContextVar("grad_mode", default=True)
is_grad_enabled = _grad_mode.get


class Node:
    """An array that knows how it was made.

    References point from a result to its inputs only, so a graph dies with its last result. Every array in a graph is
    C-contiguous, which is the one layout that kernels take; the gates (`Tensor(...)`, `checks.as_floats`) see to it.

    Attributes
    ----------
    array : ndarray
        The value.
    requires_grad : bool
        Whether gradients should flow to or through this node.
    grad : ndarray or None
        On a leaf, what `backward` has collected; None means that no gradient has arrived.
    op : Op or None
        The operation that made it; None for a leaf.
    parents : sequence of (Node or None), or None
        For each input of the operation, the node to which a gradient flows back, None where there is no such node.
        None altogether once the graph has been freed.
    values : sequence
        For each input, its array (or number, or index ...), which is what derivative rules are computed from.
    saved : Any
        What the operation computed on the side and its fused pullback wants to find again (the winners of a maxout, say).
    params : dict
        The options of the operation.
    order : int
        When it was made.
    home : ndarray or None
        Where the gradient of a parameter lies in the flat buffer of its optimizer.
    hooks : OrderedDict
        What wants to see the gradient. Unset until the first hook is registered, so that making a node need not.
    """

    __slots__ = ("__weakref__", "array", "grad", "home", "hooks", "op", "order", "params", "parents", "requires_grad",
                 "saved", "values")

    result: ClassVar[type[Node]]    # the class of what an operation on such a node returns

    array: Array
    requires_grad: bool
    grad: Array | None
    op: Any                         # Op, or None
    parents: Any                    # Sequence[Node | None], or None
    values: Sequence[Any]
    saved: Any
    params: dict[str, Any]
    order: int
    home: Array | None
    hooks: Any

    def _become_leaf(self, array: Array, requires_grad: bool) -> None:
        self.array = array
        self.requires_grad = requires_grad
        self.grad = self.op = self.saved = self.home = None
        self.parents = self.values = ()
        self.params = {}
        self.order = next_order()

    @classmethod
    def leaf(cls, array: Array, requires_grad: bool = False) -> Any:
        """A node that no operation made. It shares memory with `array`."""
        node = bare(cls)
        node._become_leaf(array, requires_grad)
        return node

    def release(self) -> None:
        """Forget how it was made, so that the memory of the graph behind it can go."""
        self.parents = None
        self.values = ()
        self.saved = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.array.dtype


Node.result = Node


class no_grad(ContextDecorator):
    """Inside, operations are computed and not recorded. A context manager and a decorator, local to its thread.

    Examples
    --------
    >>> from tinygrad_relu import Tensor, no_grad
    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> with no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    """

    def __init__(self) -> None:
        self._tokens: list[Token[bool]] = []        # a stack, so that one instance may be entered again

    def _recreate_cm(self) -> no_grad:
        return no_grad()                            # a decorated function gets its own in every call

    def __enter__(self) -> no_grad:
        self._tokens.append(_grad_mode.set(False))
        return self

    def __exit__(self, *error: object) -> None:
        _grad_mode.reset(self._tokens.pop())


@contextmanager
def recording() -> Iterator[None]:
    """Inside, operations are recorded, even under `no_grad`."""
    token = _grad_mode.set(True)
    try:
        yield
    finally:
        _grad_mode.reset(token)


def value(x: Any) -> Any:
    """The array of a node; anything else as it is."""
    return x.array if isinstance(x, Node) else x


@dataclass(frozen=True, eq=False)
class Op:
    """A differentiable operation.

    Calling an op on plain arrays computes; calling it on nodes computes and records. Derivative rules are written with
    ops themselves, and so run on plain arrays in the ordinary case, and on nodes where second derivatives are wanted.

    Attributes
    ----------
    name : str
    forward : callable
        ``forward(*arrays, **params) -> array``: checks its input, allocates the result and launches a kernel.
    pull : sequence of callables, or callable
        ``pull[i](g, y, *inputs, **params)``: the gradient of input i, given the gradient g of the result y; None for an
        input that has none (labels, say). An op of any number of inputs gives a function of i instead.
        Broadcasting is not its business: the tape sums the result down to the shape of the input.
    fused : callable, optional
        ``fused(g, y, saved, into, add, *inputs, **params)``: the same gradients by one kernel, for plain arrays: that of
        input i is written to ``into[i]``, or added to it where bit i of the number `add` is set (see `adds`). An empty array
        means that nobody asks for it.
    saves : bool
        Whether `forward` returns a pair (y, saved): what it computed on the side, for the fused pullback.
    adds : bool
        Whether `fused` can add, one input after the other (which may be one node). Then a gradient is written straight to
        where it belongs: the home of a leaf, or what is under way already.
    """

    name: str
    forward: Callable[..., Any]
    pull: Sequence[Pull | None] | Callable[[int], Pull] = ()
    fused: Callable[..., None] | None = None
    saves: bool = False
    adds: bool = False

    def __call__(self, *inputs: Any, **params: Any) -> Any:
        kind: Any = None            # the class of the result; None where all inputs are plain arrays
        flows = False               # whether a gradient will flow through here
        values: list[Any] = []
        parents: list[Node | None] = []
        for x in inputs:
            parent = None
            if isinstance(x, Node):
                kind = x.result
                if x.requires_grad:
                    flows = True
                    parent = x
                x = x.array
            values.append(x)
            parents.append(parent)
        y, saved = self.forward(*values, **params), None
        if self.saves:
            y, saved = y
        if not flows or not is_grad_enabled():
            return y if kind is None else kind.leaf(y)
        node: Any = bare(kind)      # written out, not a method: every operation passes here
        node.array = y
        node.requires_grad = True
        node.grad = node.home = None
        node.op = self
        node.parents = parents
        node.values = values
        node.saved = saved
        node.params = params
        node.order = next_order()
        return node

    def pull_of(self, i: int) -> Pull:
        """The derivative rule of input i."""
        rule = self.pull(i) if callable(self.pull) else self.pull[i]
        if rule is None:
            raise TypeError(f"{self.name}: input {i} has no gradient, but requires one")
        return rule

    def __repr__(self) -> str:
        return f"Op({self.name!r})"

