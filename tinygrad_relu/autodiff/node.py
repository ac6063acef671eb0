"""A node is an array that knows how it was made; an op makes nodes. Nodes that point to their inputs are the whole graph."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ContextDecorator
from contextvars import ContextVar, Token
from dataclasses import dataclass
from inspect import signature
from itertools import count
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ..checks import as_floats

Array = NDArray[Any]
Pull = Callable[..., Any]

next_order = count().__next__       # a result is made after its inputs, so this number is a topological order
bare = object.__new__               # a node without __init__, which copies and checks


class Node:
    """An array that knows how it was made.

    References point from a result to its inputs only, so a graph is freed with its last result. Every array in a graph is
    C-contiguous, the one layout that kernels take; `Tensor(...)` and `checks.as_floats` make it so.
    """

    __slots__ = ("__weakref__", "array", "grad", "home", "hooks", "op", "order", "params", "parents", "requires_grad",
                 "saved", "values")

    array: Array
    requires_grad: bool
    grad: Array | None          # of a leaf: collected by backward. None: no gradient has arrived
    op: Any                     # the Op that made this node; None for a leaf
    parents: Any                # for each input of op, the Node that its gradient goes to, or None; once freed, just None
    values: Sequence[Any]       # for each input of op, its array (or number, or index): derivative rules are computed from these
    saved: Any                  # intermediate results that the fused pullback needs again (such as the winners of a maxout)
    params: dict[str, Any]      # the options of op
    order: int                  # a count of nodes: larger than that of every input
    home: Array | None          # of a parameter: its part of a flat buffer for gradients (see parameters.py)
    hooks: Any                  # an OrderedDict (see hooks.py), or None

    result: ClassVar[type[Node]]    # the class of the results of operations: Tensor

    @classmethod
    def leaf(cls, array: Array, requires_grad: bool = False) -> Any:
        """A node that no operation made. It shares memory with `array`."""
        return made_leaf(bare(cls), array, requires_grad)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.array.dtype


Node.result = Node


def made_leaf(node: Any, array: Array, requires_grad: bool = False) -> Any:
    """A node without any fields, made a leaf. (`Node.leaf` is 0.1 us slower.)"""
    node.array, node.requires_grad = array, requires_grad
    node.grad = node.op = node.saved = node.home = node.hooks = None
    node.parents, node.values, node.params = (), (), {}
    node.order = next_order()
    return node


def value(x: Any) -> Any:
    """The array of a node; anything else as it is."""
    return x.array if isinstance(x, Node) else x


def absent(like: Any) -> Array:
    """An empty array of the type of `like`: how a kernel is told that there is no bias, say, or that a gradient is not needed."""
    return like[:0] if isinstance(like, np.ndarray) and like.ndim else np.ravel(like)[:0]


@dataclass(frozen=True, eq=False)
class Op:
    """A differentiable operation: a forward computation, and a derivative rule for each input.

    Called on arrays it computes; called on Tensors it computes and records. Rules are called in the same two ways: with
    arrays in an ordinary backward, and with Tensors where a second derivative is wanted. So they are written with operators
    that both have, or with other ops.

    - `forward`: ``forward(*arrays, **params)``, a new C-contiguous array, computed by NumPy, or by a kernel through `launch`.
    - `pull`: ``pull[i](g, y, *inputs, **params)``, the gradient of input i, given the gradient g of the result y; None for an
      input without one (labels, say). If the number of inputs varies, ``pull(i)`` returns the rule. A rule may ignore
      broadcasting: its result is summed to the shape of the input.
    - `fused`: ``fused(g, y, saved, into, add, *inputs, **params)``, the same gradients by one kernel, for arrays: that of input i
      is written to ``into[i]``, or added to it where bit i of the number `add` is set (only if `adds`). Where it is not needed,
      `into[i]` is empty.
    - `saves`, `saves_gradient`: whether `forward` returns a pair (y, saved); and whether `saved` is the gradient of the first
      input, the only one that has one, for g = 1. A backward pass that begins at such a result (a loss) takes it as it is.
    - `adds`, `scratch`: whether `fused` can add. If so, it writes straight to the flat buffer of an optimizer, or adds to a
      gradient that has already arrived along another path. (No two of `into` are the same array.) And whether `into` has one more
      array at its end, of the shape of g, to work in: g itself, if nothing else reads it.
    - `elementwise`, `multiplies`, `activation`, `p`, `index`, `pure`: for tables and pictures of a graph (`tg.explain`); the
      backward pass never reads them. `elementwise`: each entry of the result depends on one entry of each input. `multiplies`:
      each of the first two inputs is a factor in the gradient of the other. `activation`, `p`: the record of the activation
      applied last, and its parameters. `index`: the role of an integer input ("labels"). `pure`: the rules may be run again for
      inspection (not if they call a user's hooks).

    >>> square = tg.Op("square", np.square, pull=(lambda g, y, x: 2.0 * x * g,))
    >>> x = Tensor([1.0, 3.0], requires_grad=True)
    >>> square(x).sum().backward()
    >>> x.grad
    array([2., 6.])
    >>> tg.gradcheck(square, x, order=2)
    True
    """

    name: str
    forward: Callable[..., Any]
    pull: Sequence[Pull | None] | Callable[[int], Pull] = ()
    fused: Callable[..., None] | None = None
    saves: bool = False
    saves_gradient: bool = False
    adds: bool = False
    scratch: bool = False
    elementwise: bool = False
    multiplies: bool = False
    activation: Any = None
    p: tuple[float, ...] = ()
    index: str = ""
    pure: bool = True

    def __post_init__(self) -> None:
        pull = self.pull
        if not callable(self.forward) or not (callable(pull) or isinstance(pull, Sequence)):
            raise TypeError(f"Op {self.name!r}: expected a function `forward`, and in `pull` one rule for each input")
        object.__setattr__(self, "forward", _checked(self.forward, self.name, saves=self.saves))
        if not callable(pull):
            object.__setattr__(self, "pull", tuple(rule and _checked(rule, self.name, i) for i, rule in enumerate(pull)))
        elif not _ours(pull):
            if len(signature(pull).parameters) != 1:
                raise TypeError(f"Op {self.name!r}: pull is one function {signature(pull)}; expected one rule for each input: "
                                "pull=(rule,)")
            object.__setattr__(self, "pull", lambda i: _checked(pull(i), self.name, i))

    def __call__(self, *inputs: Any, **params: Any) -> Any:
        flows = some = False        # whether there are inputs that require a gradient; and nodes that do not
        values: list[Any] = []
        parents: list[Node | None] = []
        for x in inputs:
            if isinstance(x, Node):
                values.append(x.array)
                if x.requires_grad:
                    flows = True
                    parents.append(x)
                    continue
                some = True
            else:
                values.append(x)
            parents.append(None)
        found = self.forward(*values, **params) if params else self.forward(*values)
        y, saved = found if self.saves else (found, None)
        if not flows or not is_grad_enabled():
            return made_leaf(bare(Node.result), y) if some or flows else y
        return self.record(y, saved, parents, values, params)

    def record(self, y: Array, saved: Any, parents: Sequence[Node | None], values: Sequence[Any], params: dict[str, Any]) -> Any:
        """A node of the result of `forward`, as `Node` describes it."""
        node = bare(Node.result)
        node.array, node.requires_grad = y, True
        node.grad = node.home = node.hooks = None
        node.op = self
        node.parents, node.values = parents, values
        node.saved, node.params = saved, params
        node.order = next_order()
        return node

    def pull_of(self, i: int) -> Pull:
        """The derivative rule of input i."""
        rule = self.pull(i) if callable(self.pull) else self.pull[i] if i < len(self.pull) else None
        if rule is None:
            raise TypeError(f"{self.name}: input {i} requires a gradient, but has no rule in `pull`")
        return rule

    def __repr__(self) -> str:
        return f"Op({self.name!r})"


def _ours(function: Callable[..., Any]) -> bool:
    return str(getattr(function, "__module__", "")).partition(".")[0] == __name__.partition(".")[0]


def _checked(function: Pull, name: str, of: int | None = None, saves: bool = False) -> Pull:
    """Wrap a user's function, so that its result, any array or number, becomes an array that kernels take. The result of the
    rule of input `of` must fit that input."""
    if _ours(function):
        return function

    def checked(*inputs: Any, **params: Any) -> Any:
        found = function(*inputs, **params)
        if isinstance(found, tuple) != saves:
            raise TypeError(f"{name}: got a result of type {type(found).__name__}; expected an array, or with saves=True a pair: "
                            "an array, and what `forward` saves")
        if saves:       # (y, saved)
            return (as_floats(found[0], None, name), *found[1:])
        found = found if isinstance(found, Node) else as_floats(found, None, name)
        if of is not None:
            like = np.shape(value(inputs[2 + of]))
            extra = len(found.shape) - len(like)
            if extra < 0 or any(n not in (1, m) for n, m in zip(like, found.shape[extra:])):
                raise ValueError(f"{name}: the rule of input {of} gave shape {found.shape} for an input of shape {like}; "
                                 "expected that shape, or one that it broadcasts to")
        return found

    return checked


# -- whether operations are recorded -------------------------------------------------------------------------------------

_grad_mode: ContextVar[bool] = ContextVar("grad_mode", default=True)
is_grad_enabled = _grad_mode.get


class no_grad(ContextDecorator):
    """Inside, operations are computed and not recorded. A context manager and a decorator, local to its thread.

    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> with tg.no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    """

    records: ClassVar[bool] = False

    def __init__(self, *extra: Any) -> None:
        if extra:
            raise TypeError("no_grad takes no arguments; write `with tg.no_grad():`, or `@tg.no_grad()` above a function")
        self._tokens: list[Token[bool]] = []        # a stack, so that one instance may be entered again

    def _recreate_cm(self) -> Self:
        return type(self)()                         # a decorated function gets its own in every call

    def __enter__(self) -> Self:
        self._tokens.append(_grad_mode.set(self.records))
        return self

    def __exit__(self, *error: object) -> None:
        _grad_mode.reset(self._tokens.pop())


class recording(no_grad):
    """Inside, operations are recorded, even under `no_grad`."""

    records = True
