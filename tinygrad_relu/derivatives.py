"""Derivatives of whole functions: gradient, Jacobian, Hessian, their products with vectors, and their check by differences.

`inputs` is the point, one Tensor or several; only `gradcheck` needs some that require a gradient. No function frees a graph or
changes a ``.grad`` of the caller. Where `f` does not depend on an input, derivatives are zeros.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from . import functional as F
from .autodiff.node import Node, is_grad_enabled, recording, value
from .autodiff.tape import grad, history, same
from .checks import as_floats, check_real, check_rng, counted, said
from .tensor import Tensor


def hvp(f: Callable[..., Any], inputs: Tensor | Sequence[Tensor], vectors: Any, create_graph: bool = False) -> Any:
    """The Hessian of the scalar ``f(*inputs)`` times `vectors`, one for each input. The products have the shapes of the inputs.

    It takes two backward passes and does not form the Hessian: H v is the gradient of (gradient . v) (Pearlmutter 1994, Fast
    exact multiplication by the Hessian). At a kink the second derivative of a piecewise linear function is that of its pieces, 0.
    `create_graph` is as in `jacobian`; a vector that requires a gradient gets one, too.

    >>> tg.hvp(lambda x: (x**3).sum(), Tensor([1.0, 2.0]), [1.0, 1.0])      # the Hessian is diag(6 x)
    Tensor([ 6., 12.])
    """
    with _evaluated(f, inputs, "hvp", create_graph, vectors) as (at, y):
        directions = _vectors("hvp", vectors, inputs, at, create_graph)
        along: Any = sum((g * v).sum() for g, v in zip(_gradient(y, at, "hvp"), directions))
        products = grad(along, at, create_graph=create_graph) if along.requires_grad else _zeros(at)
    return products[0] if isinstance(inputs, Node) else products


def jvp(f: Callable[..., Any], inputs: Tensor | Sequence[Tensor], vectors: Any, create_graph: bool = False) -> Any:
    """The directional derivative of ``f(*inputs)``: the Jacobian times `vectors`, one for each input, in the shape of the result.

    It takes two backward passes at any size: the first gives w J, which is linear in w; the second differentiates w J by w.

    >>> tg.jvp(lambda x: x**2, Tensor([1.0, 3.0]), [1.0, 0.5])
    Tensor([2., 3.])
    """
    with _evaluated(f, inputs, "jvp", create_graph, vectors) as (at, y):
        directions = _vectors("jvp", vectors, inputs, at, create_graph)
        weights = y.result.leaf(np.zeros_like(y.array), requires_grad=True)
        products = grad(y, at, weights, create_graph=True) if y.requires_grad else _zeros(at)
        along: Any = sum((g * v).sum() for g, v in zip(products, directions))
        return grad(along, weights, create_graph=create_graph)[0] if along.requires_grad else _zeros([y])[0]


def vjp(f: Callable[..., Any], inputs: Tensor | Sequence[Tensor], vector: Any, create_graph: bool = False) -> Any:
    """`vector`, in the shape of the result, times the Jacobian of ``f(*inputs)``: a product in the shape of each input.

    >>> tg.vjp(lambda x: x**2, Tensor([1.0, 3.0]), [1.0, 0.5])
    Tensor([2., 3.])
    """
    with _evaluated(f, inputs, "vjp", create_graph, vector) as (at, y):
        (weights,) = _vectors("vjp", vector, y, [y], create_graph)
        products = grad(y, at, weights, create_graph) if y.requires_grad else _zeros(at)
    return products[0] if isinstance(inputs, Node) else products


def value_and_grad(f: Callable[..., Any], inputs: Tensor | Sequence[Tensor], create_graph: bool = False) -> tuple[Tensor, Any]:
    """The scalar ``f(*inputs)``, and its gradient with respect to each input.

    >>> tg.value_and_grad(lambda x: (x**2).sum(), Tensor([1.0, 3.0]))
    (Tensor(10.), Tensor([2., 6.]))
    """
    with _evaluated(f, inputs, "value_and_grad", create_graph) as (at, y):
        gradients = _gradient(y, at, "value_and_grad", create_graph)
    return y if create_graph else y.result.leaf(y.array), gradients[0] if isinstance(inputs, Node) else gradients


def jacobian(f: Callable[..., Any], inputs: Tensor | Sequence[Tensor], create_graph: bool = False) -> Any:
    """The first derivatives of ``f(*inputs)``: entry [i..., j...] is that of result entry i... with respect to input entry j...

    It takes one backward pass per entry of the result. With `create_graph` the Jacobian can be differentiated again: with respect
    to inputs that require a gradient, to anything else that `f` uses, and by an enclosing `jacobian` or `hessian`. Without
    `create_graph` an inner call raises a RuntimeError, because its result would silently be a constant to the outer call. If
    it is meant to be a constant, ``detach()`` the inputs.

    >>> tg.jacobian(lambda x: x**2, Tensor([1.0, 3.0]))
    Tensor([[2., 0.],
            [0., 6.]])
    >>> slope = lambda x: tg.jacobian(lambda x: x**3, x, create_graph=True)    # 3 x^2
    >>> tg.jacobian(slope, Tensor(2.0))                                        # 6 x
    Tensor(12.)
    """
    with _evaluated(f, inputs, "jacobian", create_graph) as (at, y):
        blocks = _rows(y, at, create_graph)
    return blocks[0] if isinstance(inputs, Node) else blocks


def hessian(f: Callable[..., Any], inputs: Tensor | Sequence[Tensor], create_graph: bool = False) -> Any:
    """All second derivatives of the scalar ``f(*inputs)``; `create_graph` as in `jacobian`, kinks as in `hvp`.

    For one Tensor x, the result has shape ``(*x.shape, *x.shape)``. For several, block [i][j] holds the derivatives with respect
    to inputs i and j, in the shape of i followed by that of j.

    >>> tg.hessian(lambda x: x.prod(), Tensor([2.0, 3.0, 5.0]))
    Tensor([[0., 5., 3.],
            [5., 0., 2.],
            [3., 2., 0.]])
    """
    with _evaluated(f, inputs, "hessian", create_graph) as (at, y):
        blocks = tuple(_rows(g, at, create_graph) for g in _gradient(y, at, "hessian"))
    return blocks[0][0] if isinstance(inputs, Node) else blocks


# The inputs of the enclosing calls, such as those of a `jacobian` whose function calls another.
_differentiated: ContextVar[tuple[Node, ...]] = ContextVar("differentiated", default=())


@contextmanager
def _evaluated(f: Callable[..., Any], inputs: Node | Sequence[Node], name: str, create_graph: bool,
               vectors: Any = ()) -> Iterator[tuple[list[Node], Any]]:
    """Nodes with the values of the inputs, and f of them. Recording is on inside, even under `no_grad`."""
    if not callable(f):
        raise TypeError(f"{name}: f is {type(f).__name__}; expected a function of the inputs (for a result use tg.grad)")
    if not isinstance(create_graph, bool):
        raise TypeError(f"{name}: create_graph is {said(create_graph)}, expected True or False; several inputs are passed as one "
                        "tuple or list")
    if not isinstance(inputs, (Node, Iterable)):
        raise TypeError(f"{name}: got {type(inputs).__name__}; expected a Tensor, or several")
    nodes = list(inputs) if isinstance(inputs, Sequence) else [inputs]
    if not nodes:
        raise ValueError(f"{name}: got no inputs; expected a Tensor, or several")
    for i, x in enumerate(nodes):
        if not isinstance(x, Node):
            raise TypeError(f"{name}: input {i} is {type(x).__name__}; expected a Tensor")
    several = vectors if isinstance(vectors, (list, tuple)) else [vectors]
    around = _differentiated.get()
    loses_history = around and not create_graph and is_grad_enabled()       # under no_grad that is intended
    with recording():
        at = [same(x) if create_graph and x.requires_grad else x.result.leaf(x.array, requires_grad=True) for x in nodes]
        token = _differentiated.set((*around, *at))
        try:
            y = f(*at)
            if not isinstance(y, Node):
                raise TypeError(f"{name}: f returned {type(y).__name__}; expected one Tensor")
            if loses_history and y.requires_grad:
                _refuse_lost_history(name, (y, *nodes, *(v for v in several if isinstance(v, Node))), set(around))
            yield at, y
        finally:
            _differentiated.reset(token)


def _refuse_lost_history(name: str, roots: Iterable[Node], around: set[Node]) -> None:
    """Raise if a result that will have no graph depends on the inputs of an enclosing call."""
    for root in roots:
        if root in around or any(x in around for node in history(root, name) for x in node.parents):
            raise RuntimeError(f"{name}: the result depends on the inputs of an enclosing jacobian, hessian or hvp, for which a "
                               "result without a graph would be a constant; pass create_graph=True, or detach() the inputs if "
                               "they are meant to be constant")


def _vectors(name: str, vectors: Any, of: Any, like: Sequence[Node], create_graph: bool) -> list[Any]:
    """The vectors, each checked against the node that it multiplies. If `of` is one node, there is one vector."""
    if not isinstance(of, Node) and not isinstance(vectors, Iterable):
        raise TypeError(f"{name}: the vectors are {type(vectors).__name__}; expected one for each input")
    given = [vectors] if isinstance(of, Node) else list(vectors)
    if len(given) != len(like):
        raise ValueError(f"{name}: got {counted(len(given), 'vector')} for {counted(len(like), 'input')}; expected one for each")
    found = [v if create_graph and isinstance(v, Node) else as_floats(value(v), x.dtype, f"{name}: vector {i}")
             for i, (v, x) in enumerate(zip(given, like))]
    for i, (v, x) in enumerate(zip(found, like)):
        if v.shape != x.shape:
            raise ValueError(f"{name}: vector {i} has shape {v.shape}; expected {x.shape}")
    return found


def _gradient(y: Any, at: list[Node], name: str, create_graph: bool = True) -> tuple[Any, ...]:
    if y.array.size != 1:
        raise ValueError(f"{name}: f returned shape {y.shape}; expected one number")
    return grad(y, at, create_graph=create_graph) if y.requires_grad else _zeros(at)


def _zeros(at: list[Node], shape: tuple[int, ...] = ()) -> tuple[Any, ...]:
    """The derivatives of a result of this shape that does not depend on the nodes."""
    return tuple(x.result.leaf(np.zeros(shape + x.shape, x.dtype)) for x in at)


def _rows(y: Node, at: list[Node], create_graph: bool) -> tuple[Any, ...]:
    """The derivatives of y, entry by entry."""
    if not y.requires_grad or y.array.size == 0:
        return _zeros(at, y.shape)
    rows = [grad(y, at, seed.reshape(y.shape), create_graph, retain_graph=True) for seed in np.eye(y.array.size, dtype=y.dtype)]
    return tuple(F.stack(column).reshape(*y.shape, *x.shape) for x, column in zip(at, zip(*rows)))


class GradcheckError(AssertionError):
    """A derivative disagrees with finite differences; the message names the worst entry.

    >>> x = Tensor(3.0, requires_grad=True)
    >>> tg.gradcheck(lambda x: x.detach() * x, x)           # doctest: +ELLIPSIS
    Traceback (most recent call last):
    tinygrad_relu.derivatives.GradcheckError: gradcheck of order 1: input 0, entry (), at x = 3: the derivative is ...
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
    points = {i: x for i, x in enumerate(nodes) if isinstance(x, Node) and x.requires_grad}
    if not points:
        raise ValueError("gradcheck: no input requires a gradient; expected Tensors made with requires_grad=True")
    for i, x in points.items():
        if x.dtype != np.float64:
            raise TypeError(f"gradcheck: input {i} is {x.dtype}; finite differences need float64")
    check_real(eps, "gradcheck: eps", lambda eps: eps > 0, "a number above 0")
    draws = check_rng(rng, "gradcheck").standard_normal
    y = f(*nodes)               # f may differentiate inside, so record as usual
    if not isinstance(y, Node):
        raise TypeError(f"gradcheck: f returned {type(y).__name__}; expected one Tensor")
    if y.dtype != np.float64:
        raise TypeError(f"gradcheck: f returned {y.dtype}; finite differences need float64: model.double()")
    weights = np.asarray(draws(y.shape))
    functions = (lambda *x: (f(*x),), lambda *x: grad(f(*x), [x[i] for i in points], weights, create_graph=True))
    for k, function in enumerate(functions[:order], start=1):
        _compare(function, nodes, points, k, eps, rtol, atol, draws)
    return True


