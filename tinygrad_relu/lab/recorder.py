"""The recorder: the life of every unit over a training run, as lists of events."""
from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from ..autodiff.guard import refuse_while_recording
from ..autodiff.node import Array, is_grad_enabled
from ..checks import check_count, counted, said
from ..kernels.loops.reduce import unit_extremes
from ..kernels.machine.door import copy, launch
from ..nn import Module, Sequential
from ..nn.layers import op_of
from ..nn.module import mode_matters
from ..tensor import Tensor
from ..text import Table
from .drawing import COLOURS, axes_of, legend
from .layers import GONE, Extremes, Look, State, noted
from .passes import nodes_of, unfused
from .readings import Members, Reading
from .units import Units

Event = Literal["dead at the first look", "died", "revived", "died again", "diverged"]
COLUMNS = 2000      # of a picture, at most: a longer run is thinned
LOOKS = 64          # observations whose states are found at once, which takes a tenth of the time


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


class Changes:
    """The states of the units of one layer over the observations: those of the first, and each change."""

    def __init__(self, units: int) -> None:
        self.first, self.last = np.empty((2, 0), np.uint8)
        self.units, self.observations = units, 0
        # For some changes each: the numbers of the observations, the units, and their new states; in the order of time.
        self._blocks: list[tuple[Array, Array, Array]] = [(np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.uint8))]

    def add(self, states: Array) -> None:
        """The next observations, (observations, units)."""
        if not self.observations:
            self.first = self.last = states[0].copy()
        i, j = np.nonzero(states != np.concatenate([self.last[None], states[:-1]]))
        if len(i):
            self._blocks.append((self.observations + i, j.astype(np.int32), states[i, j]))
        self.last = states[-1].copy()
        self.observations += len(states)

    def matrix(self, at: Array | None = None) -> Array:
        """The states at some observations, in ascending order (default: all): (observations, units)."""
        at = np.arange(self.observations) if at is None else at
        found = np.empty((len(at), self.units), np.uint8)
        for j, (when, states) in enumerate(self.each()):
            found[:, j] = states[np.searchsorted(when, at, side="right") - 1]
        return found

    def each(self) -> list[tuple[Array, Array]]:
        """For each unit the observations at which its state was first seen or has changed, and these states."""
        when, unit, state = (np.concatenate(parts) for parts in zip(*self._blocks))
        self._blocks = [(when, unit, state)]
        order = np.argsort(unit, kind="stable")
        places = np.searchsorted(unit[order], np.arange(1, self.units))
        return [(np.concatenate([[0], i]), np.concatenate([[first], s])) for first, i, s in zip(
            self.first, np.split(when[order], places), np.split(state[order], places))]


