"""The backward pass: from a result back to the leaves that it was computed from.

Nodes are visited in the reverse of the order in which they were made, which is a topological order. The gradients of inner nodes
are kept in a table local to the pass, and dropped once they have been used. Nothing is recursive, so a graph of any depth works.

An array that a fused kernel has filled is owned by the pass: further gradients are added into it, and a leaf may keep it. A
derivative rule may return the very gradient that it was given, or any other array: it is *lent*, only read, and copied by a leaf.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np
from numpy import empty  # by name: NumPy's module has a __getattr__, so each look-up in it takes 60 ns

from ..checks import as_floats, said
from ..kernels.machine.door import copy, current_watcher, launch
from .broadcast import filled, plus, unbroadcast
from .guard import current_recorder, refuse, takes_more
from .hooks import current_observer, run_hooks
from .node import Array, Node, Op, Pull, absent, next_order, recording, value

_by_order = attrgetter("order")
_ONE = {char: np.ones((), char) for char in "fd"}       # the gradient of a loss with respect to itself; never written to


def changed(leaves: Iterable[Node], now: int | None = None) -> None:
    """Declare that the values of these leaves were changed in place, by assignment or by a step of an optimizer.

    A result computed from the old values can no longer be differentiated. So each leaf gets a new order number, and `backward`
    raises if a leaf is newer than a result computed from it.
    """
    now = next_order() if now is None else now
    for leaf in leaves:
        leaf.order = now


def backward(root: Node, gradient: Any = None, retain_graph: bool = False) -> None:
    """Add d root / d leaf to the ``.grad`` of every leaf that requires a gradient.

    `gradient` is the gradient of some scalar with respect to `root`, of its shape; 1 by default, if `root` is a scalar. The graph
    is freed on the way; `retain_graph` keeps it for another backward pass.

    It raises a RuntimeError if a leaf was changed after its use, by a step of an optimizer or an assignment to ``.data``.
    (Writing into the array itself, ``x.data[...] = 0``, is not noticed, nor is a change of a Tensor that requires no gradient.)

    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    array([2., 4.])
    """
    _walk(root, _seed(root, gradient, "backward"), None, retain_graph, create_graph=False)


def grad(output: Node, inputs: Node | Sequence[Node], grad_outputs: Any = None, create_graph: bool = False,
         retain_graph: bool | None = None) -> tuple[Any, ...]:
    """The gradients of `output` with respect to `inputs`, as new tensors; no ``.grad`` is changed.

    `inputs` are leaves or inner results; one that `output` does not depend on gets zeros. `grad_outputs` is the `gradient` of
    ``backward``. `create_graph` records the backward pass itself, so that the gradients can be differentiated again;
    `retain_graph` is as in ``backward``, by default the value of `create_graph`.

    >>> x = Tensor(3.0, requires_grad=True)
    >>> (slope,) = tg.grad(x**3, x, create_graph=True)
    >>> (curvature,) = tg.grad(slope, x)
    >>> slope.item(), curvature.item()
    (27.0, 18.0)
    """
    if not isinstance(output, Node) or not isinstance(inputs, (Node, list, tuple, Iterable)):      # Iterable alone is slow
        raise TypeError(f"grad: got {type(output).__name__} and {type(inputs).__name__}; expected a Tensor, and a Tensor "
                        "or several")
    wanted = (inputs,) if isinstance(inputs, Node) else tuple(inputs)
    for i, node in enumerate(wanted):
        if not isinstance(node, Node):
            hint = ": pass its values()" if isinstance(inputs, dict) else ", such as x or [weight, bias]"
            raise TypeError(f"grad: the inputs are a {type(inputs).__name__} of {type(node).__name__}; expected Tensors{hint}")
        if not node.requires_grad:
            raise ValueError(f"grad: input {i} does not require a gradient; expected Tensors made with requires_grad=True, "
                             "or their results")
    if isinstance(grad_outputs, Node) and grad_outputs.requires_grad and not create_graph:
        raise TypeError("grad: grad_outputs requires a gradient, which needs create_graph=True; detach() it, or, if it is "
                        "an input, pass the inputs as one list: tg.grad(y, [x, w])")
    seed: Any = _seed(output, grad_outputs, "grad")
    if create_graph:
        seed = unbroadcast(grad_outputs, output) if isinstance(grad_outputs, Node) else output.result.leaf(seed)
    found: dict[Node, Any] = dict.fromkeys(wanted)
    lent = _walk(output, seed, found, create_graph if retain_graph is None else retain_graph, create_graph)
    gradients = []
    for node in wanted:
        g = np.zeros_like(node.array) if found[node] is None else found[node]
        if not isinstance(g, Node):
            g = output.result.leaf(filled(empty(g.shape, g.dtype), copy, g) if node in lent else g)
            lent.add(node)              # an input that is given twice gets two arrays
        gradients.append(g)
    return tuple(gradients)


def _seed(root: Node, gradient: Any, who: str) -> Array:
    if not root.requires_grad:
        raise RuntimeError(f"{who}: the result does not require a gradient; no Tensor with requires_grad=True went into it "
                           "(or it was made under no_grad, or by a captured step)")
    array = root.array
    if gradient is None:
        if array.size != 1:
            raise ValueError(f"{who}: a result of shape {array.shape} is not a scalar; take its sum() or mean(), or pass "
                             f"{'grad_outputs' if who == 'grad' else 'a gradient'} of that shape")
        return np.ones(array.shape, array.dtype) if array.shape else _ONE[array.dtype.char]
    seed = as_floats(value(gradient), array.dtype, "gradient")
    if seed.shape != array.shape:
        raise ValueError(f"{who}: the gradient has shape {seed.shape}, expected {array.shape}, the shape of the result")
    return seed


def history(root: Node, who: str = "backward", outdated: dict[Node, Node] | None = None) -> list[Node]:
    """All nodes that operations made on the way to `root`, oldest first; errors begin with `who`. Those that used a leaf which
    has been changed since (see `changed`) are added to `outdated`, with that leaf."""
    outdated = {} if outdated is None else outdated
    if root.op is None:
        return []
    nodes, seen = [root], {root}
    for node in nodes:                      # the loop appends to the list
        parents, order = node.parents, node.order
        if parents is None:
            raise RuntimeError(f"{who}: the graph of this result has been freed by an earlier backward (at {node.op.name}); "
                               "compute it again; if a state is carried from step to step, pass on state.detach(); to run "
                               "backward twice, pass retain_graph=True to the first")
        for x in parents:
            if x is None:
                continue
            if x.op is None:
                if x.order > order:
                    outdated.setdefault(node, x)
            elif x not in seen:
                seen.add(x)
                nodes.append(x)
    nodes.sort(key=_by_order)
    return nodes


def _walk(root: Node, seed: Any, found: dict[Node, Any] | None, retain_graph: bool, create_graph: bool) -> set[Node]:
    """Propagate `seed` from the root back to the leaves, or to the nodes that are keys of `found`, which receives the gradients;
    returns the nodes whose gradients are lent."""
    who, outdated = "backward" if found is None else "grad", dict[Node, Node]()
    nodes = history(root, who, outdated)
    if found is not None:
        nodes = _towards(nodes, found)
    for node in nodes if outdated else ():
        if node in outdated:
            raise RuntimeError(f"{who}: a leaf of shape {outdated[node].shape} was changed after {node.op.name} had used it "
                               "(by a step of an optimizer, or an assignment to .data), and the derivative needs its old values; "
                               "call backward before the change, or compute the result again")
    begin = current_observer()
    arrive = run_hooks if begin is None else begin(nodes)
    table, lent = {root: seed}, {root}
    while nodes:
        node = nodes.pop()
        g = table.pop(node, None)
        if g is not None:
            if begin is not None or node.hooks:
                g = arrive(node, g)
                lent.add(node)              # a hook may have kept it
            if found is not None and node in found:
                found[node] = g
            _pull(node, g, table, lent, found is None, create_graph)
        if not retain_graph:
            node.parents, node.values, node.saved = None, (), None         # so that its memory can be freed
    for leaf, g in table.items():                       # only leaves are left, and wanted nodes at which the pass ends
        if found is not None and leaf not in found:
            continue
        if begin is not None or leaf.hooks:
            g = arrive(leaf, g)
            lent.add(leaf)
        if found is None:
            _deliver(leaf, g, leaf in lent)
        else:
            found[leaf] = g
    return lent


def parts(node: Node, g: Array) -> dict[Node, Array]:
    """The gradients of one node's inputs, given its own gradient g: one step of the backward pass, without any ``.grad``."""
    table: dict[Node, Array] = {}
    _pull(node, g, table, set())
    return table


