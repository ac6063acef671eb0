"""Where the units of a model are, and in which state each unit is.

A *unit* is one column of a hidden layer: an affine map followed by an activation. In a Maxout layer each piece is a unit: a piece
that never wins gets no gradient, just like a dead ReLU.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal, NamedTuple, Self

import numpy as np

from .. import functional as F
from ..autodiff.node import Array, no_grad, recording
from ..autodiff.tape import grad
from ..checks import check_labels, check_samples, counted, said
from ..kernels.formulas.record import Elementwise
from ..kernels.loops.reduce import extremes_given_slopes, unit_extremes
from ..kernels.machine.door import launch
from ..kernels.machine.policy import Kernel
from ..nn import (
    Dropout,
    Embedding,
    Flatten,
    Identity,
    Linear,
    Maxout,
    Module,
    ModuleDict,
    ModuleList,
    Parameter,
    Residual,
    Sequential,
    Softmax,
)
from ..nn.module import evaluating
from ..nn.recurrent import Recurrent
from ..ops.activation import activation_op, flat_sides
from ..tensor import Tensor

BATCH = 4096        # samples at a time: bounds the memory, and fits into the caches
NO_ACTIVATIONS = (Linear, Maxout, Embedding, Recurrent, ModuleList, ModuleDict, Dropout, Flatten, Softmax)


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
    AFFINE = 8          # the same slope, not zero, on every sample, but not all z > 0: a leaky unit below zero on all data

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
INPUTS = "its inputs pass through {}, whose outputs in training differ from those in evaluation, and nothing is claimed"


@dataclass(frozen=True)
class HiddenLayer:
    """One hidden layer of a model: ``activation(norm(affine(x)))``."""

    name: str                       # of the affine module in the model
    affine: Linear | Maxout
    activation: Module | None       # None for Maxout
    depth: int                      # the number of layers before it: 0 if its input is the data itself
    norm: Module | None = None
    residuals: tuple[str, ...] = ()     # the Residual blocks that hold it, outermost first
    unclaimed: str = ""             # why the theory claims nothing of its dead units; empty if it claims something
    follows: HiddenLayer | None = None      # the hidden layer whose output is its input, if nothing is in between

    def is_on_every_path_of(self, earlier: HiddenLayer) -> bool:
        """Whether every path from an earlier layer to the output leads through this one: no Residual skips it."""
        return earlier.residuals[:len(self.residuals)] == self.residuals

    @property
    def pieces(self) -> int:
        return self.affine.pieces if isinstance(self.affine, Maxout) else 1

    @property
    def units(self) -> int:
        """The number of units (in a Maxout layer: of pieces)."""
        return len(self.affine.weight.data)

    @property
    def parameters(self) -> list[Parameter]:
        """The weight, and the bias if there is one."""
        return [p for p in (self.affine.weight, self.affine.bias) if p is not None]

    @property
    def has_idle_bias(self) -> bool:
        """Whether batch normalisation subtracts the bias again, with the mean of the batch."""
        return self.affine.bias is not None and self.norm is not None and self.norm.depends_on_mode

    @property
    def activation_name(self) -> str:
        return "maxout" if self.activation is None else str(getattr(self.activation, "name", type(self.activation).__name__))

    def pre_activations(self, x: Any) -> Tensor:
        """The inputs z of the activation, (samples, units); a norm is applied as in evaluation."""
        with no_grad():
            z = F.linear(x, self.affine.weight, self.affine.bias)
            if self.norm is None:
                return z
            with evaluating(self.norm):
                return self.norm(z)

    def outputs(self, z: Tensor) -> Tensor:
        """The outputs of the layer, as in evaluation; nothing is recorded."""
        with no_grad():
            if self.activation is None:
                return F.maxout(z, self.pieces)
            with evaluating(self.activation):               # RReLU: the mean slope, no draws
                found: Tensor = self.activation(z)
            return found

    def slopes(self, z: Tensor, out: Tensor) -> Array:
        """The slopes dh/dz, per sample and unit, where ``out = outputs(z)``."""
        record: Elementwise[...] | None = getattr(self.activation, "record", None)
        if record is not None:
            p, pull = getattr(self.activation, "p", ()), activation_op(record).pull_of(0)
            return np.asarray(pull(np.ones(z.shape, z.dtype), out.data, z.data, p=p))
        z = Tensor.leaf(z.data, requires_grad=True)
        with recording(), evaluating(self.affine if self.activation is None else self.activation):
            again = F.maxout(z, self.pieces) if self.activation is None else self.activation(z)
            return np.asarray(grad(again, z, np.ones(again.shape, again.dtype))[0].data)


Step = HiddenLayer | Module | Literal["keep", "add"]       # a Residual keeps its input at its beginning, and adds it at its end


def steps_of(model: Module) -> list[Step]:
    """A Sequential model as the steps of its evaluation, up to the last hidden layer; the other steps are modules without units.

    A hidden layer is a Linear, perhaps a norm, and an activation; or a Maxout. It may be inside other Sequentials and Residuals.
    Dropout, Flatten and Identity do nothing here. A TypeError names a layer that the laboratory cannot look into.
    """
    if getattr(type(model), "forward", None) not in (Sequential.forward, Residual.forward):
        own = " with a forward of its own" if isinstance(model, Sequential) else ""
        raise TypeError(f"the laboratory got {type(model).__name__}{own}, expected a Sequential model (such as nn.MLP)")
    leaves, steps = list(_leaves(model, "", ())), list[Step]()
    depth, random = 0, ""                           # the layers so far; why the inputs of the next differ in training
    follows: HiddenLayer | None = None
    while leaves:
        name, module, residuals = leaves.pop(0)
        if module in ("keep", "add"):
            steps.append(module)
            follows = follows if module == "keep" else None
            continue
        if isinstance(module, Dropout):
            random = random or (INPUTS.format("Dropout") if module.p else "")
            continue
        is_linear, is_maxout = (isinstance(module, kind) and type(module).forward is kind.forward for kind in (Linear, Maxout))
        norm, activation = _taken(leaves) if is_linear else (None, None)
        if activation is not None or is_maxout:
            unclaimed = (NORMALISED if norm is not None else PIECE if activation is None else MODE if activation.depends_on_mode
                         else random)
            follows = HiddenLayer(name, module, activation, depth, norm, residuals, unclaimed, follows)
            steps.append(follows)
        elif is_linear or isinstance(module, Softmax) or module.is_norm:
            steps.append(module)
            follows = None
        else:
            raise TypeError(f"the laboratory cannot look into {type(module).__name__} at layer {name}: {_reason(module)}")
        depth += 1
        changing = [type(m).__name__ for m in (module, norm, activation) if m is not None and m.depends_on_mode]
        random = random or (INPUTS.format(changing[0]) if changing else "")
    while steps and not isinstance(steps[-1], HiddenLayer):
        steps.pop()
    if not steps:
        raise ValueError("the laboratory found no hidden layer in this model, expected at least one")
    return steps


def _taken(leaves: list[tuple[str, Any, tuple[str, ...]]]) -> tuple[Module | None, Module | None]:
    """The norm and the activation of a Linear, taken from the leaves after it; two Nones if no activation follows."""
    ahead = [module for _, module, _ in leaves[:2]]
    norm = ahead.pop(0) if ahead and getattr(ahead[0], "is_norm", False) else None
    if not ahead or not _may_be_activation(ahead[0]):
        return None, None
    del leaves[:1 if norm is None else 2]
    return norm, ahead[0]


def _leaves(module: Module, name: str, residuals: tuple[str, ...]) -> Iterator[tuple[str, Any, tuple[str, ...]]]:
    """The modules inside Sequentials and Residuals, with their names and the Residuals that hold them."""
    forward = type(module).forward
    skips = forward is Residual.forward
    if skips or forward is Sequential.forward:
        residuals = (*residuals, name) if skips else residuals
        if skips:
            yield name, "keep", residuals
        for child, layer in module.named_children():
            yield from _leaves(layer, f"{name}.{child}" if name else child, residuals)
        if skips:
            yield name, "add", residuals
    elif not isinstance(module, Identity) and not (isinstance(module, Flatten) and (module.start_dim, module.end_dim) == (1, -1)):
        yield name, module, residuals


def _reason(module: Module) -> str:
    """Why the laboratory cannot look into a layer."""
    if isinstance(module, Recurrent):
        return "its units get their own outputs as inputs of the next time step"
    if isinstance(module, (Linear, Maxout, Sequential)):
        return "it has a forward of its own"
    if _may_be_activation(module):
        return "expected a Linear directly before it, or a norm in between"
    return "expected Linear, Maxout, activations, norms, Dropout, Flatten(), Identity or Softmax, in Sequential or Residual"


def _may_be_activation(module: Any) -> bool:
    """Whether this is a module, and neither it nor any inside it is of another known kind."""
    return isinstance(module, Module) and not any(m.is_norm or isinstance(m, NO_ACTIVATIONS) for m in module.modules())


class Look(NamedTuple):
    """One batch at one hidden layer: its inputs; and per unit z, h and the slope dh/dz, of shape (samples, units)."""

    layer: HiddenLayer
    inputs: Array
    z: Array
    h: Array
    slope: Array


class Units:
    """The units of a model, found once; `census`, `prognosis` and `Recorder` take it in place of the model.

    >>> [layer.name for layer in Units(nn.MLP([2, 3, 4, 1], rng=0)).layers]
    ['0', '2']
    """

    def __init__(self, model: Module) -> None:
        if getattr(model, "members", None) is not None:
            raise TypeError(f"the laboratory got a population of {model.members} networks, expected one: model.member(k)")
        self.model, self.steps = model, steps_of(model)
        self.layers = [step for step in self.steps if isinstance(step, HiddenLayer)]

    @classmethod
    def of(cls, model: Module | Units) -> Units:
        return model if isinstance(model, Units) else cls(model)

    def data(self, x: Any) -> Array:
        """x as an array (samples, features) that fits the model, in its dtype; flattened, if the model begins with a Flatten."""
        first = next(m for m in self.model.modules() if isinstance(m, (Flatten, Linear, Maxout)))
        if isinstance(first, Flatten) and np.ndim(x) > 2:
            x = np.reshape(x, (len(x), -1))
        x, affine = check_samples(x), next(m for m in self.model.modules() if isinstance(m, (Linear, Maxout)))
        if x.shape[1] != affine.in_features:
            raise ValueError(f"x has {counted(x.shape[1], 'feature')}, expected {affine.in_features}, the inputs of the model")
        return np.asarray(x.astype(affine.weight.dtype, copy=False))

    def walk(self, x: Array) -> Iterator[Look]:
        """Send one batch through the model as in evaluation, and yield a look at each hidden layer, first to last."""
        for layer, inputs, z, out in self.through(x):
            slope = layer.slopes(z, out)
            h = out.data if layer.activation is not None else np.where(slope > 0, z.data, 0)        # a piece: where it wins
            yield Look(layer, inputs, z.data, h, slope)

    def through(self, x: Array) -> Iterator[tuple[HiddenLayer, Array, Tensor, Tensor]]:
        """`walk` without slopes: each hidden layer with its inputs, z and its outputs."""
        kept: list[Array] = []
        for step in self.steps:
            if isinstance(step, HiddenLayer):
                z = step.pre_activations(x)
                out = step.outputs(z)
                yield step, x, z, out
                x = out.data
            elif step == "keep":
                kept.append(x)
            elif step == "add":
                x = x + kept.pop()
            else:
                with no_grad(), evaluating(step):
                    x = step(x).data

    def looks(self, x: Array, batch_size: int = BATCH) -> Iterator[list[Look]]:
        """`walk` over data of any size, batch by batch: for each a look at every hidden layer."""
        return (list(self.walk(x[start:start + batch_size])) for start in range(0, len(x), batch_size))

    def extremes(self, x: Array) -> list[tuple[Look, Extremes]]:
        """`walk`, with the extremes on this batch, which is all of the data."""
        found = [(look, Extremes(look.layer).add(look.z, look.slope)) for look in self.walk(x)]
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


def check_loss(loss: Any, who: str) -> None:
    if not callable(loss):
        raise TypeError(f"{who}: loss is {said(loss)}, expected a function such as F.cross_entropy")


def check_targets(y: Any, n: int, loss: Any, who: str) -> Array:
    """The labels or targets of n samples, for a loss."""
    check_loss(loss, who)
    targets = check_labels(y, n=n) if loss is F.cross_entropy else np.asarray(y)
    if len(targets) != n:
        raise ValueError(f"{who}: y has {len(targets)} entries for {n} samples; expected one each")
    if not n:
        raise ValueError(f"{who}: x is empty, expected at least one sample")
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
        n, dtype = layer.units, layer.affine.weight.dtype
        self.zmax, self.slope_max = np.full(n, -np.inf, dtype), np.zeros(n, dtype)
        self.zmin, self.slope_min = np.full(n, np.inf, dtype), np.full(n, np.inf, dtype)
        self.bad = np.zeros(n)
        self.reached: Array | None = None       # the units with an open path to the output on some sample; None: not computed
        self.slopes: Callable[[], Array]        # the slopes of the batch that was added last

    @classmethod
    def stacked(cls, several: Sequence[Extremes]) -> Extremes:
        """Those of several looks at one layer, (looks, units), so that all states are found at once."""
        found = cls(several[0].layer)
        for name in ("zmax", "zmin", "slope_max", "slope_min", "bad", "reached"):
            setattr(found, name, np.stack([getattr(one, name) for one in several]))
        return found

    def add(self, z: Array, slope: Array) -> Self:
        self.slopes = lambda: slope
        return self._launch(extremes_given_slopes, z, slope, ())

    def add_outputs(self, z: Tensor, out: Tensor) -> Self:
        """`add` where ``out = activation(z)`` is known: a record gives the slopes from z and out."""
        record: Elementwise[...] | None = getattr(self.layer.activation, "record", None)
        if record is None:
            return self.add(z.data, self.layer.slopes(z, out))
        self.slopes = lambda: self.layer.slopes(z, out)
        return self._launch(unit_extremes(record), z.data, out.data, getattr(self.layer.activation, "p", ()))

    def _launch(self, kernel: Kernel, *arguments: Any) -> Self:
        launch(kernel, *arguments, self.zmax, self.zmin, self.slope_max, self.slope_min, self.bad)
        return self

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
        layer = extremes.layer
        is_open: Array = np.ones(1, bool)
        for later, samples in closed:
            if later.is_on_every_path_of(layer):
                is_open = np.logical_and(is_open, samples)
        before = extremes.reached
        if not is_open.any():
            reached: Array = np.zeros(layer.units, bool)
        elif is_open.all():         # the extremes of the first batch suffice
            reached = extremes.slope_max > 0 if before is None else np.asarray(extremes.slopes().any(axis=0))
        else:
            reached = np.asarray(extremes.slopes()[is_open].any(axis=0))
        extremes.reached = reached if before is None else before | reached
        if extremes is not layers[0] and not extremes.slope_min.any():          # no unit is alive on every sample
            samples = np.asarray(extremes.slopes().any(axis=1)) if extremes.slope_max.any() else np.zeros(1, bool)
            if not samples.all():
                closed.append((layer, samples))