class Recorder(Reading):
    """Watches the units of a model on `x`, the whole training set.

    It keeps the changes of states only, 13 bytes each, so that it can watch a million steps. `steps` are the steps at which it
    looked. `states` are made from the changes, per layer, integers of `State`, (observations, units): large after a long run.
    `orbit` has the pre-activations of `follow`, a tuple (layer index, unit, sample): if the layer acts on several positions of a
    sample, those at the first.

    >>> model = nn.MLP([2, 3, 2], rng=0)
    >>> x = np.random.default_rng(0).standard_normal((50, 2))
    >>> recorder = lab.Recorder(model, x)
    >>> recorder.observe()
    >>> model[0].bias.data = [-100.0, 0.0, 0.0]     # pushes unit 0 off the data
    >>> recorder.observe()
    >>> recorder.lives()[0].events
    [(1, 'died')]
    """

    def __init__(self, model: Module | Units, x: Any, follow: tuple[int, int, int] | None = None) -> None:
        if isinstance(model, Module) and model.members is not None:
            raise TypeError(f"Recorder: got a population of {model.members} networks; for these there is lab.Recorders(model, x)")
        self.units, self.follow = Units.of(model, x), follow
        self.model, self.layers, self.x = self.units.model, self.units.layers, self.units.data(x)
        if follow is not None and len(np.atleast_1d(follow)) != 3:
            raise TypeError(f"Recorder: follow is {said(follow)}, expected (layer, unit, sample)")
        layer, unit, sample = (check_count(i, "Recorder: an entry of follow", least=0) for i in follow or (0, 0, 0))
        for what, i, n in (("layer", layer, len(self.layers)), ("unit", unit, self.layers[layer % len(self.layers)].units),
                           ("sample", sample, self.units.samples(self.x))):
            if i >= n:
                raise IndexError(f"Recorder: follow is (layer, unit, sample) = {follow}, expected a {what} from 0 to {n - 1}")
        self.orbit: list[float] = []
        self._steps = array("q")
        self._layers = [Changes(layer.units) for layer in self.layers]
        self._looks: list[list[Array]] = [[] for _ in self.layers]      # whose states have not been found yet
        self._learns = any(layer.activation.parameters() for layer in self.layers if layer.activation is not None)     # slopes
        self._parameters = self.model.parameters()
        self._one_pass = not mode_matters(self.model)

    def __repr__(self) -> str:
        when = f", steps {self._steps[0]} to {self._steps[-1]}" if self._steps else ""
        units, samples = sum(layer.units for layer in self.layers), self.units.samples(self.x)
        return f"Recorder({counted(units, 'unit')} on {counted(samples, 'sample')}{when})"

    @property
    def steps(self) -> list[int]:
        return list(self._steps)

    @property
    def states(self) -> list[Array]:
        return [changes.matrix() for changes in self.changes()]

    def changes(self) -> list[Changes]:
        """The changes of state up to now, layer by layer."""
        for layer, changes, looks in zip(self.layers, self._layers, self._looks):
            if looks:
                several = Extremes(layer)
                several.numbers = np.stack(looks, axis=1)       # so that all states are found at once
                changes.add(several.states())
                looks.clear()
        return self._layers

    def observe(self, step: int | None = None) -> None:
        """Note the state of every unit, before the first step and after every step. `step` is the number of optimizer steps made;
        by default one more than at the last call, from 0."""
        self.note(self._read(self.units.looks(self.x)), step)

    def forward(self, step: int | None = None) -> Tensor:
        """``model(x)`` and `observe` in one pass, for training steps that use all samples; call `observe` after the last step.

        Where a training pass may not show the units as in evaluation (batch norm, dropout, RReLU, a `forward` of your own), or
        parameters are frozen, it makes two passes.

        >>> model = nn.MLP([2, 3, 2], rng=0)
        >>> recorder = lab.Recorder(model, np.random.default_rng(0).standard_normal((50, 2)))
        >>> optimizer = optim.SGD(model.parameters(), lr=0.1)
        >>> F.cross_entropy(recorder.forward(), np.arange(50) % 2).backward()
        >>> optimizer.step()
        >>> recorder.observe()
        >>> recorder.steps
        [0, 1]
        """
        if self.is_plain:
            output, found = self.look()
            self.note(found, step)
            return output
        if not (self._one_pass and is_grad_enabled() and all(p.requires_grad for p in self._parameters)):
            self.observe(step)
            return self.model(self.x)
        with unfused(self.model):
            output = self.model(self.x)
        self.note(self._read([list(self.units.seen(nodes_of(output), self.units.samples(self.x)))]), step)
        return output

    @property
    def is_plain(self) -> bool:
        """Whether the model is a sequence of Linear layers with elementwise activations, all trained."""
        return not self._learns and self._one_pass and _is_plain(self.model, [layer.activation for layer in self.layers])

    def look(self) -> tuple[Tensor, list[Array]]:
        """`forward` in two parts, for a captured step: ``model(x)``, and what `note` gets after the call. Only if `is_plain`.

        >>> model = nn.MLP([2, 3, 2], rng=0)
        >>> recorder = lab.Recorder(model, np.random.default_rng(0).standard_normal((50, 2)))
        >>> look = tg.capture(recorder.look)
        >>> for _ in range(5):
        ...     output, found = look()
        ...     recorder.note(found)
        >>> recorder.steps, look.replays
        ([0, 1, 2, 3, 4], 3)
        """
        found = self._blank()
        return _passed(self, self.x, found), found

    def note(self, found: Sequence[Array], step: int | None = None) -> None:
        """Add what `look` has found to the record."""
        refuse_while_recording("notes what a Recorder sees, which a replay would not; call `observe` or `note` after the step")
        self._steps.append((self._steps or [-1])[-1] + 1 if step is None else check_count(step, "Recorder: step", least=0))
        *numbers, z = found
        for looks, one in zip(self._looks, numbers):
            looks.append(one)
        if self.follow is not None:
            self.orbit.append(float(z[0]))
        if len(self._looks[0]) == LOOKS or self._learns:
            self.changes()

    def see(self, through: Sequence[tuple[Tensor, Tensor]], step: int | None = None) -> None:
        """`observe`, where z and the output of each layer on `x` are known already."""
        self.note(self._read([[Look(layer, z.array[:0], z, out, 1) for layer, (z, out) in zip(self.layers, through)]]), step)

    def _read(self, batches: Iterable[Sequence[Look]]) -> list[Array]:
        """For each layer the `numbers` of its extremes over all samples, and z of the orbit."""
        found, z, start = [Extremes(layer) for layer in self.layers], np.zeros(1), 0
        layer, unit, sample = self.follow or (0, 0, 0)
        for looks in noted(batches, found):
            look = looks[layer]
            row = sample * (look.positions or 1) - start
            if 0 <= row < len(look.z):
                z[0] = look.z[row, unit]
            start += len(look.z)
        return [*(extremes.numbers for extremes in found), z]

    def _blank(self) -> list[Array]:
        """Room for what `_read` returns."""
        return [*(np.empty((6, layer.units), layer.dtype) for layer in self.layers), np.zeros(1)]

    def going_on(self, model: Module | Units) -> Recorder:
        """A recorder of this model that begins with the record of this one, whose layers had the same numbers of units."""
        other = Recorder(model, self.x, self.follow)
        other._layers, other._steps, other.orbit = self.changes(), self._steps, self.orbit
        return other

    def lives(self) -> list[Life]:
        """The life of every unit, layer by layer."""
        if not self._steps:
            raise RuntimeError("lives: no step has been recorded yet; call observe() or forward() first")
        return [Life(layer.name, j, _events([self._steps[i] for i in when], states))
                for layer, changes in zip(self.layers, self.changes()) for j, (when, states) in enumerate(changes.each())]

    def table(self) -> Table:
        """One row per unit that died, came back or diverged."""
        rows = [(life.layer, life.unit, ", ".join(f"{event} at {step}" for step, event in life.events))
                for life in self.lives() if life.events]
        return Table(f"lives over steps {self._steps[0]} to {self._steps[-1]}", ["layer", "unit", "life"], rows)

    def to_dict(self) -> dict[str, Any]:
        """The first and last step, how often it looked, and the lives."""
        lives = [asdict(life) for life in self.lives()]
        return {"first": self._steps[0], "last": self._steps[-1], "observations": len(self._steps), "lives": lives}

    def parts(self) -> list[str | Table]:
        return [self.table() if self._steps else f"{self!r}: nothing recorded yet; call observe() or forward()"]

    def plot(self) -> Any:
        """The life of every unit as a row of colours, layer by layer, as a matplotlib Figure (``figure.savefig("lives.png")``):
        each column is one observation."""
        self.lives()                # raises if there are none
        height = min(10.0, 1.6 + sum(max(layer.units * 0.03, 0.2) for layer in self.layers))
        figure, axes = axes_of(9, height, "The life of every unit", "step", "")
        from matplotlib.colors import to_rgb

        steps, palette = self.steps, np.array([to_rgb(COLOURS[state]) for state in State])
        shown = np.unique(np.linspace(0, len(steps) - 1, min(COLUMNS, len(steps))).round().astype(int))
        layers = [changes.matrix(shown) for changes in self.changes()]
        picture = np.concatenate([palette[states.T] for states in layers])
        extent = steps[0], max(steps[-1], steps[0] + 1), len(picture), 0
        axes.imshow(picture, aspect="auto", interpolation="nearest", extent=extent)
        edges = np.cumsum([0, *(states.shape[1] for states in layers)])
        for edge in edges[1:-1]:
            axes.axhline(edge, color="white", linewidth=3)
        axes.set_yticks((edges[1:] + edges[:-1]) / 2, [f"layer {layer.name}" for layer in self.layers])
        legend(figure, (state for state in State if any((states == state).any() for states in layers)))
        return figure


