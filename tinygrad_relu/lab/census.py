"""The census: the state of every unit of every hidden layer on a data set; and the recorder, which notes it at every step."""
from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from .. import functional as F
from ..autodiff.node import Array, is_grad_enabled, recording
from ..autodiff.tape import grad
from ..checks import check_count, check_labels, check_number, counted, said
from ..kernels.loops.reduce import unit_sums
from ..kernels.machine.door import launch
from ..nn import Module, Sequential
from ..nn.module import evaluating
from ..ops.members import affine_of_members
from ..tensor import Tensor
from ..text import Table
from .units import GONE, Extremes, HiddenLayer, Look, State, Units, note_paths

Event = Literal["dead at the first look", "died", "revived", "died again", "diverged"]
LOOKS = 64          # observations whose states are found at once, which takes a tenth of the time
BATCH = 4096        # samples at a time: bounds the memory, and fits into the caches


@dataclass(frozen=True)
class LayerCensus:
    """One hidden layer: arrays with an entry per unit (in a Maxout layer: per piece).

    Attributes
    ----------
    pieces : pieces per Maxout unit, otherwise 1.
    state : integers of `State`.
    on_rate : share of the samples with z > 0 (for a Maxout piece: on which it wins).
    flat : share of the samples on which the slope is exactly zero.
    margin : ``max_z / |w|``, the distance from the unit's hyperplane to the farthest sample on its active side; if negative, to
        the nearest sample. NaN after a norm, because z is then not affine in the input.
    mean_h : mean absolute activation.
    dormancy : ``mean_h`` over its mean in the layer (Sokar et al. 2023, arXiv 2302.12902), 0 in a layer that is silent.
    gradient : norm of the raw gradient of the unit's incoming weights and bias; NaN if no labels were given.
    flags : other properties of a unit: for each of `FLAGS`, an array of bools.
    """

    name: str
    activation: str
    pieces: int
    state: Array
    on_rate: Array
    flat: Array
    max_z: Array
    mean_z: Array
    margin: Array
    mean_h: Array
    dormancy: Array
    gradient: Array
    flags: dict[str, Array]

    @property
    def dead(self) -> int:
        """The number of units whose own slopes let no gradient through: `State.gone`."""
        return int(GONE[self.state].sum())

    def count(self, state: State) -> int:
        return int((self.state == state).sum())

    def unit(self, j: int) -> dict[str, Any]:
        """One unit as a dict of plain numbers."""
        numbers = {name: float(getattr(self, name)[j]) for name in NUMBERS}
        return {"layer": self.name, "unit": j // self.pieces, **({"piece": j % self.pieces} if self.pieces > 1 else {}),
                "state": State(self.state[j]).label, "flags": [flag for flag in FLAGS if self.flags[flag][j]], **numbers}


NUMBERS = ("on_rate", "max_z", "mean_z", "margin", "mean_h", "dormancy", "gradient")
FLAGS = {
    "frozen": "neither its weights nor its bias require a gradient",
    "constant": "the same activation on every sample",
    "duplicate": "another unit of the layer has the same weights and bias",
    "dormant": "a dormancy of at most tau",
    "idle bias": "batch normalisation subtracts the bias again, so in training its gradient is zero up to rounding",
}


