"""Plots of the laboratory's instruments, as matplotlib Figures."""
from __future__ import annotations

from typing import Any

import numpy as np

from ..text import MISSING
from .figure import COLOURS, FAINT, INK
from .recorder import Recorder
from .units import State

COLUMNS = 2000          # at most: a longer run is thinned


def axes_of(width: float, height: float, title: str, x: str, y: str) -> tuple[Any, Any]:
    """A Figure with one set of axes in the style of the laboratory, sizes in inches."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"drawing a plot: {MISSING}") from error
    figure = Figure(figsize=(width, height), dpi=120, facecolor="white", layout="constrained")
    axes: Any = figure.add_subplot()
    axes.set_title(title, loc="left", color=INK, fontweight="bold", fontsize=11)
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.tick_params(colors=FAINT)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def lives(recorder: Recorder) -> Any:
    """Each row is one unit, in the order of the layers; each column is one observation, coloured by state."""
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Patch

    steps, palette = recorder.steps, np.array([to_rgb(COLOURS[state]) for state in State])
    shown = np.unique(np.linspace(0, len(steps) - 1, min(COLUMNS, len(steps))).round().astype(int))
    layers = [changes.matrix(shown) for changes in recorder.changes()]
    picture = np.concatenate([palette[states.T] for states in layers])
    figure, axes = axes_of(9, min(10.0, 1.4 + len(picture) * 0.03), "The life of every unit", "step", "unit")
    axes.imshow(picture, aspect="auto", interpolation="nearest", extent=(steps[0], max(steps[-1], steps[0] + 1), len(picture), 0))
    for edge in np.cumsum([states.shape[1] for states in layers])[:-1]:
        axes.axhline(edge, color="white", linewidth=3)
    found = [state for state in State if any((states == state).any() for states in layers)]
    figure.legend(handles=[Patch(color=COLOURS[state], label=state.label) for state in found], loc="outside lower center",
                  ncols=len(found), frameon=False, fontsize=9)
    return figure