class Recorders(Members):
    """A `Recorder` for each member of a population, in the list `each`, with the same methods; `forward` makes one pass for all.

    Printing it gives a table of all lives.

    >>> model, x = nn.MLP([2, 3, 2], members=4, rng=0), np.random.default_rng(0).standard_normal((50, 2))
    >>> recorders = lab.Recorders(model, x)
    >>> recorders.forward().shape, recorders.each[3].states[0].shape
    ((4, 50, 2), (1, 3))
    >>> lab.kill(model, x, [1])
    >>> recorders.observe()
    >>> print(recorders)
    lives over steps 0 to 1
    member  layer  unit  life
    ──────────────────────────────
         0      0     1  died at 1
         1      0     1  died at 1
         2      0     1  died at 1
         3      0     1  died at 1
    """

    def __init__(self, model: Module, x: Any, follow: Sequence[tuple[int, int, int] | None] | None = None) -> None:
        if not isinstance(model, Module) or model.members is None:
            raise TypeError(f"Recorders: got one {type(model).__name__}, expected a population; for one there is Recorder")
        self.model, follow = model, [None] * model.members if follow is None else follow
        if len(follow) != model.members:
            raise ValueError(f"Recorders: follow has {len(follow)} entries for {model.members} members; expected one for each")
        self.each = [Recorder(model.member(k), x, one) for k, one in enumerate(follow)]
        first = self.each[0]
        own = dict(zip(first.model.modules(), model.modules()))
        self._activations = [own[layer.activation] for layer in first.layers if layer.owned and layer.activation is not None]

    def __repr__(self) -> str:
        return f"Recorders({counted(len(self.each), 'member')}, each with {self.each[0]!r})"

    def observe(self, step: int | None = None) -> None:
        for recorder in self.each:
            recorder.observe(step)

    def forward(self, step: int | None = None) -> Tensor:
        """``model(x)``, and the `forward` of each recorder."""
        first = self.each[0]
        if self.is_plain:
            output, found = self.look()
            self.note(found, step)
            return output
        if not first._one_pass or len(set(self._activations)) < len(first.layers):
            self.observe(step)
            return self.model(first.x)
        through: list[tuple[Tensor, Tensor]] = []
        with ExitStack() as hooks:
            for activation in self._activations:
                hooks.enter_context(activation.register_forward_hook(lambda _, inputs, out: through.append((inputs[0], out))))
            output = self.model(first.x)
        for k, recorder in enumerate(self.each):
            recorder.see([(Tensor.leaf(z.array[k]), Tensor.leaf(out.array[k])) for z, out in through], step)
        return output

    @property
    def is_plain(self) -> bool:
        first = self.each[0]
        return not first._learns and first._one_pass and _is_plain(self.model, self._activations)

    def look(self) -> tuple[Tensor, list[Array]]:
        found = [np.repeat(one[None], len(self.each), axis=0) for one in self.each[0]._blank()]
        return _passed(self, self.each[0].x, found), found

    def note(self, found: Sequence[Array], step: int | None = None) -> None:
        for k, recorder in enumerate(self.each):
            recorder.note([numbers[k] for numbers in found], step)


