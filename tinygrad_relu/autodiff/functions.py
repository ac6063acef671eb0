"""Derivatives of functions: the rules of a fused operation from its definition, and the check by finite differences."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..checks import check_rng, said
from .node import Array, Node, Op, Pull, recording
from .tape import grad

# The identity, as an op. A definition built on copies of its inputs can be differentiated with respect to one of them alone,
# even where the inputs depend on each other, and its result still depends on the inputs themselves.
same: Op = Op("same", lambda x: x, pull=(lambda g, y, x: g,))


def derivative(definition: Callable[..., Any]) -> Callable[[int], Pull]:
    """The rules of an op, for `Op.pull`, where ``definition(*inputs, **params)`` computes on nodes what `forward` does on arrays.

    So the second derivative of an LSTM, say, needs no formula: the definition is built of elementary operations on nodes, and a
    walk back through its graph records the gradients.

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


class GradcheckError(AssertionError):
    """A derivative disagrees with finite differences; the message names the worst entry.

    >>> x = Tensor(3.0, requires_grad=True)
    >>> tg.gradcheck(lambda x: x.detach() * x, x)           # doctest: +ELLIPSIS
    Traceback (most recent call last):
    tinygrad_relu.autodiff.functions.GradcheckError: gradcheck of order 1: input 0, entry (), at x = 3: the derivative is ...
    """


def gradcheck(f: Callable[..., Any], inputs: Node | Sequence[Node], order: int = 1, *, eps: float = 1e-6, rtol: float = 1e-5,
              atol: float = 1e-7, rng: int | np.random.Generator = 0) -> bool:
    """Compare the derivatives of `f` with central differences; True, or a GradcheckError that names the worst entry.

    The result of `f` is contracted with a fixed random tensor w, and each entry of d(w . f) / d(input) is compared with
    ``(w . f(x + eps) - w . f(x - eps)) / (2 eps)``. With ``order=2`` the gradient itself, recorded by ``create_graph=True``, is
    compared in the same way. An entry passes if ``|difference - derivative| <= atol + rtol |difference|``.

    `f` must be deterministic. The inputs are float64; those that require a gradient are checked. Stay away from kinks by more
    than `eps`. The difference is wrong by about ``eps^2 |f'''| + 1e-16 |f| / eps``, which the tolerances have to allow for.

    >>> tg.gradcheck(lambda x: x * x * x, Tensor([1.0, -2.0], requires_grad=True), order=2)
    True
    """
    if order not in (1, 2):
        raise ValueError(f"gradcheck: order is {said(order)}, expected 1 or 2")
    if not callable(f) or not isinstance(inputs, (Node, Sequence)):
        raise TypeError(f"gradcheck: got {type(f).__name__} and {type(inputs).__name__}; expected a function, and a Tensor or "
                        "several")
    nodes = [inputs] if isinstance(inputs, Node) else list(inputs)
    checked = [i for i, x in enumerate(nodes) if isinstance(x, Node) and x.requires_grad]
    if not checked:
        raise ValueError("gradcheck: no input requires a gradient; expected Tensors made with requires_grad=True")
    for i in checked:
        if nodes[i].dtype != np.float64:
            raise TypeError(f"gradcheck: input {i} is {nodes[i].dtype}; finite differences need float64")
    draws = check_rng(rng, "gradcheck").standard_normal

    def first(*x: Any) -> list[Any]:
        return [f(*x)]

    def second(*x: Any) -> list[Any]:
        y = f(*x)
        return list(grad(y, [x[i] for i in checked], y.result.leaf(weights_of_y), create_graph=True))

    y = f(*nodes)               # f may differentiate inside, so record as usual
    if not isinstance(y, Node):
        raise TypeError(f"gradcheck: f returned {type(y).__name__}; expected one Tensor")
    weights_of_y = np.asarray(draws(y.shape))
    for k, function in enumerate((first, second)[:order], start=1):
        _compare(function, nodes, checked, k, eps, rtol, atol, draws)
    return True


def _compare(function: Callable[..., list[Any]], nodes: list[Node], checked: list[int], order: int, eps: float, rtol: float,
             atol: float, draws: Callable[..., Any]) -> None:
    outputs = function(*nodes)
    weights = [np.asarray(draws(y.shape)) for y in outputs]
    analytic: dict[int, Array] = {i: np.zeros(nodes[i].shape) for i in checked}
    for y, w in zip(outputs, weights):
        if y.requires_grad:
            for i, g in zip(checked, grad(y, [nodes[i] for i in checked], w, retain_graph=True)):
                analytic[i] = analytic[i] + g.array

    def contracted() -> float:
        return float(sum(np.vdot(w, y.array) for y, w in zip(function(*nodes), weights)))

    worst, message = 0.0, ""
    for i in checked:
        flat = nodes[i].array.reshape(-1)
        for j in range(flat.size):
            at = flat[j]
            try:
                flat[j] = at + eps
                above = contracted()
                flat[j] = at - eps
                below = contracted()
            finally:
                flat[j] = at
            difference = (above - below) / (2 * eps)
            got = float(analytic[i].reshape(-1)[j])
            excess = abs(difference - got) / (atol + rtol * abs(difference))
            if not excess <= max(worst, 1.0):       # `not <=`: NaN is never right
                worst = excess if excess == excess else np.inf
                index = tuple(int(n) for n in np.unravel_index(j, nodes[i].shape))
                message = (f"gradcheck of order {order}: input {i}, entry {index}, at x = {at:.17g}: the derivative is "
                           f"{got:.10g}, the finite difference {difference:.10g}")
    if message:
        raise GradcheckError(message)
