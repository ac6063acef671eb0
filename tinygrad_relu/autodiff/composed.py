"""The derivative of an operation that other operations define.

A fused operation, such as a recurrent layer over a whole sequence, has kernels for its value and its first derivative.
For the second derivative nobody wants to write formulas: the same computation, built once more of elementary operations
on nodes, has a graph of its own, and walking that graph gives the gradients, recorded.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .node import Node, Op, Pull, recording
from .tape import grad

# A stand-in: the same number, one step later. A definition that is built on stand-ins can be differentiated for one of
# them alone, also where the inputs depend on each other, and what comes out still depends on the inputs.
same: Op = Op("same", lambda x: x, pull=(lambda g, y, x: g,))


def derivative(definition: Callable[..., Any]) -> Callable[[int], Pull]:
    """The derivative rules of an op, as `Op` takes them, from its definition in terms of other operations.

    Parameters
    ----------
    definition : callable
        ``definition(*inputs, **params)`` gives on nodes what the op's `forward` gives on arrays.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_relu import Tensor, gradcheck
    >>> from tinygrad_relu.ops.elementwise import mul
    >>> def cube(x):
    ...     return mul(x, mul(x, x))
    >>> fused_cube = Op("cube", lambda x: x**3, pull=derivative(cube))
    >>> gradcheck(fused_cube, Tensor([1.0, -2.0], requires_grad=True), order=2)
    True
    """

    def rule_of(i: int) -> Pull:
        def rule(g: Any, y: Any, *inputs: Any, **params: Any) -> Any:
            on_nodes = isinstance(g, Node)
            with recording():                       # the definition's own graph is needed under no_grad too
                own = [same(x) if isinstance(x, Node) else x for x in inputs]
                if not isinstance(own[i], Node):
                    own[i] = Node.leaf(own[i], requires_grad=True)
                (part,) = grad(definition(*own, **params), own[i], g, create_graph=on_nodes)
            return part if on_nodes else part.array

        return rule

    return rule_of
