"""One forward pass of any model, taken apart: the activations that it applies, what they act on, and through which parameters.

The model runs as in evaluation, each module by itself, and the graph that is recorded tells everything: an operation knows its
activation, and its inputs lead back to the parameters. So a layer is found wherever it is: in a Sequential, in a `forward` that
calls ``F.relu``, in a branch, or in a recurrent layer.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from ..autodiff.node import Array, Node, next_order, no_grad, recording
from ..autodiff.tape import history
from ..kernels.formulas import ACTIVATIONS
from ..kernels.formulas.record import Elementwise
from ..nn import Dropout, Embedding, Flatten, Identity, Linear, Maxout, Module, ModuleDict, ModuleList, Sequential, Softmax
from ..nn.activations import MODULES, Activation
from ..nn.recurrent import NONLINEARITIES, Recurrent
from ..ops import recurrent
from ..ops.activation import maxout, prelu
from ..ops.elementwise import add, maximum, sub
from ..ops.indexing import cut
from ..ops.linalg import affine, product
from ..ops.normalization import batch_norm, batch_norm_by, layer_norm
from ..ops.shape import RESHAPE
from ..parameters import Parameter

NORMS = (batch_norm, batch_norm_by, layer_norm)
NO_ACTIVATIONS = (Linear, Maxout, Embedding, Recurrent, ModuleList, ModuleDict, Dropout, Flatten, Softmax, Identity)
RNNS = {recurrent.rnn_op(ACTIVATIONS[name]): name for name in NONLINEARITIES}
GATES = {recurrent.lstm: ("input", "forget", "cell", "output", "state"), recurrent.gru: ("reset", "update", "new")}
Parts = dict[Parameter, tuple[int, slice]]      # the parameters of which each unit has a part: the axis of the units, and which


class Call(NamedTuple):
    """A call of a module, with the counts of nodes at its beginning and at its end."""

    module: Module
    inputs: tuple[Any, ...]
    output: Any
    begin: int
    end: int


@contextmanager
def unfused(model: Module) -> Iterator[None]:
    """Inside, every Sequential of the model runs its modules one by one: the same bits, and all pre-activations in the graph."""
    held = [(vars(m), vars(m).get("_steps"), [(layer, None, None) for layer in m.layers])
            for m in model.modules() if isinstance(m, Sequential)]
    for own, _, apart in held:
        own["_steps"] = apart
    try:
        yield
    finally:
        for own, before, _ in held:
            own.pop("_steps") if before is None else own.update(_steps=before)


@contextmanager
def apart(model: Module, note: Callable[[Call], object] | None = None) -> Iterator[None]:
    """A model as in evaluation, each module by itself, without hooks, and with all parameters recorded; `note` gets each call.

    (Registered hooks and changes of the mode would outdate captured steps.)
    """
    names, held = ("_hooks", "forward", "training"), []
    frozen = [p for p in model.parameters() if not p.requires_grad]
    for module in model.modules():
        own = vars(module)
        held.append((own, {name: own[name] for name in names if name in own}))
        own.update(_hooks=None, training=False)
        if note is not None:
            own["forward"] = partial(_call, module, module.forward, note)
    try:
        for p in frozen:
            p.requires_grad = True
        with unfused(model), recording():
            yield
    finally:
        for p in frozen:
            p.requires_grad = False
        for own, before in held:
            for name in names:
                own.pop(name, None)
            own.update(before)


def _call(module: Module, forward: Callable[..., Any], note: Callable[[Call], object], *inputs: Any, **options: Any) -> Any:
    begin = next_order()
    output = forward(*inputs, **options)
    note(Call(module, inputs, output, begin, next_order()))
    return output


def passed(model: Module, x: Any, note: Callable[[Call], object] | None = None) -> tuple[Any, list[Node]]:
    """The output of a model, as in evaluation, and all nodes on the way to it, oldest first."""
    with apart(model, note):
        output = model(x)
        return output, nodes_of(output)


def nodes_of(output: Any) -> list[Node]:
    """All nodes on the way to the output of a model, oldest first."""
    first, *more = map(history, tensors(output)) if tensors(output) else ([],)
    return sorted({*first, *(node for nodes in more for node in nodes)}, key=attrgetter("order")) if more else first


def tensors(output: Any) -> list[Node]:
    """The results among the outputs of a model, which may be in tuples and dicts."""
    if isinstance(output, (tuple, list, dict)):
        return [tensor for entry in (output.values() if isinstance(output, dict) else output) for tensor in tensors(entry)]
    return [output] if isinstance(output, Node) else []


# -- activations, and where they are ------------------------------------------------------------------------------------------


class Applied(NamedTuple):
    """An activation in one forward pass: of a node (`out`), or of a gate of a recurrent layer."""

    out: Node
    z: Node | None                  # of an activation that is a module with several operations: its input
    activation: Module | None       # None: Maxout
    gate: str = ""
    owned: bool = False             # whether `activation` is a module of the model


def as_module(record: Elementwise[...], p: tuple[float, ...] = ()) -> Module:
    """An activation that was called as a function, as a module."""
    kind = MODULES.get(record.name, Activation)
    known = vars(kind).get("record") is record
    made = object.__new__(kind if known else Activation)
    vars(made).update({"p": p or record.defaults}, **({} if known else {"record": record, "name": record.name}))
    return made


def activations(nodes: Sequence[Node], calls: Sequence[Call], model: Module) -> Iterator[Applied]:
    """The activations of a pass, in the order in which they were applied."""
    inside = {id(node) for node in nodes}
    results = {id(call.output): call for call in reversed(calls) if call.inputs}   # the innermost of several
    custom: list[tuple[Call, Applied]] = []
    judged: dict[Module, bool] = {}
    for call in sorted(calls, key=attrgetter("begin")):
        x: Any = call.inputs[0] if len(call.inputs) == 1 else None
        if (call.module is model or id(x) not in inside or id(call.output) not in inside or x.shape != call.output.shape
                or any(m.is_norm or isinstance(m, NO_ACTIVATIONS) for m in call.module.modules())
                or any(other.begin < call.begin < other.end for other, _ in custom)):
            continue
        own = [node for node in nodes if call.begin < node.order < call.end]
        simple = [node for node in own if _record(node) is not None]
        if own and own != simple and call.module not in judged:
            judged[call.module] = _is_activation(call.module, x.array)
        if own and own != simple and judged[call.module]:
            custom.append((call, Applied(call.output, x, call.module, owned=True)))
    for node in nodes:
        if (found := next((one for call, one in custom if call.begin < node.order < call.end), None)) is not None:
            if node is found.out:
                yield found
        elif node.op is maxout:
            yield Applied(node, None, None)
        elif node.op in RNNS:
            yield Applied(node, None, as_module(ACTIVATIONS[RNNS[node.op]]), "hidden")
        elif node.op in GATES:
            for gate in GATES[node.op]:
                yield Applied(node, None, as_module(ACTIVATIONS["tanh" if gate in ("cell", "state", "new") else "sigmoid"]), gate)
        elif (record := _record(node)) is not None and len(node.shape) > 1 and node.parents[0].op is not None:
            around = results.get(id(node))
            owned = around is not None and around.inputs[0] is node.parents[0] and hasattr(around.module, "name")
            yield Applied(node, None, around.module if around is not None and owned else _prelu(node) if node.op is prelu else
                          as_module(record, node.params.get("p", ())), owned=owned)


def _record(node: Node) -> Elementwise[...] | None:
    """The record of the activation that a node applies; None if it applies none."""
    if node.op is maximum:
        bound = node.values[1]
        return ACTIVATIONS["relu"] if node.parents[1] is None and np.ndim(bound) == 0 and bound == 0 else None
    record: Elementwise[...] | None = node.op.activation if node.op.elementwise else None
    known = record is not None and (record.name in MODULES or ACTIVATIONS.get(record.name) is not record)
    return record if known and node.parents[0] is not None else None


def _prelu(node: Node) -> Module:
    """``F.prelu(x, slopes)`` as a module."""
    made, slopes = object.__new__(MODULES["prelu"]), node.parents[1]
    while slopes is not None and slopes.op is RESHAPE:
        slopes = slopes.parents[0]
    vars(made)["weight"] = slopes if isinstance(slopes, Parameter) else Parameter(np.ravel(node.values[1]), "slope")
    return made


def _is_activation(module: Module, like: Array) -> bool:
    """Whether a module of several operations acts on each number by itself, and is not affine: tried on random numbers."""
    x, other = np.random.default_rng(0).standard_normal((2, *like.shape)).astype(like.dtype)
    one = x.copy()
    one.flat[0] = other.flat[0]
    with apart(module), no_grad(), np.errstate(all="ignore"):
        try:
            at_x, at_one, at_other, middle = (module(part).array for part in map(Node.result, (x, one, other, (x + other) / 2)))
        except (TypeError, ValueError, IndexError):
            return False
    return np.array_equal(at_x.ravel()[1:], at_one.ravel()[1:], equal_nan=True) and not np.allclose((at_x + at_other) / 2, middle)


# -- from an activation back to its parameters ---------------------------------------------------------------------------------


def straight(node: Node) -> Node:
    """The node before reshapes that keep the last axis."""
    while node.op is RESHAPE and (before := node.parents[0]).op is not None and before.shape[-1:] == node.shape[-1:]:
        node = before
    return node


def before_norms(node: Node, calls: Sequence[Call]) -> tuple[Node, Module | None, bool]:
    """The node before norms, the norm module among them, and whether there was any norm."""
    norms = {id(call.output): call for call in calls if call.module.is_norm and len(call.inputs) == 1}
    module, any_norm = None, False
    while True:
        node = straight(node)
        if id(node) in norms and isinstance(x := norms[id(node)].inputs[0], Node) and x.op is not None:
            module, any_norm, node = norms[id(node)].module, True, x
        elif node.op in NORMS and node.parents[0] is not None and node.parents[0].op is not None:
            any_norm, node = True, node.parents[0]
        else:
            return node, module, any_norm


def parts_of(node: Node) -> Parts:
    """The parameters of an affine map, or of a sum of them, that each unit (entry of the last axis) has a part of."""
    whole, found, node = slice(None), Parts(), straight(node)
    if node.op is affine():
        return {p: (0, whole) for p in node.parents[1:] if isinstance(p, Parameter)}
    if node.op is product and isinstance(weight := node.parents[1], Parameter) and len(weight.shape) == 2:
        return {weight: (0 if node.params.get("transpose_b") else 1, whole)}
    if node.op is cut and isinstance(chosen := node.params["key"][-2], slice) and chosen.step is None and (
            None not in node.params["key"] and (before := node.parents[0]).op is not None):      # a gate, say
        rows = slice(*chosen.indices(before.shape[-1])[:2])
        everything = rows == slice(0, before.shape[-1])
        return {p: (axis, whole if everything else rows) for p, (axis, known) in parts_of(before).items() if known == whole}
    for x in node.parents if node.op in (add, sub) else ():
        if isinstance(x, Parameter) and x.shape and x.shape[-1] == node.shape[-1] == x.array.size:
            found[x] = len(x.shape) - 1, whole
        elif x is not None and x.op is not None and x.shape[-1:] == node.shape[-1:]:
            found |= {p: part for p, part in parts_of(x).items() if p not in found}
    return found


def recurrent_parts(node: Node, gate: str) -> Parts:
    """The parameters of a gate of a recurrent layer: its rows of weights and biases."""
    if gate == "state":
        return {}
    size, found = node.shape[-1], Parts()
    k = GATES[node.op].index(gate) if node.op in GATES else 0
    rows = slice(k * size, (k + 1) * size)
    first = straight(node.parents[0]) if node.parents[0] is not None else None
    for x in (*(first.parents if first is not None and first.op is affine() else ()), *node.parents[1:]):
        sums = x.parents if x is not None and x.op is add else (x,)             # the two biases
        found |= {p: (0, rows) for p in sums if isinstance(p, Parameter) and len(p.array) % size == 0 and len(p.array) > k * size}
    return found


def gate_of(node: Node, gate: str) -> Array:
    """What a gate of a recurrent layer applies its activation to, (steps, rows, size), in the order of time."""
    if node.op in RNNS:
        return node.saved
    size, k = node.shape[-1], GATES[node.op].index(gate)
    if node.op is recurrent.lstm:
        sums, cells = node.saved
        if gate == "state":
            return np.asarray(cells[:-1] if node.params.get("reverse") else cells[1:])
        return np.asarray(sums[..., k * size:(k + 1) * size])
    sums, z = node.saved, node.values[0]
    own = sums[..., k * size:]
    if gate == "new":
        with np.errstate(over="ignore"):
            return np.asarray(z[..., k * size:] + own / (1 + np.exp(-sums[..., :size])))
    return np.asarray(own[..., :size])
