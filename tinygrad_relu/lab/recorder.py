"""The recorder: watches a training, and tells the life of every unit."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..autodiff.node import Array
from ..nn import Module
from ..tensor import Tensor
from ..text import Table
from .units import GONE, Extremes, State, Units

Event = Literal["born dead", "died", "revived", "died again", "diverged"]


@dataclass(frozen=True)
class Life:
    """The events of one unit: pairs (step, event), oldest first."""

    layer: str
    unit: int
    events: list[tuple[int, Event]]

    @property
    def revived_at(self) -> int | None:
        """The step of the first revival."""
        return next((step for step, event in self.events if event == "revived"), None)


class Recorder:
    """Watches the units of a model on a data set, step by step.

    Parameters
    ----------
    model : Sequential
    x : array_like, shape (samples, features)
        The whole training set.
    follow : tuple (layer index, unit, sample), optional
        The one pre-activation that is kept at each step, as `orbit`.

    Attributes
    ----------
    steps : list of int
        When `observe` was called.
    states : list of ndarray
        Per layer, shape (observations, units), integers of `State`.
    orbit : list of float

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
        self.model, self.layers = self.units.model, self.units.layers
        self.x = self.units.data(x)
        self.steps: list[int] = []
        self.orbit: list[float] = []
        self._states: list[list[Array]] = [[] for _ in self.layers]
        activations = {id(layer.activation) for layer in self.layers if layer.activation is not None}
        self._one_pass = len(activations) == len(self.layers) and not any(
            module.depends_on_mode for module in self.model.modules())

    @property
    def states(self) -> list[Array]:
        return [np.array(states) for states in self._states]

    def observe(self, step: int | None = None) -> None:
        """Note the state of every unit. Call it before the first step, and after every step.

        `step` is the number of optimizer steps made; by default one more than at the last call, from 0.
        """
        self._note(step, [(look.z, extremes) for look, extremes in self.units.extremes(self.x)])

    def forward(self, step: int | None = None) -> Tensor:
        """``model(x)``, which notes the same as `observe` on the way: where every training step uses all samples, one pass
        serves both. Call it in place of the model, and `observe` after the last step.

        Where a training pass does not show the units as in evaluation (Maxout, batch norm, dropout, RReLU, an activation module
        that serves two layers), this calls `observe`, and then ``model(x)``.

        >>> model = nn.MLP([2, 3, 2], rng=0)
        >>> recorder = Recorder(model, np.random.default_rng(0).standard_normal((50, 2)))
        >>> optimizer = optim.SGD(model.parameters(), lr=0.1)
        >>> for _ in range(3):
        ...     optimizer.zero_grad()
        ...     F.cross_entropy(recorder.forward(), np.arange(50) % 2).backward()
        ...     optimizer.step()
        >>> recorder.steps
        [0, 1, 2]
        """
        if not self._one_pass:
            self.observe(step)
            return self.model(self.x)
        seen: list[tuple[Tensor, Tensor]] = []
        handles = [layer.activation.register_forward_hook(lambda module, inputs, out: seen.append((inputs[0], out)))
                   for layer in self.layers if layer.activation is not None]
        try:
            output = self.model(self.x)
        finally:
            for handle in handles:
                handle.remove()
        self._note(step, [(z.data, Extremes(layer).add_outputs(z, out)) for layer, (z, out) in zip(self.layers, seen)])
        return output

    def _note(self, step: int | None, looks: list[tuple[Array, Extremes]]) -> None:
        """Note the states of each layer, and the pre-activation that is followed."""
        self.steps.append(step if step is not None else self.steps[-1] + 1 if self.steps else 0)
        for i, (z, extremes) in enumerate(looks):
            self._states[i].append(extremes.states())
            if self.follow is not None and self.follow[0] == i:
                self.orbit.append(float(z[self.follow[2], self.follow[1]]))

    def lives(self) -> list[Life]:
        """The life of every unit, layer by layer."""
        if not self.steps:
            raise RuntimeError("lives: the recorder has not looked yet; expected a call of observe() or forward() before")
        return [Life(layer.name, j, _events(self.steps, states[:, j]))
                for layer, states in zip(self.layers, self.states) for j in range(layer.units)]

    def table(self) -> Table:
        """One row per unit that died, came back or diverged."""
        lives = self.lives()
        table = Table(f"lives over steps {self.steps[0]} to {self.steps[-1]}", ["layer", "unit", "life"])
        for life in lives:
            if life.events:
                table.add(life.layer, life.unit, ", ".join(f"{event} at {step}" for step, event in life.events))
        return table


def _events(steps: list[int], states: Array) -> list[tuple[int, Event]]:
    lost = np.flatnonzero(states == State.DIVERGED)[:1]
    gone = np.concatenate([[False], GONE[states[:lost[0]] if len(lost) else states]])
    events: list[tuple[int, Event]] = []
    for i in np.flatnonzero(gone[1:] != gone[:-1]):
        event: Event = "revived" if gone[i] else "died again" if events else "died" if i else "born dead"
        events.append((steps[i], event))
    return [*events, *((steps[i], "diverged") for i in lost)]