def _towards(nodes: list[Node], wanted: Iterable[Node]) -> list[Node]:
    """The `nodes` (oldest first) that depend on a wanted one; the wanted ones themselves are left out."""
    useful, found = set(wanted), []
    for node in nodes:
        if not useful.isdisjoint(node.parents or ()):
            useful.add(node)
            found.append(node)
    return found


def _pull(node: Node, g: Any, table: dict[Node, Any], lent: set[Node], to_homes: bool = False, recorded: bool = False) -> None:
    """The gradients of one node's inputs, by its rules or by its fused kernel. The kernel writes each to the home of a leaf, adds
    it to one that has already arrived along another path (bit i of `add`), writes it to a new array, or skips it."""
    op, parents = node.op, node.parents
    if recorded or op.fused is None:
        _pull_by_rules(node, g, table, lent, recorded)
        return
    if op.saves_gradient and g is _ONE[g.dtype.char]:
        _lend(table, lent, parents[0], node.saved)
        return
    straight = to_homes and op.adds
    into: list[Array] = []
    add, apart = 0, []                                  # apart: gradients to add to others after the kernel has run
    try:
        for x in parents:
            if x is None:
                into.append(absent(node.values[len(into)]))
            elif straight and (home := x.home) is not None and x.grad is None and not x.hooks:
                into.append(home)
                x.grad = home
            elif x.op is not None and x not in table:           # the first gradient of a result
                table[x] = part = empty(x.array.shape, x.array.dtype)
                into.append(part)
            else:
                more = None                             # a gradient that the kernel may add to
                if straight and x.op is None and not x.hooks and (x.grad is x.home is not None or takes_more(x)):
                    more = x.grad
                elif x in table and op.adds and x not in lent:
                    more = table[x]
                if more is None or any(more is part for part in into):      # it is in `into` if x is the weight too, say
                    into.append(part := empty(x.array.shape, x.array.dtype))
                    if table.setdefault(x, part) is not part:
                        apart.append((x, part))
                else:
                    add |= 1 << len(into)
                    into.append(more)
        if op.scratch:
            into.append(g if to_homes and node not in lent and current_watcher() is None else empty(g.shape, g.dtype))
        fused = partial(op.fused, **node.params) if node.params else op.fused       # faster than with an empty dict
        fused(g, node.array, node.saved, into, add, *node.values)
    except BaseException:
        for i, (x, part) in enumerate(zip(parents, into)):          # these gradients have not arrived
            if x is not None and x.grad is part and not add >> i & 1:
                x.grad = None
        raise
    for x, part in apart:
        _lend(table, lent, x, part)


