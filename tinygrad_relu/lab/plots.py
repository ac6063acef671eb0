"""Plots of the laboratory's instruments, as matplotlib Figures (``figure.savefig("lives.png")``)."""
from __future__ import annotations

from itertools import cycle
from typing import Any

import numpy as np

from ..checks import counted
from .birth import Birth
from .census import Census
from .drawing import ALIVE, COLUMN, axes_of
from .figure import BLUE, COLOURS, INK
from .layers import State
from .prognosis import Prognosis
from .recorder import Recorder
from .survival import SPANS, Survival

COLUMNS = 2000          # at most: a longer run is thinned


def lives(recorder: Recorder) -> Any:
    """Each row is one unit, layer by layer; each column is one observation, coloured by the state of the unit."""
    height = min(10.0, 1.6 + sum(layer.units for layer in recorder.layers) * 0.03)
    figure, axes = axes_of(9, height, "The life of every unit", "step", "")
    from matplotlib.colors import to_rgb

    steps, palette = recorder.steps, np.array([to_rgb(COLOURS[state]) for state in State])
    shown = np.unique(np.linspace(0, len(steps) - 1, min(COLUMNS, len(steps))).round().astype(int))
    layers = [changes.matrix(shown) for changes in recorder.changes()]
    picture = np.concatenate([palette[states.T] for states in layers])
    axes.imshow(picture, aspect="auto", interpolation="nearest", extent=(steps[0], max(steps[-1], steps[0] + 1), len(picture), 0))
    edges = np.cumsum([0, *(states.shape[1] for states in layers)])
    for edge in edges[1:-1]:
        axes.axhline(edge, color="white", linewidth=3)
    axes.set_yticks((edges[1:] + edges[:-1]) / 2, [f"layer {layer.name}" for layer in recorder.layers], rotation=90, va="center")
    _legend(figure, [state for state in State if any((states == state).any() for states in layers)])
    return figure


def survival_curve(found: Survival) -> Any:
    """Steps down where spells end, with ticks where they are censored."""
    what, end = SPANS[found.of]
    figure, axes = axes_of(9, 3.6, what[0].upper() + what[1:], "steps", f"share that has not {end}")
    steps, share, low, high = (np.concatenate([[start], values]) for start, values in (
        (0, found.steps), (1, found.share), (1, found.low), (1, found.high)))
    axes.fill_between(steps, low, high, step="post", color=BLUE, alpha=0.18, linewidth=0, label="95 % interval")
    axes.step(steps, share, where="post", color=BLUE, linewidth=1.8,
              label=f"{counted(len(found.spells), 'spell')}, {int(found.ended.sum())} {end}")
    censored = np.unique([spell.stop - spell.start for spell in found.spells if not spell.ended])
    if censored.size:
        axes.plot(censored, [found.at(t) for t in censored], "|", color="black", markersize=8, label="not ended when last seen")
    axes.set_ylim(0, 1.04)
    axes.legend(frameon=False, fontsize=9)
    return figure


def birth_curve(found: Birth) -> Any:
    """The share of networks that is dead by each hidden layer, with error bars of two standard errors, and the bounds."""
    figure, axes = axes_of(9, 3.6, f"Born dead: networks {'-'.join(map(str, found.widths))}", "hidden layers",
                           "share born dead")
    depth = np.arange(1, len(found.layers) + 1)
    axes.errorbar(depth, [layer.born_dead for layer in found.layers], [2 * layer.error for layer in found.layers], fmt="o",
                  color="#d95f02", capsize=3, label=f"{found.trials:,} networks drawn")
    for name, text, dash in (("high", "upper bound", "--"), ("low", "lower bound", ":"), ("exact", "exact", "-")):
        values = [np.nan if getattr(layer, name) is None else getattr(layer, name) for layer in found.layers]
        if np.isfinite(values).any():
            axes.plot(depth, values, linestyle=dash, marker="." if name == "exact" else "", color=BLUE, label=text)
    axes.set_ylim(0, 1.02)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False, fontsize=9)
    return figure


def outputs_over_time(found: Census) -> Any:
    """A line for each layer that acts at several time steps: the mean output of its units, and the spread over them."""
    figure, axes = axes_of(9, 3.6, f"Outputs over time, on {counted(found.samples, 'sample')}", "step", "mean output")
    each = [(layer.name, layer.over_time) for layer in found.layers if layer.over_time is not None]
    for (name, outputs), colour in zip(each, cycle(COLUMN)):
        mean, spread = outputs.mean(axis=1), outputs.std(axis=1)
        axes.fill_between(range(len(mean)), mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0)
        axes.plot(mean, ".-", color=colour, label=name)
    axes.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(loc="outside right", frameon=False, fontsize=9)
    return figure


def states_by_layer(found: Census, notes: dict[str, str]) -> Any:
    """The shares of the states in each layer as a bar, with a note beside it."""
    figure, axes = axes_of(9, 1.3 + 0.45 * len(found.layers), f"The units on {counted(found.samples, 'sample')}",
                           "share of the units", "")
    for i, layer in enumerate(found.layers):
        left = 0.0
        for state in State:
            share = layer.count(state) / len(layer.state)
            axes.barh(i, share, left=left, color=COLOURS[state], height=0.7)
            left += share
        axes.text(1.02, i, notes.get(layer.name, ""), va="center", fontsize=9, color=INK)
    axes.set_yticks(range(len(found.layers)), [f"layer {layer.name}" for layer in found.layers])
    axes.set_xlim(0, 1)
    axes.invert_yaxis()
    _legend(figure, [state for state in State if any(layer.count(state) for layer in found.layers)])
    return figure


def _legend(figure: Any, states: list[State]) -> None:
    from matplotlib.patches import Patch

    figure.legend(handles=[Patch(color=COLOURS[state], label=state.label) for state in states], loc="outside lower left",
                  ncols=len(states), frameon=False, fontsize=9)


def returns(found: Prognosis) -> Any:
    """A row for each layer, with a point at each step at which a unit returns."""
    layers = list(dict.fromkeys(unit.layer for unit in found.units))
    figure, axes = axes_of(9, 1.6 + 0.45 * len(layers), "When the dead units return", "step", "layer")
    for proved, marker, name in ((True, "o", "proved"), (False, "x", "estimated")):
        told = [(unit.step, layers.index(unit.layer)) for unit in found.units if unit.step is not None and unit.proved == proved]
        if told:
            axes.plot(*zip(*told), marker, color=ALIVE if proved else BLUE, label=name, clip_on=False)
    counts = [[unit.step is not None for unit in found.units if unit.layer == layer] for layer in layers]
    axes.set_yticks(range(len(layers)), [f"{layer}: {sum(own)} of {len(own)}" for layer, own in zip(layers, counts)])
    axes.set_ylim(max(len(layers), 1) - 0.5, -0.5)
    axes.set_xlim(left=0)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower center", frameon=False, ncols=2, fontsize=8.5)
    return figure