@dataclass(frozen=True)
class Census:
    """All hidden layers of a model on one data set. Printing it gives tables; `to_dict` and `to_json` give data."""

    samples: int
    layers: list[LayerCensus]

    @property
    def dead(self) -> list[int]:
        """The number of units whose own slopes let no gradient through, layer by layer."""
        return [layer.dead for layer in self.layers]

    def units(self) -> list[dict[str, Any]]:
        return [layer.unit(j) for layer in self.layers for j in range(len(layer.state))]

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers; NaN and infinities become None."""
        return {"samples": self.samples, "layers": [
            {"name": layer.name, "activation": layer.activation, "pieces": layer.pieces, "dead": layer.dead,
             "units": [{k: finite(v) for k, v in layer.unit(j).items()} for j in range(len(layer.state))]}
            for layer in self.layers]}

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

    def summary(self) -> Table:
        """One row per layer, with the states and flags that occur."""
        states = [s for s in State if s in (State.ALIVE, State.DEAD) or any(layer.count(s) for layer in self.layers)]
        flags = [flag for flag in FLAGS if any(layer.flags[flag].any() for layer in self.layers)]
        headings = ["layer", "activation", "units", *(s.label for s in states), "on-rate", *flags]
        return Table(f"census on {self.samples} samples", headings, [
            (layer.name, layer.activation, len(layer.state), *(layer.count(s) or "-" for s in states),
             f"{layer.on_rate.mean():.3f}", *(int(layer.flags[flag].sum()) or "-" for flag in flags)) for layer in self.layers])

    def table(self, rows: int | None = 24) -> Table:
        """One row per unit, at most `rows` (None: all); units that are not alive come first. (The flags "constant" and "dormant"
        are not printed for dead units: a dead ReLU has both.)"""
        units = sorted(self.units(), key=lambda unit: (unit["state"] == State.ALIVE.label))
        headings = ["layer", "unit", "state", *(name.replace("_", " ") for name in NUMBERS), "flags"]
        silent = State.DEAD.label, State.NEVER_WINS.label
        return Table("units", headings, [
            (unit["layer"], f"{unit['unit']}" + (f".{unit['piece']}" if "piece" in unit else ""), unit["state"],
             *(f"{unit[key]:.4g}" for key in NUMBERS),
             ", ".join(flag for flag in unit["flags"] if unit["state"] not in silent or flag not in ("constant", "dormant")))
            for unit in units], most=rows)

    def __str__(self) -> str:
        return f"{self.summary()}\n{self.table()}"


def census(model: Module | Units, x: Any, y: Any = None, *, loss: Callable[..., Tensor] = F.cross_entropy,
           batch_size: int = BATCH, saturation: float = 1e-3, tau: float = 0.025) -> Census:
    """Every unit of every hidden layer over a whole data set, streamed in batches. The model is not changed.

    Parameters
    ----------
    y : labels (or targets of `loss`), with which the norm of each unit's raw gradient is computed too.
    loss : ``loss(output, y, reduction="sum")``; the gradient is that of the mean over the samples.
    saturation : a unit with a slope below this on every sample is saturated.
    tau : a unit with a dormancy of at most this is dormant.

    >>> model = nn.MLP([2, 4, 3], rng=0)
    >>> model[0].bias.data = [-100.0, 0.0, 0.0, 100.0]
    >>> found = census(model, np.random.default_rng(0).standard_normal((50, 2)))
    >>> [unit["state"] for unit in found.units()]
    ['dead', 'alive', 'alive', 'always on']
    """
    units = Units.of(model)
    x = units.data(x)
    check_count(batch_size, "census: batch_size")
    check_number(saturation, "census: saturation")
    check_number(tau, "census: tau")
    if not callable(loss):
        raise TypeError(f"census: loss is {said(loss)}, expected a function such as F.cross_entropy")
    targets = None if y is None else check_labels(y, n=len(x)) if loss is F.cross_entropy else np.asarray(y)
    if targets is not None and len(targets) != len(x):
        raise ValueError(f"census: y has {len(targets)} entries for {len(x)} samples; expected one each")
    layers = [_Sums(layer) for layer in units.layers]
    gradients = {p: np.full_like(p.data, np.nan if y is None else 0) for layer in units.layers for p in layer.parameters}
    learning = [p for p in gradients if p.requires_grad]
    for start in range(0, len(x), batch_size):
        part = slice(start, start + batch_size)
        for sums, look in zip(layers, units.walk(x[part])):
            sums.join(look)
        note_paths(layers)
        if targets is not None and learning:
            with evaluating(units.model), recording():
                total = loss(units.model(x[part]), targets[part], reduction="sum")
                gradients |= {p: gradients[p] + found.data for p, found in zip(learning, grad(total, learning))}
    return Census(len(x), [one.census(len(x), saturation, tau, [gradients[p] for p in one.layer.parameters]) for one in layers])


class _Sums(Extremes):
    """The extremes, and the sums that only a census needs."""

    def __init__(self, layer: HiddenLayer) -> None:
        super().__init__(layer)
        self.zsum, self.hsum, self.on, self.flat = np.zeros((4, layer.units))
        self.hmin, self.hmax = np.full(layer.units, np.inf), np.full(layer.units, -np.inf)

    def join(self, look: Look) -> None:
        self.add(look.z, look.slope)
        launch(unit_sums, look.z, look.h, look.slope, self.zsum, self.hsum, self.on, self.flat)
        self.hmin, self.hmax = np.minimum(self.hmin, look.h.min(axis=0)), np.maximum(self.hmax, look.h.max(axis=0))

    def census(self, samples: int, saturation: float, tau: float, gradients: list[Array]) -> LayerCensus:
        layer, mean_h = self.layer, self.hsum / samples
        with np.errstate(all="ignore"):         # the network may have diverged
            margin = self.zmax / (np.linalg.norm(layer.affine.weight.data, axis=1) if layer.norm is None else np.nan)
            dormancy = mean_h / mean_h.mean() if mean_h.any() else np.zeros_like(mean_h)
            squares = [np.square(g / samples).reshape(layer.units, -1).sum(axis=1) for g in gradients]
        on = 1 - self.flat / samples if layer.activation is None else self.on / samples
        flags = {"frozen": np.full(layer.units, not any(p.requires_grad for p in layer.parameters)),
                 "constant": self.hmin == self.hmax, "duplicate": duplicates(layer), "dormant": dormancy <= tau,
                 "idle bias": np.full(layer.units, layer.has_idle_bias)}
        return LayerCensus(layer.name, layer.activation_name, layer.pieces, self.states(saturation), on, self.flat / samples,
                           self.zmax, self.zsum / samples, margin, mean_h, dormancy, np.sqrt(sum(squares)), flags)


def duplicates(layer: HiddenLayer) -> Array:
    """Which units have the same parameters as another: weights, bias, and their own entries in a norm or a slope. If their
    outgoing weights are the same too, their gradients are the same, and they stay equal."""
    held = [*layer.parameters, *(p for m in (layer.norm, layer.activation) if m is not None for p in m.parameters())]
    rows = [p.data.reshape(layer.units // layer.pieces, -1) for p in held if p.shape[:1] == (layer.units,)]
    alike = Counter(keys := [row.tobytes() for row in np.concatenate(rows, axis=1) + 0.0])         # -0.0 becomes 0.0
    return np.repeat([alike[key] > 1 for key in keys], layer.pieces)


def finite(value: Any) -> Any:
    """None for NaN and infinity, which JSON cannot hold; anything else as it is."""
    return None if isinstance(value, float) and not np.isfinite(value) else value


@dataclass(frozen=True)
class Life:
    """The events of one unit, oldest first, with their steps."""

    layer: str
    unit: int
    events: list[tuple[int, Event]]

    @property
    def revived_at(self) -> int | None:
        """The step of the first revival."""
        return next((step for step, event in self.events if event == "revived"), None)


class Recorder:
    """Watches the units of a Sequential model on `x`, the whole training set.

    `steps` holds the steps at which it looked; `states`, per layer, integers of `State`, (observations, units); `orbit`, the
    pre-activation of `follow`, a tuple (layer index, unit, sample).

    >>> model = nn.MLP([2, 3, 2], rng=0)
    >>> x = np.random.default_rng(0).standard_normal((50, 2))
    >>> recorder = Recorder(model, x)
    >>> recorder.observe()
    >>> model[0].bias.data = [-100.0, 0.0, 0.0]     # pushes unit 0 off the data
    >>> recorder.observe()
    >>> recorder.lives()[0].events
    [(1, 'died')]
    """

    def __init__(self, model: Module | Units, x: Any, follow: tuple[int, int, int] | None = None) -> None:
        self.units, self.follow = Units.of(model), follow
        self.model, self.layers, self.x = self.units.model, self.units.layers, self.units.data(x)
        if follow is not None and len(np.atleast_1d(follow)) != 3:
            raise TypeError(f"Recorder: follow is {said(follow)}, expected (layer, unit, sample)")
        layer, unit, sample = (check_count(i, "Recorder: an entry of follow", least=0) for i in follow or (0, 0, 0))
        for what, i, n in (("layer", layer, len(self.layers)), ("unit", unit, self.layers[layer % len(self.layers)].units),
                           ("sample", sample, len(self.x))):
            if i >= n:
                raise IndexError(f"Recorder: follow is (layer, unit, sample) = {follow}, expected a {what} from 0 to {n - 1}")
        self.steps: list[int] = []
        self.orbit: list[float] = []
        self._states: list[list[Array]] = [[] for _ in self.layers]         # blocks (observations, units)
        self._looks: list[list[Extremes]] = [[] for _ in self.layers]       # those whose states have not been found yet
        activations = {id(layer.activation) for layer in self.layers if layer.activation is not None}
        self._learns = any(layer.activation.parameters() for layer in self.layers if layer.activation is not None)     # slopes
        self._one_pass = len(activations) == len(self.layers) and not any(
            module.depends_on_mode for module in self.model.modules())

    def __repr__(self) -> str:
        when = f", steps {self.steps[0]} to {self.steps[-1]}" if self.steps else ""
        return f"Recorder({counted(sum(layer.units for layer in self.layers), 'unit')} on {counted(len(self.x), 'sample')}{when})"

    @property
    def states(self) -> list[Array]:
        self._find_states()
        return [np.concatenate(blocks) if blocks else np.empty((0, layer.units), np.uint8)
                for blocks, layer in zip(self._states, self.layers)]

    def _find_states(self) -> None:
        for blocks, looks in zip(self._states, self._looks):
            if looks:
                blocks.append(Extremes.stacked(looks).states())
                looks.clear()

    def observe(self, step: int | None = None) -> None:
        """Note the state of every unit, before the first step and after every step. `step` is the number of optimizer steps made;
        by default one more than at the last call, from 0."""
        self._note(step, [(look.z, extremes) for look, extremes in self.units.extremes(self.x)])

    def forward(self, step: int | None = None) -> Tensor:
        """``model(x)`` and `observe` in one pass, for training steps that use all samples; call `observe` after the last step.

        Where a training pass does not show the units as in evaluation (Maxout, batch norm, dropout, RReLU, an activation module
        that serves two layers), it makes two passes.

        >>> model = nn.MLP([2, 3, 2], rng=0)
        >>> recorder = Recorder(model, np.random.default_rng(0).standard_normal((50, 2)))
        >>> optimizer = optim.SGD(model.parameters(), lr=0.1)
        >>> F.cross_entropy(recorder.forward(), np.arange(50) % 2).backward()
        >>> optimizer.step()
        >>> recorder.observe()
        >>> recorder.steps
        [0, 1]
        """
        if not self._one_pass:
            self.observe(step)
            return self.model(self.x)
        output, seen = _seen(self.model, [layer.activation for layer in self.layers], self.x)
        self._see(step, seen)
        return output

    def _see(self, step: int | None, seen: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Note the states that follow from inputs and outputs of the activations."""
        found = [Extremes(layer).add_outputs(z, out) for layer, (z, out) in zip(self.layers, seen)]
        note_paths(found)
        self._note(step, [(z.data, extremes) for extremes, (z, _) in zip(found, seen)])

    def _note(self, step: int | None, looks: list[tuple[Array, Extremes]]) -> None:
        following = self.steps[-1] + 1 if self.steps else 0
        self.steps.append(following if step is None else check_count(step, "Recorder: step", least=0))
        for i, (z, extremes) in enumerate(looks):
            del extremes.slopes             # which keeps the batch
            self._looks[i].append(extremes)
            if self.follow is not None and self.follow[0] == i:
                self.orbit.append(float(z[self.follow[2], self.follow[1]]))
        if len(self._looks[0]) == LOOKS or self._learns:
            self._find_states()

    def lives(self) -> list[Life]:
        """The life of every unit, layer by layer."""
        if not self.steps:
            raise RuntimeError("lives: no step has been recorded yet; call observe() or forward() first")
        return [Life(layer.name, j, _events(self.steps, states[:, j]))
                for layer, states in zip(self.layers, self.states) for j in range(layer.units)]

    def table(self) -> Table:
        """One row per unit that died, came back or diverged."""
        rows = [(life.layer, life.unit, ", ".join(f"{event} at {step}" for step, event in life.events))
                for life in self.lives() if life.events]
        return Table(f"lives over steps {self.steps[0]} to {self.steps[-1]}", ["layer", "unit", "life"], rows)


