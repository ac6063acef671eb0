"""Where the units of a model are, and in which state each unit is.

A *unit* is one column of a hidden layer: what an activation is applied to, nearly always an affine map. In a Maxout layer each
piece is a unit: a piece that never wins gets no gradient, just like a dead ReLU. In a recurrent layer each gate is a
layer. A layer that acts several times in a pass, on several positions of a sample or at several times, is looked at everywhere.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np

from .. import functional as F
from ..autodiff.node import Array, Node, no_grad, recording, value
from ..autodiff.tape import grad
from ..checks import as_floats, as_numbers, check_labels, check_samples, counted, said
from ..kernels.formulas.record import Elementwise
from ..kernels.loops.reduce import extremes_given_slopes, unit_extremes
from ..kernels.machine.door import launch
from ..nn import Embedding, Flatten, Linear, Maxout, Module, Parameter, Residual, Sequential
from ..nn.module import evaluating
from ..nn.recurrent import Recurrent, RecurrentLayers
from ..ops.activation import activation_op, flat_sides
from ..ops.linalg import affine
from ..ops.shape import RESHAPE
from ..tensor import Tensor
from .passes import Applied, Call, Parts, activations, before_norms, gate_of, parts_of, passed, recurrent_parts, straight, tensors

BATCH = 4096        # samples at a time: bounds the memory, and fits into the caches


class State(IntEnum):
    """The state of a unit on a whole data set."""

    ALIVE = 0
    DEAD = 1            # slope exactly zero on every sample, on the low side (or low on some samples and high on the others)
    DEAD_HIGH = 2       # slope exactly zero on every sample, on the high side (hardtanh, relu6, hardsigmoid)
    SATURATED = 3       # all slopes below a threshold, but not all zero; or all zero, by underflow or by a step
    ALWAYS_ON = 4       # z > 0 and the same slope on every sample: an affine function of the data
    NEVER_WINS = 5      # a Maxout piece that is not the largest on any sample
    DIVERGED = 6        # a pre-activation is NaN or infinite
    CUT_OFF = 7         # not dead, but on each sample on which its slope is not zero, all units of some later layer are flat
    AFFINE = 8          # the same slope, not zero, on every sample, but not all z > 0: a leaky unit below 0, or z is constant

    @property
    def label(self) -> str:
        return self.name.lower().replace("_", " ").replace("dead high", "dead on the high side")

    @property
    def gone(self) -> bool:
        """Whether the unit's own slopes let no gradient through to its weights and bias. (The learned slope of a dead PReLU may
        get a gradient. So may the weights before a layer norm, through the mean and variance that the units share.)"""
        return self in (State.DEAD, State.DEAD_HIGH, State.NEVER_WINS)


GONE = np.array([state.gone for state in State])        # indexed by an array of states

# Why the theory claims nothing of the dead units of a layer: `HiddenLayer.unclaimed`.
MODE = "its activation acts differently in training, and nothing is claimed"
NORMALISED = "a norm comes before the activation: in training z depends on the batch, and nothing is claimed"
PIECE = "a piece that never wins is moved by the optimizer alone; whether it wins again depends on the others, which learn"
RECURRENT = "its units get their own outputs as inputs of the next time step, and nothing is claimed"
OTHER = "it is not the activation of one affine map, x @ weight.T + bias, and nothing is claimed"
INPUTS = "its inputs pass through {}, whose outputs in training differ from those in evaluation, and nothing is claimed"


class Site(NamedTuple):
    """Where a layer acts in a forward pass: the numbers of nodes, and the gate of a recurrent layer."""

    out: int
    z: int | None           # None: the first input of `out`
    affine: int | None      # the affine map directly before it
    gate: str


class Outgoing(NamedTuple):
    """The one layer that takes the outputs of a hidden layer: column j of its weight has the outgoing weights of unit j."""

    weight: Parameter
    bias: Parameter | None


@dataclass(frozen=True, eq=False)
class HiddenLayer:
    """One hidden layer of a model: an activation, mostly ``activation(norm(affine(x)))``.

    Attributes
    ----------
    name : of its weights in the state dict, without ".weight"; of a gate, with the name of the gate.
    activation : None for Maxout; made for the occasion if the model calls a function.
    parts : the parameters of which each unit has a part of its own: the axis of the units, and which entries.
    weight, bias : if it is the activation of one affine map, ``x @ weight.T + bias``, perhaps with a norm in between; else None.
    plain : whether there is such a map, and no norm.
    fixed : whether no parameter of the model acts on its inputs: they are the data, or computed from them alone.
    follows : the hidden layer whose output is its input, if nothing is in between.
    gates : the names of the layers of which every path to the output leads through this one.
    outgoing : where its outputs go, or in words why there is no one such layer.
    unclaimed : why the theory claims nothing of its dead units; empty if it claims something.
    """

    name: str
    activation: Module | None
    owned: bool
    units: int
    pieces: int
    dtype: Any
    parts: Parts
    weight: Parameter | None
    bias: Parameter | None
    norm: Module | None
    plain: bool
    fixed: bool
    follows: HiddenLayer | None
    gates: frozenset[str]
    outgoing: Outgoing | str
    unclaimed: str
    sites: tuple[Site, ...]

    def is_on_every_path_of(self, earlier: HiddenLayer) -> bool:
        """Whether every path from an earlier layer to the output leads through this one."""
        return earlier.name in self.gates

    @property
    def parameters(self) -> list[Parameter]:
        """Those of which each unit has a part: of a plain layer the weight, and the bias if there is one."""
        return list(self.parts)

    def part(self, p: Parameter, array: Array) -> Array:
        """The parts of the units of a parameter, or of its gradient, (units, numbers)."""
        axis, rows = self.parts[p]
        return np.moveaxis(array, axis, 0)[rows].reshape(self.units, -1)

    @property
    def has_idle_bias(self) -> bool:
        """Whether batch normalisation subtracts the bias again, with the mean of the batch."""
        return self.bias is not None and self.norm is not None and self.norm.depends_on_mode

    @property
    def is_recurrent(self) -> bool:
        return bool(self.sites[0].gate)

    @property
    def activation_name(self) -> str:
        return "maxout" if self.activation is None else str(getattr(self.activation, "name", type(self.activation).__name__))

    def outputs(self, z: Tensor) -> Tensor:
        """The outputs of the layer, as in evaluation; nothing is recorded."""
        with no_grad():
            if self.activation is None:
                return F.maxout(z, self.pieces)
            with evaluating(self.activation) if self.activation.depends_on_mode else nullcontext():     # RReLU: the mean slope
                found: Tensor = self.activation(z)
            return found

    def slopes(self, z: Tensor, out: Tensor) -> Array:
        """The slopes dh/dz, per sample and unit, where ``out = outputs(z)``."""
        record: Elementwise[...] | None = getattr(self.activation, "record", None)
        if record is not None:
            p, pull = getattr(self.activation, "p", ()), activation_op(record).pull_of(0)
            return np.asarray(pull(np.ones(z.shape, z.dtype), out.data, z.data, p=p))
        z = Tensor.leaf(z.data, requires_grad=True)
        with recording():
            if self.activation is None:
                again = F.maxout(z, self.pieces)
            else:
                with evaluating(self.activation):
                    again = self.activation(z)
            return np.asarray(grad(again, z, np.ones(again.shape, again.dtype))[0].data)

    def read(self, nodes: Sequence[Node], samples: int) -> Look:
        """What the layer does in a pass with these nodes; slopes are computed when they are asked for."""
        inputs, z, out = list[Array](), list[Array](), list[Array]()
        for site in self.sites:
            node = nodes[site.out]
            if site.gate:               # (steps, rows, size), in the order of time
                at = np.ascontiguousarray(gate_of(node, site.gate).transpose(1, 0, 2))
                z.append(at)
                out.append(self.outputs(Tensor.leaf(at.reshape(-1, self.units))).data.reshape(at.shape))
            else:
                z.append(node.values[0] if site.z is None else nodes[site.z].array)
                out.append(node.array)
            if site.affine is not None:
                inputs.append(nodes[site.affine].values[0])
        aligned = all(len(part) == samples for part in z)

        def rows(several: list[Array], size: int) -> Array:         # of several sites, those of each sample side by side
            if len(several) < 2:
                return several[0].reshape(-1, size) if several else np.empty((0, 0), self.dtype)
            if aligned:
                return np.concatenate([part.reshape(samples, -1, size) for part in several], axis=1).reshape(-1, size)
            return np.concatenate([part.reshape(-1, size) for part in several])

        flat = rows(z, self.units)
        return Look(self, rows(inputs, inputs[0].shape[-1] if inputs else 0), Tensor.leaf(flat),
                    Tensor.leaf(rows(out, self.units // self.pieces)), len(flat) // samples if aligned else 0)


@dataclass(eq=False)
class Look:
    """One batch at one hidden layer: its inputs; and per unit z, h and the slope dh/dz, of shape (rows, units).

    There is a row for each sample; if the layer acts on several positions of a sample, or at several times, `positions` rows, one
    after the other. `positions` is 0 if the samples are not along the first axis.
    """

    layer: HiddenLayer
    inputs: Array
    before: Tensor
    out: Tensor
    positions: int

    @property
    def z(self) -> Array:
        return self.before.array

    @cached_property
    def slope(self) -> Array:
        return self.layer.slopes(self.before, self.out)

    @property
    def h(self) -> Array:
        """The outputs; of a Maxout piece, where it wins."""
        return self.out.array if self.layer.activation is not None else np.where(self.slope > 0, self.z, 0)


class Units:
    """The units of any model, found once; the instruments take it in place of the model.

    `x` are samples for which the model runs once; without them, zeros, if the model begins with a layer that tells its inputs.

    >>> Units(nn.MLP([2, 3, 4, 1], rng=0))
    Units(MLP, 0: 3 relu, 2: 4 relu)
    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         self.memory, self.last = nn.LSTM(2, 3, batch_first=True, rng=0), nn.Linear(3, 1, rng=0)
    ...     def forward(self, x):
    ...         return F.relu(self.last(self.memory(x)[0][:, -1]))
    >>> [layer.name for layer in Units(Net(), np.zeros((1, 5, 2))).layers]
    ['memory.l0 input', 'memory.l0 forget', 'memory.l0 cell', 'memory.l0 output', 'memory.l0 state', 'last']
    """

    def __init__(self, model: Module, x: Any = None) -> None:
        if not isinstance(model, Module):
            raise TypeError(f"the laboratory got {said(model)}, expected a Module such as nn.MLP")
        if model.members is not None:
            raise TypeError(f"the laboratory got a population of {model.members} networks, expected one: model.member(k)")
        self.model = model
        self.integers = any(isinstance(m, Embedding) for m in model.modules())
        self.axis = int(isinstance(model, RecurrentLayers) and not model.batch_first)        # of the samples
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

    def twin(self, dtype: Any = None) -> Units:
        """The units of a copy of the model."""
        model = deepcopy(self.model)
        return Units(model if dtype is None else model.astype(dtype), self.example)

    @property
    def tells_inputs(self) -> bool:
        """Whether the model begins with a layer that tells its inputs, so that the units are found without data."""
        return isinstance(self.model, (Sequential, Linear, Maxout, Recurrent)) and any(
            isinstance(m, (Linear, Maxout, Embedding, Recurrent)) for m in self.model.modules())

    def _example(self) -> Array:
        first: Any = next((m for m in self.model.modules() if isinstance(m, (Linear, Maxout, Embedding, Recurrent))), None)
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
        kinds = (m for m in self.model.modules() if isinstance(m, (Flatten, Linear, Maxout, Embedding, Recurrent)))
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

    def batches(self, x: Array, batch_size: int = BATCH) -> Iterator[Array]:
        """The samples of x, some at a time."""
        for start in range(0, x.shape[self.axis], batch_size):
            yield x[:, start:start + batch_size] if self.axis else x[start:start + batch_size]

    def walk(self, x: Array) -> Iterator[Look]:
        """Send one batch through the model as in evaluation, and yield a look at each hidden layer, first to last."""
        return self.seen(passed(self.model, x)[1], x.shape[self.axis])

    def seen(self, nodes: Sequence[Node], samples: int) -> Iterator[Look]:
        """A look at each hidden layer in a pass that has been made."""
        if self.program != [node.op.name for node in nodes]:
            raise RuntimeError(f"the laboratory: the forward of {type(self.model).__name__} applies other operations to these "
                               f"samples than to the first ones; expected {len(self.program)}, the same for all samples")
        return (layer.read(nodes, samples) for layer in self.layers)

    def looks(self, x: Array, batch_size: int = BATCH) -> Iterator[list[Look]]:
        """`walk` over data of any size, batch by batch: for each a look at every hidden layer."""
        return (list(self.walk(part)) for part in self.batches(x, batch_size))

    def extremes(self, x: Array) -> list[tuple[Look, Extremes]]:
        """`walk`, with the extremes on this batch, which is all of the data."""
        found = [(look, Extremes(look.layer).add(look)) for look in self.walk(x)]
        note_paths([extremes for _, extremes in found])
        return found

    def gradients(self, x: Array, y: Any, parameters: Sequence[Parameter], who: str,
                  loss: Callable[..., Tensor] = F.cross_entropy, batch_size: int = BATCH) -> dict[Parameter, Array]:
        """The gradients of the mean loss over all samples, batch by batch, as in evaluation; zeros where none is required.

        ``loss(output, y, reduction="sum")``; errors begin with `who`.
        """
        targets = check_targets(y, len(x), loss, who)
        learning = [p for p in parameters if p.requires_grad]
        sums = {p: np.zeros_like(p.array) for p in parameters}
        with evaluating(self.model), recording():
            for start in range(0, len(x) if learning else 0, batch_size):
                part = slice(start, start + batch_size)
                total = loss(self.model(x[part]), targets[part], reduction="sum")
                sums |= {p: sums[p] + found.data for p, found in zip(learning, grad(total, learning))}
        return {p: g / len(x) for p, g in sums.items()}


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
    site: Site
    parts: Parts
    affine: Any             # the affine map before it, if there is one
    norm: Module | None     # in between
    any_norm: bool          # whether a norm is in between, a module or not

    @property
    def key(self) -> Any:
        """The same for all uses of one layer: those of the same parts of parameters, with the same activation."""
        if not self.parts:
            return self.site
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
        self.place = {id(node): i for i, node in enumerate(self.nodes)}
        self.names = {id(p): name for name, p in reversed(list(model._entries(Parameter)))}
        self.takers: dict[int, list[Node]] = {}         # for each node, the operations on it
        for node in self.nodes:
            for parent in node.parents:
                self.takers.setdefault(id(parent), []).append(node)

    def use(self, applied: Applied) -> _Use:
        out, gate = applied.out, applied.gate
        if gate:
            return _Use(applied, Site(self.place[id(out)], None, None, gate), recurrent_parts(out, gate), None, None, False)
        z: Any = out.parents[0] if applied.z is None else applied.z
        if applied.activation is None and z.op is RESHAPE:          # Maxout: its input has an axis for the pieces
            z = z.parents[0]
        source, norm, any_norm = before_norms(z, self.calls)
        parts = parts_of(source)
        is_affine = source.op is affine() and source.parents[1] in parts and all(
            p is None or p in parts for p in source.parents[2:])
        site = Site(self.place[id(out)], None if applied.z is None else self.place[id(applied.z)],
                    self.place[id(source)] if is_affine else None, gate)
        return _Use(applied, site, parts, source if is_affine else None, norm, any_norm)

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
            follows=next((one for one in earlier if len(one.sites) == 1 and before is self.nodes[one.sites[0].out]), None),
            gates=self.gates(out, earlier) if single and not applied.gate else frozenset(),
            outgoing=self.outgoing(applied) if single else "several uses in one pass",
            unclaimed=self.unclaimed(uses[0], plain),
            sites=tuple(use.site for use in uses))

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
        return frozenset(layer.name for layer in earlier if not any(id(self.nodes[site.out]) in seen for site in layer.sites))

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


def check_targets(y: Any, n: int, loss: Any, who: str) -> Array:
    """The labels or targets of n samples, for a loss."""
    check_loss(loss, who)
    targets = check_labels(y, n=n) if loss is F.cross_entropy else check_finite(as_numbers(value(y), "y"), f"{who}: y")
    if len(targets) != n:
        raise ValueError(f"{who}: y has {len(targets)} entries for {n} samples; expected one each")
    return targets


def flat_edges(activation: Module | None) -> tuple[float, float]:
    """Where an activation is flat, its slope exactly zero: for z <= low and for z >= high, with -inf and inf if nowhere.

    A PReLU is flat on the low side if one of its slopes is 0: that unit is a ReLU.

    >>> flat_edges(nn.ReLU()), flat_edges(nn.ReLU6()), flat_edges(nn.Tanh()), flat_edges(nn.ReLU(at_zero=0.5))
    ((0.0, inf), (0.0, 6.0), (-inf, inf), (-5e-324, inf))
    """
    record: Elementwise[...] | None = getattr(activation, "record", None)
    if record is None:
        slopes = [p.data for p in activation.parameters() if p.kind == "slope"] if activation is not None else []
        return -np.inf if all(slope.all() for slope in slopes) else 0.0, np.inf
    return flat_sides(record, getattr(activation, "p", ()))


class Extremes:
    """The extremes of z and slope of the units of one layer, batch by batch, and the `states` that follow from them."""

    def __init__(self, layer: HiddenLayer) -> None:
        self.layer = layer
        n, dtype = layer.units, layer.dtype
        self.zmax, self.slope_max = np.full(n, -np.inf, dtype), np.zeros(n, dtype)
        self.zmin, self.slope_min = np.full(n, np.inf, dtype), np.full(n, np.inf, dtype)
        self.bad = np.zeros(n)
        self.reached: Array | None = None       # the units with an open path to the output on some sample; None: not computed
        self.look: Look                         # the batch that was added last

    @classmethod
    def stacked(cls, several: Sequence[Extremes]) -> Extremes:
        """Those of several looks at one layer, (looks, units), so that all states are found at once."""
        found = cls(several[0].layer)
        for name in ("zmax", "zmin", "slope_max", "slope_min", "bad", "reached"):
            setattr(found, name, np.stack([getattr(one, name) for one in several]))
        return found

    def add(self, look: Look) -> Self:
        """Note a batch. If the activation has a record, its slopes follow from z and the outputs, and need no array."""
        self.look = look
        record: Elementwise[...] | None = getattr(self.layer.activation, "record", None)
        known = record is None or "slope" in vars(look)
        first: Any = (extremes_given_slopes, look.z, look.slope, ()) if known else (
            unit_extremes(record), look.z, look.out.array, getattr(self.layer.activation, "p", ()))
        launch(*first, self.zmax, self.zmin, self.slope_max, self.slope_min, self.bad)
        return self

    def open(self) -> Array:
        """Which slopes of the last batch are not zero, (samples, units): at some position of the sample."""
        return np.asarray((self.look.slope != 0).reshape(-1, self.look.positions, self.layer.units).any(axis=1))

    def states(self, saturation: float = 1e-3) -> Array:
        """The state of every unit, as integers of `State`."""
        low, high = flat_edges(self.layer.activation)
        all_flat = self.slope_max == 0
        if self.layer.activation is None:
            found = np.where(all_flat, State.NEVER_WINS, np.where(self.slope_min > 0, State.ALWAYS_ON, State.ALIVE))
        else:
            same = (self.slope_min == self.slope_max) & (self.slope_max >= saturation)
            found = np.where(self.slope_max < saturation, State.SATURATED, State.ALIVE)
            always_on = same & (self.zmin > max(low, 0.0))
            found[self._same_sign(same & ~always_on)] = State.AFFINE
            found[always_on] = State.ALWAYS_ON
        if self.reached is not None:
            found[~self.reached & ~all_flat] = State.CUT_OFF
        if self.layer.activation is not None:
            found[all_flat & (self.zmin >= high)] = State.DEAD_HIGH
            found[all_flat & ((self.zmax <= low) | ((self.zmin <= low) & (self.zmax >= high)))] = State.DEAD
        found[self.bad > 0] = State.DIVERGED
        return found.astype(np.uint8)

    def _same_sign(self, candidates: Array) -> Array:
        """The candidates whose slopes at the smallest and the largest z are equal: those of abs(x) are the same in size only."""
        if not candidates.any():
            return candidates
        both = np.stack([self.zmin, self.zmax])
        z = Tensor(both.reshape(-1, both.shape[-1]))
        slopes = self.layer.slopes(z, self.layer.outputs(z)).reshape(both.shape)
        return np.asarray(candidates & (slopes[0] == slopes[1]))


def note_paths(layers: Sequence[Extremes]) -> None:
    """Note which units of all layers, first to last, have an open path to the output on some sample of the batch added last.

    A layer is closed on a sample if all its slopes there are exactly zero. (Weights of zero do not close a path.)
    """
    closed: list[tuple[HiddenLayer, Array]] = []        # later layers that are closed on some samples, and where they are open
    for extremes in reversed(layers):
        layer, aligned = extremes.layer, extremes.look.positions > 0
        is_open: Array = np.ones(1, bool)
        for later, samples in closed:
            if aligned and later.is_on_every_path_of(layer):
                is_open = np.logical_and(is_open, samples)
        before = extremes.reached
        if not is_open.any():
            reached: Array = np.zeros(layer.units, bool)
        elif is_open.all():         # the extremes of the first batch suffice
            reached = extremes.slope_max > 0 if before is None else np.asarray(extremes.look.slope.any(axis=0))
        else:
            reached = np.asarray(extremes.open()[is_open].any(axis=0))
        extremes.reached = reached if before is None else before | reached
        if layer.gates and aligned and not extremes.slope_min.any():           # no unit is alive on every sample
            samples = np.asarray(extremes.open().any(axis=1)) if extremes.slope_max.any() else np.zeros(1, bool)
            if not samples.all():
                closed.append((layer, samples))