def _compare(function: Callable[..., tuple[Any, ...]], nodes: list[Node], points: dict[int, Node], order: int, eps: float,
             rtol: float, atol: float, draws: Callable[..., Any]) -> None:
    outputs = function(*nodes)
    weights = [np.asarray(draws(y.shape)) for y in outputs]
    analytic = {i: np.zeros(x.shape) for i, x in points.items()}
    for y, w in zip(outputs, weights):
        if y.requires_grad:
            for i, g in zip(points, grad(y, list(points.values()), w, retain_graph=True)):
                analytic[i] = analytic[i] + g.array

    def contracted() -> float:
        return float(sum(np.vdot(w, y.array) for y, w in zip(function(*nodes), weights)))

    worst, message = 0.0, ""
    for i, x in points.items():
        flat = x.array.reshape(-1)
        for j, got in enumerate(analytic[i].reshape(-1).tolist()):
            at, sides = flat[j], []
            try:
                for near in (at + eps, at - eps):
                    flat[j] = near
                    sides.append(contracted())
            finally:
                flat[j] = at
            difference = (sides[0] - sides[1]) / (2 * eps)
            excess = abs(difference - got) / (atol + rtol * abs(difference))
            if not excess <= max(worst, 1.0):       # `not <=`: NaN is never right
                worst = excess if excess == excess else np.inf
                index = tuple(int(n) for n in np.unravel_index(j, x.shape))
                message = (f"gradcheck of order {order}: input {i}, entry {index}, at x = {at:.17g}: the derivative is "
                           f"{got:.10g}, the finite difference {difference:.10g}")
    if message:
        raise GradcheckError(message)