class Recorders:
    """A `Recorder` for each member of a population, in the list `each`; `forward` makes one pass for all.

    >>> model, x = nn.MLP([2, 3, 2], members=4, rng=0), np.random.default_rng(0).standard_normal((50, 2))
    >>> recorders = Recorders(model, x)
    >>> recorders.forward().shape, recorders.each[3].states[0].shape
    ((4, 50, 2), (1, 3))
    """

    def __init__(self, model: Module, x: Any, follow: Sequence[tuple[int, int, int] | None] | None = None) -> None:
        if model.members is None:
            raise TypeError(f"Recorders: got one {type(model).__name__}, expected a population; for one there is Recorder")
        self.model = model
        self.each = [Recorder(model.member(k), x, None if follow is None else follow[k]) for k in range(model.members)]
        first = self.each[0]
        own = dict(zip(first.model.modules(), model.modules()))
        self._activations = [None if layer.activation is None else own[layer.activation] for layer in first.layers]

    def forward(self, step: int | None = None) -> Tensor:
        """``model(x)``, and the `forward` of each recorder."""
        if not self.each[0]._one_pass:
            for recorder in self.each:
                recorder.observe(step)
            output: Tensor = self.model(self.each[0].x)
            return output
        fused = self._fused()
        output, seen = _seen(self.model, self._activations, self.each[0].x) if fused is None else fused
        for k, recorder in enumerate(self.each):
            recorder._see(step, [(Tensor.leaf(z.array[k]), Tensor.leaf(out.array[k])) for z, out in seen])
        return output


    def _fused(self) -> tuple[Tensor, list[tuple[Any, Any]]] | None:
        """As `_seen`, in fewer passes over memory, for a sequence of Linear layers with elementwise activations."""
        model: Any = self.model
        steps: list[Any] = model._steps if type(model).forward is Sequential.forward else [(None, None, None)]
        if not is_grad_enabled() or any(op is None or layer._hooks or activation._hooks or layer.bias is None
                                        for layer, activation, op in steps):
            return None
        x, seen = Tensor.leaf(self.each[0].x), []
        for layer, _, op in steps:
            if op.activation is None:
                x = op(x, layer.weight, layer.bias)
            else:
                x = affine_of_members(op.activation, op.p, keeps=True)(x, layer.weight, layer.bias)
                seen.append((Tensor.leaf(x.saved), x))
        return x, seen


def _seen(model: Module, activations: Sequence[Module | None], x: Array) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """``model(x)``, and on the way inputs and outputs of the activations."""
    seen: list[tuple[Tensor, Tensor]] = []
    with ExitStack() as hooks:
        for activation in activations:
            if activation is not None:
                hooks.enter_context(activation.register_forward_hook(lambda _, inputs, out: seen.append((inputs[0], out))))
        return model(x), seen


def _events(steps: list[int], states: Array) -> list[tuple[int, Event]]:
    lost = np.flatnonzero(states == State.DIVERGED)[:1]
    gone = np.concatenate([[False], GONE[states[:lost[0]] if len(lost) else states]])
    events: list[tuple[int, Event]] = []
    for i in np.flatnonzero(gone[1:] != gone[:-1]):
        event: Event = "revived" if gone[i] else "died again" if events else "died" if i else "dead at the first look"
        events.append((steps[i], event))
    return [*events, *((steps[i], "diverged") for i in lost)]