def _pull_by_rules(node: Node, g: Any, table: dict[Node, Any], lent: set[Node], recorded: bool) -> None:
    """The gradients of one node by its derivative rules, computed on arrays, or computed and recorded on nodes."""
    y: Any = node if recorded else node.array
    inputs = [v if x is None else x for x, v in zip(node.parents, node.values)] if recorded else node.values
    for i, x in enumerate(node.parents):
        if x is not None:
            part = unbroadcast(node.op.pull_of(i)(g, y, *inputs, **node.params), x)
            if recorded and x in table:
                table[x] = plus(table[x], part)
            else:
                _lend(table, lent, x, part)


def _lend(table: dict[Node, Any], lent: set[Node], x: Node, part: Array) -> None:
    """Enter a gradient of x that others may read, or add it to the one in the table: in place, unless that is lent too."""
    if x not in table:
        table[x] = part
        lent.add(x)
    elif x in lent:
        table[x] = filled(empty(x.shape, x.dtype), np.add, table[x], part)
        lent.discard(x)
    else:
        launch(np.add, table[x], part, table[x])


def _deliver(leaf: Node, part: Array, lent: bool) -> None:
    """Add a gradient to the ``.grad`` of a leaf."""
    recorder = current_recorder()
    if recorder is not None and leaf.order < recorder.begun and (leaf.home is None or (
            leaf.grad is not None and leaf.grad is not leaf.home)):
        refuse("gives a gradient to a Tensor that no optimizer moves (freeze it), or whose .grad was set by hand (use tg.grad)")
    if leaf.grad is not None:
        found = getattr(leaf.grad, "shape", None)
        if found != part.shape:
            got = type(leaf.grad).__name__ if found is None else f"of shape {found}"
            raise ValueError(f"backward: the .grad of a leaf of shape {part.shape} is {got}; expected None, or an array of that "
                             "shape")
        try:
            launch(np.add, leaf.grad, part, leaf.grad)
        except TypeError:
            raise TypeError(f"backward: the .grad of a leaf of shape {part.shape} is {said(leaf.grad)}; expected None, or an "
                            f"array of {part.dtype}") from None
    elif leaf.home is not None:
        launch(copy, part, leaf.home)
        leaf.grad = leaf.home
    else:
        leaf.grad = filled(empty(part.shape, part.dtype), copy, part) if lent else part


# The identity, as an op. `derivative` runs a definition on copies of its inputs, so that it can be differentiated with respect
# to one input alone, even where the inputs depend on each other. The result still depends on the originals.
same: Op = Op("same", lambda x: x, pull=(lambda g, y, x: g,))


def derivative(definition: Callable[..., Any]) -> Callable[[int], Pull]:
    """The rules of an op, for `Op.pull`: they differentiate ``definition(*inputs, **params)``, which computes `forward` on nodes.

    So the second derivative of an LSTM, say, needs no formula: the backward pass through the definition is recorded.

    >>> cube = Op("cube", lambda x: x**3, pull=derivative(lambda x: x * x * x))
    >>> tg.gradcheck(cube, Tensor([1.0, -2.0], requires_grad=True), order=2)
    True
    """

    def rule_of(i: int) -> Pull:
        def rule(g: Any, y: Any, *inputs: Any, **params: Any) -> Any:
            on_nodes = isinstance(g, Node)
            with recording():                       # the graph of the definition is needed under no_grad too
                own = [same(x) if isinstance(x, Node) else x for x in inputs]
                if not isinstance(own[i], Node):
                    own[i] = Node.result.leaf(own[i], requires_grad=True)
                (part,) = grad(definition(*own, **params), own[i], g, create_graph=on_nodes)
            return part if on_nodes else part.array

        return rule

    return rule_of
