"""The derivative of a fused operation, from its definition by simpler operations.

A recurrent layer over a whole sequence, say, has kernels for its value and its first derivative. Its second derivative needs
no formula: the same computation, built of elementary operations on nodes, has a graph, and a walk back through that
graph records the gradients.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .node import Node, Op, Pull, recording
from .tape import grad

# The identity, as an op. A definition built on copies of its inputs can be differentiated with respect to one of them alone,
# even where the inputs depend on each other, and its result still depends on the inputs themselves.
same: Op = Op("same", lambda x: x, pull=(lambda g, y, x: g,))


def derivative(definition: Callable[..., Any]) -> Callable[[int], Pull]:
    """The rules of an op, for `Op.pull`, where ``definition(*inputs, **params)`` computes on nodes what `forward` does on arrays.

    >>> from tinygrad_relu.ops.elementwise import mul
    >>> def cube(x):
    ...     return mul(x, mul(x, x))
    >>> fused_cube = Op("cube", lambda x: x**3, pull=derivative(cube))
    >>> tg.gradcheck(fused_cube, Tensor([1.0, -2.0], requires_grad=True), order=2)
    True
    """

    def rule_of(i: int) -> Pull:
        def rule(g: Any, y: Any, *inputs: Any, **params: Any) -> Any:
            on_nodes = isinstance(g, Node)
            with recording():                       # the graph of the definition is needed under no_grad too
                own = [same(x) if isinstance(x, Node) else x for x in inputs]
                if not isinstance(own[i], Node):
                    own[i] = Node.leaf(own[i], requires_grad=True)
                (part,) = grad(definition(*own, **params), own[i], g, create_graph=on_nodes)
            return part if on_nodes else part.array

        return rule

    return rule_of