def _is_plain(model: Any, activations: Sequence[Module | None]) -> bool:
    """Whether the model is a sequence of Linear layers with biases, and these are all the activations that follow them."""
    own = type(model).forward is not Sequential.forward or "forward" in vars(model) or model._hooks
    if own or not is_grad_enabled():
        return False
    after = [activation for _, activation, op in model._steps if op is not None and op.activation is not None]
    return after == activations and all(
        op is not None and layer.bias is not None and layer.weight.requires_grad and layer.bias.requires_grad
        and not (layer._hooks or activation._hooks) for layer, activation, op in model._steps)


def _passed(recorder: Recorder | Recorders, x: Array, found: Sequence[Array]) -> Tensor:
    """The output of a plain model, computed in the usual launches, and in others what `found` is to hold."""
    model: Any = recorder.model
    if not recorder.is_plain:
        raise ValueError(f"{type(recorder).__name__}.look: {type(model).__name__} is not plain (`is_plain`: Linear layers with "
                         "elementwise activations, all trained, without hooks), expected one that is; `forward` takes all")
    recorders = recorder.each if isinstance(recorder, Recorders) else [recorder]
    through: list[Any] = []
    h = Tensor.leaf(x)
    for layer, _, op in model._steps:
        if op.activation is not None:
            op = op_of(layer)(op.activation, op.p, keeps=True)
        h = op(h, layer.weight, layer.bias)
        if op.activation is not None:
            through.append((op, *(array.reshape(len(recorders), len(x), -1) for array in (h.saved, h.array))))
    *numbers, orbits = (array.reshape(len(recorders), -1, array.shape[-1]) for array in found)
    for k, one in enumerate(recorders):
        path = np.ones(len(x), bool)
        for (op, z, y), mine in zip(reversed(through), reversed(numbers)):
            leads = np.empty(len(x), bool)
            launch(unit_extremes(op.activation), z[k], y[k], op.p, path, mine[k], leads)
            path = leads
        if one.follow is not None:
            layer, unit, sample = one.follow
            launch(copy, through[layer][1][k, sample, unit:unit + 1], orbits[k, 0])
    return h


def _events(steps: list[int], states: Array) -> list[tuple[int, Event]]:
    lost = np.flatnonzero(states == State.DIVERGED)[:1]
    gone = np.concatenate([[False], GONE[states[:lost[0]] if len(lost) else states]])
    events: list[tuple[int, Event]] = []
    for i in np.flatnonzero(gone[1:] != gone[:-1]):
        event: Event = "revived" if gone[i] else "died again" if events else "died" if i else "dead at the first look"
        events.append((steps[i], event))
    return [*events, *((steps[i], "diverged") for i in lost)]
