"""Where the units of a model are: its hidden layers, found in one forward pass.

A *unit* is one column of a hidden layer: what an activation is applied to, nearly always an affine map. In a Maxout layer each
piece is a unit: a piece that never wins gets no gradient, just like a dead ReLU. In a recurrent layer each gate is a
layer. A layer that acts several times in a pass, on several positions of a sample or at several times, is looked at everywhere.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np

from .. import functional as F
from ..autodiff.node import Array, Node, recording, value
from ..autodiff.tape import grad
from ..checks import as_floats, as_numbers, check_count, check_labels, check_samples, counted, said
from ..nn import Embedding, Flatten, Linear, Maxout, Module, Parameter, Residual, Sequential
from ..nn.module import evaluating
from ..nn.recurrent import Recurrent, RecurrentLayers
from ..ops.linalg import affine
from ..ops.shape import RESHAPE
from ..optim import Optimizer
from ..tensor import Tensor
from .layers import GONE, Extremes, HiddenLayer, Look, Outgoing, Place, noted
from .passes import Applied, Call, Parts, activations, before_norms, parts_of, passed, recurrent_parts, straight, tensors

BATCH = 4096        # samples at a time: bounds the memory, and fits into the caches
TELL_INPUTS = Linear, Maxout, Embedding, Recurrent

# Why the theory claims nothing of the dead units of a layer: `HiddenLayer.unclaimed`.
MODE = "its activation acts differently in training, and nothing is claimed"
NORMALISED = "a norm comes before the activation: in training z depends on the batch, and nothing is claimed"
PIECE = "a piece that never wins is moved by the optimizer alone; whether it wins again depends on the others, which learn"
RECURRENT = "its units get their own outputs as inputs of the next time step, and nothing is claimed"
OTHER = "it is not the activation of one affine map, x @ weight.T + bias, and nothing is claimed"
INPUTS = "its inputs pass through {}, whose outputs in training differ from those in evaluation, and nothing is claimed"


class Units:
    """The units of any model, found once; the instruments take it in place of the model.

    `x` are samples for which the model runs once; without them, zeros, if the model begins with a layer that tells its inputs.

    >>> lab.Units(nn.MLP([2, 3, 4, 1], rng=0))
    Units(MLP, 0: 3 relu, 2: 4 relu)
    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         self.memory, self.last = nn.LSTM(2, 3, batch_first=True, rng=0), nn.Linear(3, 1, rng=0)
    ...     def forward(self, x):
    ...         return F.relu(self.last(self.memory(x)[0][:, -1]))
    >>> [layer.name for layer in lab.Units(Net(), np.zeros((1, 5, 2))).layers]
    ['memory.l0 input', 'memory.l0 forget', 'memory.l0 cell', 'memory.l0 output', 'memory.l0 state', 'last']
    """

    def __init__(self, model: Module, x: Any = None) -> None:
        self.model = module_of(model, "the laboratory")
        if model.members is not None:
            raise TypeError(f"the laboratory got a population of {model.members} networks, expected one: model.member(k)")
        self.integers = any(isinstance(m, Embedding) for m in model.modules())
        self.axis = samples_axis(model)
        self.example = self._example() if x is None else np.take(self.data(x), range(min(2, np.shape(x)[self.axis])), self.axis)
        self.layers, self.program = find(model, self.example)
        if not self.layers:
            raise ValueError("the laboratory found no hidden layer in this model, expected at least one activation")

    def __repr__(self) -> str:
        layers = [f"{layer.name}: {layer.units} {layer.activation_name}" for layer in self.layers]
        return f"Units({', '.join([type(self.model).__name__, *layers])})"

    @classmethod
    def of(cls, model: Module | Units, x: Any = None) -> Units:
        return model if isinstance(model, Units) else cls(model, x)

    def layer(self, index: int, who: str) -> HiddenLayer:
        """One hidden layer, counted from 0; errors begin with `who`."""
        if check_count(index, f"{who}: layer", least=0) >= len(self.layers):
            raise IndexError(f"{who}: layer is {index}, expected a hidden layer from 0 to {len(self.layers) - 1}")
        return self.layers[index]

    def twin(self, dtype: Any = None) -> Units:
        """The units of a copy of the model."""
        model = deepcopy(self.model)
        return Units(model if dtype is None else model.astype(dtype), self.example)

    @property
    def tells_inputs(self) -> bool:
        """Whether the model begins with a layer that tells its inputs, so that the units are found without data."""
        return isinstance(self.model, (Sequential, Linear, Maxout, Recurrent)) and self._first() is not None

    def _first(self) -> Any:
        return next((m for m in self.model.modules() if isinstance(m, TELL_INPUTS)), None)

    def _example(self) -> Array:
        first = self._first()
        if not self.tells_inputs:
            raise TypeError(f"the laboratory got {type(self.model).__name__} without data, expected samples x for which it runs: "
                            "lab.Units(model, x)")
        if isinstance(first, Embedding):
            return np.zeros((1, 1), np.int64)
        size = first.input_size if isinstance(first, Recurrent) else first.in_features
        return np.zeros((1, 1, size) if isinstance(first, RecurrentLayers) else (1, size), self.model.parameters()[0].dtype)

    def data(self, x: Any) -> Array:
        """x as an array that the model takes, in its dtype; flattened, if the model begins with a Flatten."""
        x, dtype = value(x), next((p.dtype for p in self.model.parameters()), None)
        kinds = (m for m in self.model.modules() if isinstance(m, (Flatten, *TELL_INPUTS)))
        first, affine = next(kinds, None), None
        if type(self.model).forward in (Sequential.forward, Residual.forward):
            if isinstance(first, Flatten) and (first.start_dim, first.end_dim) == (1, -1):
                x, first = np.reshape(x, (len(x), -1)) if np.ndim(x) > 2 else x, next(kinds, None)
            affine = first if isinstance(first, (Linear, Maxout)) else None
        if affine is not None:
            x = check_samples(x)
            if x.shape[1] != affine.in_features:
                raise ValueError(f"x has {counted(x.shape[1], 'feature')}, expected {affine.in_features}, the inputs of the "
                                 "model")
            return np.asarray(x.astype(dtype, copy=False))
        x = as_numbers(x, "x")
        return check_finite(x if x.dtype.kind in "iu" and self.integers else as_floats(x, dtype, "x"), "x")

    def samples(self, x: Array) -> int:
        return int(x.shape[self.axis])

    def walk(self, x: Array) -> Iterator[Look]:
        """Send one batch through the model as in evaluation, and yield a look at each hidden layer, first to last."""
        return self.seen(passed(self.model, x)[1], self.samples(x))

    def seen(self, nodes: Sequence[Node], samples: int) -> Iterator[Look]:
        """A look at each hidden layer in a pass that has been made."""
        if self.program != [node.op.name for node in nodes]:
            raise RuntimeError(f"the laboratory: the forward of {type(self.model).__name__} applies other operations to these "
                               f"samples than to the first ones; expected {len(self.program)}, the same for all samples")
        return (layer.read(nodes, samples) for layer in self.layers)

    def looks(self, x: Array, batch_size: int = BATCH) -> Iterator[list[Look]]:
        """`walk` over data of any size, batch by batch: for each a look at every hidden layer."""
        return (list(self.walk(part)) for part in _split(x, self.axis, batch_size))

    def extremes(self, x: Array, batch_size: int | None = None) -> list[Extremes]:
        """The extremes of each hidden layer over data of any size, batch by batch; by default all at once."""
        found = [Extremes(layer) for layer in self.layers]
        for _ in noted(self.looks(x, batch_size or self.samples(x)), found):
            pass
        return found

    def gone(self, x: Array, batch_size: int | None = None) -> list[Array]:
        """Which units of each layer are dead on x: `State.gone`."""
        return [GONE[extremes.states()] for extremes in self.extremes(x, batch_size)]

    def gradients(self, x: Array, y: Any, parameters: Sequence[Parameter], who: str,
                  loss: Callable[..., Tensor] = F.cross_entropy, batch_size: int = BATCH) -> dict[Parameter, Array]:
        """The gradients of the mean loss over all samples, batch by batch, as in evaluation; zeros where none is required.

        ``loss(output, y, reduction="sum")``; errors begin with `who`.
        """
        parts = labelled(x, y, self.axis, loss, batch_size, who)
        learning = [p for p in parameters if p.requires_grad]
        sums = {p: np.zeros_like(p.array) for p in parameters}
        with evaluating(self.model), recording():
            for part, targets in parts if learning else ():
                total = loss(self.model(part), targets, reduction="sum")
                sums |= {p: sums[p] + found.data for p, found in zip(learning, grad(total, learning))}
        return {p: g / self.samples(x) for p, g in sums.items()}


def module_of(model: Module | Units, who: str) -> Module:
    """The model itself; errors begin with `who`."""
    found = model.model if isinstance(model, Units) else model
    if not isinstance(found, Module):
        raise TypeError(f"{who} got {said(model)}, expected a Module such as nn.MLP")
    return found


def find(model: Module, x: Array) -> tuple[list[HiddenLayer], list[str]]:
    """The hidden layers of a model, from one pass; and the names of the operations of that pass."""
    run = _Pass(model, x)
    several: dict[Any, list[_Use]] = {}         # one layer may be applied several times
    for applied in activations(run.nodes, run.calls, model):
        use = run.use(applied)
        several.setdefault(use.key, []).append(use)
    layers: list[HiddenLayer] = []
    for uses in several.values():
        layers.append(run.layer(uses, layers))
    return layers, [node.op.name for node in run.nodes]


class _Use(NamedTuple):
    """One application of an activation, and what comes before it."""

    applied: Applied
    place: Place
    parts: Parts
    affine: Any             # the affine map before it, if there is one
    norm: Module | None     # in between
    any_norm: bool          # whether a norm is in between, a module or not

    @property
    def key(self) -> Any:
        """The same for all uses of one layer: those of the same parts of parameters, with the same activation."""
        if not self.parts:
            return self.place
        own: Any = self.applied.activation
        kind: Any = id(own) if own is not None and own.parameters() else type(own)
        if hasattr(own, "record"):
            kind = own.record, own.p
        return (*((id(p), rows.start) for p, (_, rows) in self.parts.items()), self.applied.gate, kind)


class _Pass:
    """One pass of a model: from an activation back to its affine map and its parameters, and on to what takes its outputs."""

    def __init__(self, model: Module, x: Array) -> None:
        self.model, self.calls = model, list[Call]()
        output, self.nodes = passed(model, x, self.calls.append)
        self.outputs = tensors(output)
        self.number = {id(node): i for i, node in enumerate(self.nodes)}
        self.names = {id(holder[key]): name for name, holder, key in reversed(list(model._places(Parameter)))}
        self.takers: dict[int, list[Node]] = {}         # for each node, the operations on it
        for node in self.nodes:
            for parent in node.parents:
                self.takers.setdefault(id(parent), []).append(node)

    def use(self, applied: Applied) -> _Use:
        out, gate = applied.out, applied.gate
        if gate:
            return _Use(applied, Place(self.number[id(out)], None, None, gate), recurrent_parts(out, gate), None, None, False)
        z: Any = out.parents[0] if applied.z is None else applied.z
        if applied.activation is None and z.op is RESHAPE:          # Maxout: its input has an axis for the pieces
            z = z.parents[0]
        source, norm, any_norm = before_norms(z, self.calls)
        parts = parts_of(source)
        is_affine = source.op is affine() and source.parents[1] in parts and all(
            p is None or p in parts for p in source.parents[2:])
        place = Place(self.number[id(out)], None if applied.z is None else self.number[id(applied.z)],
                      self.number[id(source)] if is_affine else None, gate)
        return _Use(applied, place, parts, source if is_affine else None, norm, any_norm)

    def layer(self, uses: Sequence[_Use], earlier: Sequence[HiddenLayer]) -> HiddenLayer:
        """The layer with these uses; `earlier` are those that were found before."""
        applied, _, parts, source, norm, any_norm = uses[0]
        activation, out, single = applied.activation, applied.out, len(uses) == 1
        all_affine = all(use.affine is not None for use in uses)
        plain = all_affine and not any_norm
        before = straight(x) if single and source is not None and (x := source.parents[0]) is not None else None
        pieces = out.values[0].shape[-1] if activation is None else 1
        name, taken = self.name(applied, parts), {layer.name for layer in earlier}
        return HiddenLayer(
            name=next(text for text in (name, *(f"{name} ({i})" for i in range(2, len(taken) + 3))) if text not in taken),
            activation=activation,
            owned=applied.owned,
            units=out.shape[-1] * pieces,
            pieces=pieces,
            dtype=out.dtype,
            parts=parts,
            weight=None if source is None else source.parents[1],
            bias=None if source is None else source.parents[2],
            norm=norm,
            plain=plain,
            fixed=all_affine and all(use.affine.parents[0] is None for use in uses),
            follows=next((one for one in earlier if len(one.places) == 1 and before is self.nodes[one.places[0].out]), None),
            gates=self.gates(out, earlier) if single and not applied.gate else frozenset(),
            outgoing=self.outgoing(applied) if single else "several uses in one pass",
            unclaimed=self.unclaimed(uses[0], plain),
            places=tuple(use.place for use in uses))

    def unclaimed(self, use: _Use, plain: bool) -> str:
        activation = use.applied.activation
        if activation is None or use.applied.gate:
            return PIECE if activation is None else RECURRENT
        if use.any_norm or not plain:
            return NORMALISED if use.any_norm else OTHER
        if activation.depends_on_mode:
            return MODE
        return next((INPUTS.format(type(call.module).__name__) for call in self.calls
                     if call.module.depends_on_mode and getattr(call.module, "p", 1) != 0 and call.end <= use.affine.order), "")

    def name(self, applied: Applied, parts: Parts) -> str:
        """After the first parameter; without any, after the innermost module around."""
        own = recurrent_parts(applied.out, "input") if applied.gate == "state" else parts
        if known := [self.names[id(p)] for p in own if id(p) in self.names]:
            before, _, last = known[0].rpartition(".")
            if last.startswith("weight"):
                last = last.removeprefix("weight").removeprefix("_ih").removeprefix("_hh").strip("_")
            name = ".".join(filter(None, [before, last])) or type(self.model).__name__
            if applied.gate:
                return name if applied.gate == "hidden" else f"{name} {applied.gate}"
            _, rows = next(iter(parts.values()))
            return name if rows == slice(None) else f"{name}[{rows.start}:{rows.stop}]"
        around = min((call for call in self.calls if call.begin < applied.out.order < call.end),
                     key=lambda call: call.end - call.begin)
        return next(name for name, m in self.model.named_modules() if m is around.module) or str(applied.out.op.name)

    def gates(self, gate: Node, earlier: Sequence[HiddenLayer]) -> frozenset[str]:
        """The earlier layers from which no path leads to the outputs around this node."""
        seen, waiting = set[int](), [node for node in self.outputs if node is not gate]
        while waiting:
            if (node := waiting.pop()) is not gate and id(node) not in seen:
                seen.add(id(node))
                waiting += [x for x in node.parents if x is not None and x.op is not None]
        return frozenset(layer.name for layer in earlier if not any(id(self.nodes[place.out]) in seen for place in layer.places))

    def outgoing(self, applied: Applied) -> Outgoing | str:
        """Where the outputs of an activation go, if that is one Linear whose weight acts nowhere else."""
        out = applied.out
        if applied.activation is None or applied.gate:
            return "Maxout pieces" if applied.activation is None else "a recurrent layer around it"
        if any(isinstance(call.module, Residual) and call.begin < out.order < call.end for call in self.calls):
            return "a Residual around it"
        after = self.takers.get(id(out), [])
        while len(after) == 1 and after[0].op.name == "reshape" and after[0].shape[-1:] == out.shape[-1:]:
            after = self.takers.get(id(after[0]), [])
        if not after or any(out is node for node in self.outputs):
            return "no layer after it" if not after else "the output of the model after it"
        weight = after[0].parents[1] if after[0].op is affine() else None
        if len(after) == 1 and isinstance(weight, Parameter):
            if len(self.takers[id(weight)]) > 1:
                return "a weight after it that acts elsewhere too"
            return Outgoing(weight, next((p for p in after[0].parents[2:] if isinstance(p, Parameter)), None))
        named = "a norm" if "norm" in after[0].op.name else f"the operation {after[0].op.name}"
        return f"{named} after it" if len(after) == 1 else f"{len(after)} operations after it"


def check_finite(x: Array, name: str) -> Array:
    """An array of at least one sample, without NaN and infinities."""
    if x.ndim == 0 or not x.size:
        raise ValueError(f"{name} has shape {x.shape}, expected at least one sample along axis 0")
    if not np.isfinite(x).all():
        raise ValueError(f"{name} holds {x[~np.isfinite(x)][0]}, expected finite numbers")
    return x


def check_loss(loss: Any, who: str) -> None:
    if not callable(loss):
        raise TypeError(f"{who}: loss is {said(loss)}, expected a function such as F.cross_entropy")


def check_optimizer(optimizer: Any, who: str) -> None:
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise TypeError(f"{who}: the optimizer is {said(optimizer)}, expected an Optimizer or None")


def samples_axis(model: Module) -> int:
    """The axis of the samples in the data of a model: 1 of a recurrent layer whose first axis is time."""
    return int(isinstance(model, RecurrentLayers) and not model.batch_first)


def _split(x: Array, axis: int, batch_size: int) -> Iterator[Array]:
    for start in range(0, x.shape[axis], batch_size):
        yield x[:, start:start + batch_size] if axis else x[start:start + batch_size]


def labelled(x: Array, y: Any, axis: int, loss: Any, batch_size: int, who: str) -> list[tuple[Array, Array]]:
    """The samples with their labels, or targets of the loss, some at a time."""
    check_count(batch_size, f"{who}: batch_size")
    check_loss(loss, who)
    n = x.shape[axis]
    targets = check_labels(y, n=n) if loss is F.cross_entropy else check_finite(as_numbers(value(y), "y"), f"{who}: y")
    if len(targets) != n:
        raise ValueError(f"{who}: y has {len(targets)} entries for {n} samples; expected one each")
    return list(zip(_split(x, axis, batch_size), _split(targets, 0, batch_size)))
