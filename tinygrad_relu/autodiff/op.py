"""An operation: one record that holds the forward computation and a derivative rule for each of its inputs."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .node import Node, bare, is_grad_enabled, next_order

Pull = Callable[..., Any]


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

