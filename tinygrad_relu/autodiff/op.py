"""An operation: one record that holds the forward computation and a derivative rule for each of its inputs."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .node import Node, is_grad_enabled, made

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
        input i is written to ``into[i]``, or added to it where ``add[i]`` is 1.0 (see `adds`). An empty array means that
        nobody asks for it.
    saves : bool
        Whether `forward` returns a pair (y, saved): what it computed on the side, for the fused pullback.
    adds : bool
        Whether `fused` can add. Then the gradient of a leaf is written straight to where it belongs, without a copy.
    """

    name: str
    forward: Callable[..., Any]
    pull: Sequence[Pull | None] | Callable[[int], Pull] = ()
    fused: Callable[..., None] | None = None
    saves: bool = False
    adds: bool = False

    def __call__(self, *inputs: Any, **params: Any) -> Any:
        result = None
        flows = False               # whether a gradient will flow through here
        values: list[Any] = []
        parents: list[Node | None] = []
        for x in inputs:
            if isinstance(x, Node):
                result = x.result
                values.append(x.array)
                if x.requires_grad:
                    flows = True
                    parents.append(x)
                else:
                    parents.append(None)
            else:
                values.append(x)
                parents.append(None)
        if self.saves:
            y, saved = self.forward(*values, **params)
        else:
            y, saved = self.forward(*values, **params), None
        if flows and is_grad_enabled():
            return made(result, y, saved, self, parents, values, params)
        return y if result is None else result.leaf(y)

    def pull_of(self, i: int) -> Pull:
        """The derivative rule of input i."""
        rule = self.pull(i) if callable(self.pull) else self.pull[i]
        if rule is None:
            raise TypeError(f"{self.name}: input {i} has no gradient, but requires one")
        return rule

    def __repr__(self) -> str:
        return f"Op({self.name!r})"

