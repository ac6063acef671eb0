"""The figure of the main job: the life lines of all units, one predicted orbit, and the accuracies."""
from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from ..autodiff.node import Array
from ..checks import check_name
from ..files import write_through
from ..text import MISSING
from .outcomes import Outcome, Sick
from .units import State

# Distinct for colour-blind readers (after Okabe & Ito): warm colours for units that are alive, dark ones for dead units.
COLOURS = {State.ALIVE: "#f0c05a", State.DEAD: "#23304a", State.DEAD_HIGH: "#7a1f5c", State.SATURATED: "#8fa3bf",
           State.ALWAYS_ON: "#e8743b", State.NEVER_WINS: "#23304a", State.DIVERGED: "#c8102e",
           State.CUT_OFF: "#9a7b33", State.AFFINE: "#f4a6b0"}
FORMATS = ("png", "svg", "pdf")
COLUMNS = 5
INK, FAINT, RED = "#1b1b1b", "#8a8a8a", "#d1495b"
DASHES = (0, (3, 2))
LABELS = (RED, "#0072b2", "#009e73", "#e69f00", "#cc79a7", "#56b4e9", "#8c564b", "#555555")     # of the accuracies


def check_format(path: str | Path) -> None:
    """Whether `draw` can write such a file: a ValueError for an unknown ending, an ImportError without matplotlib."""
    check_name(Path(path).suffix.lstrip(".").lower(), FORMATS, "the ending of the figure file")
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise ImportError(f"drawing a figure: {MISSING}") from error


def draw(sick: Sick, outcomes: Sequence[Outcome], path: str | Path, *, title: str, kill_lr: float) -> None:
    """Draw the life lines of all units, one predicted orbit and the accuracies, in a PNG, SVG or PDF file."""
    check_format(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = -(-(len(outcomes) + 1) // COLUMNS)
    figure = Figure(figsize=(15, 1.95 * rows + 4.6), facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(rows + 1, COLUMNS, height_ratios=[1] * rows + [1.75], left=0.045, right=0.985, hspace=0.55,
                               wspace=0.16, top=1 - 1.15 / (1.95 * rows + 4.6), bottom=0.06)
    figure.suptitle(title, x=0.045, y=0.992, ha="left", fontsize=15, fontweight="bold", color=INK)
    panels = [figure.add_subplot(grid[i // COLUMNS, i % COLUMNS]) for i in range(len(outcomes) + 1)]
    _life_lines(panels[0], sick.states, f"becoming sick: SGD at rate {kill_lr:g}", f"accuracy ends at {sick.accuracy:.2f}", None)
    total = sum(layer.shape[1] for layer in sick.states)
    edges = [0, *np.cumsum([layer.shape[1] for layer in sick.states])]
    for i, (top, bottom) in enumerate(zip(edges, edges[1:]), start=1):
        panels[0].text(-0.03, 1 - (top + bottom) / 2 / total, f"layer {i}", rotation=90, ha="right", va="center", fontsize=8,
                       color=FAINT, transform=panels[0].transAxes)
    for panel, outcome in zip(panels[1:], outcomes):
        _life_lines(panel, outcome.states, outcome.treatment.name, _told(outcome), outcome)
    _legend(figure, sick, outcomes)
    _orbits(figure.add_subplot(grid[rows, :2]), outcomes)
    _accuracies(figure.add_subplot(grid[rows, 2:]), sick, outcomes)
    write_through(path, lambda file: figure.savefig(file, format=Path(path).suffix.lstrip(".").lower(), dpi=110))


def _told(outcome: Outcome) -> str:
    """The prediction and the observation in a few words."""
    told = f"predicted {outcome.predicted} · observed {outcome.observed}" if outcome.claims else "no prediction"
    return f"{told} · accuracy {outcome.accuracy:.2f}"


def _life_lines(axes: Any, states: list[Array], name: str, caption: str, outcome: Outcome | None) -> None:
    """Units by steps, coloured by state; a thin white line between the layers."""
    from matplotlib.colors import to_rgb

    palette = np.array([to_rgb(COLOURS[state]) for state in State])
    ordered = [layer[:, np.lexsort((layer.mean(axis=0), layer[0] != layer[0, 0]))] for layer in states]
    picture = palette[np.concatenate([np.asarray(layer) for layer in ordered], axis=1).T]
    axes.imshow(picture, aspect="auto", interpolation="nearest", extent=(0, len(states[0]) - 1, picture.shape[0], 0))
    for edge in np.cumsum([layer.shape[1] for layer in states])[:-1]:
        axes.axhline(edge, color="white", linewidth=1.2)
    if outcome is not None and outcome.predicted_step is not None and outcome.predicted_step < len(states[0]):
        axes.axvline(outcome.predicted_step, color=RED, linewidth=1.4, linestyle=DASHES)
    axes.set_title(name, fontsize=9.5, loc="left", pad=15, color=INK, fontweight="bold")
    axes.text(0, 1.035, caption, transform=axes.transAxes, fontsize=7, color=FAINT if outcome is None else INK)
    axes.set_yticks([])
    axes.tick_params(labelsize=7, colors=FAINT, length=2)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _legend(figure: Any, sick: Sick, outcomes: Sequence[Outcome]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    seen = {State(s) for source in [sick.states, *(o.states for o in outcomes)] for layer in source for s in np.unique(layer)}
    handles: list[Any] = [Patch(facecolor=COLOURS[state], label=state.label) for state in State if state in seen]
    handles.append(Line2D([], [], color=RED, linestyle=DASHES, label="predicted first return in layer 1"))
    figure.legend(handles=handles, loc="upper left", bbox_to_anchor=(0.04, 0.972), ncols=len(handles), frameon=False, fontsize=9,
                  handlelength=1.6, columnspacing=1.6)


def _orbits(axes: Any, outcomes: Sequence[Outcome]) -> None:
    """The pre-activation of one unit, as measured and as predicted by the recurrence."""
    told = [o for o in outcomes if o.predicted_orbit and o.observed_orbit]
    _plain(axes, "one dead unit: its pre-activation, predicted and measured")
    if not told:
        axes.text(0.5, 0.5, "no dead unit whose orbit the theory predicts", ha="center", transform=axes.transAxes, color=FAINT)
        return
    outcome = max(told, key=lambda o: (o.observed_step is not None, o.threshold is not None, o.accuracy,
                                       -(o.predicted_step or 0)))
    end = len(outcome.observed_orbit)
    stop = end if outcome.predicted_step is None else min(end, outcome.predicted_step + 1)
    show = min(end, max(20, int(1.35 * stop)))
    axes.axhline(0, color=FAINT, linewidth=0.8)
    axes.plot(outcome.observed_orbit[:show], color=COLOURS[State.ALWAYS_ON], linewidth=3, alpha=0.75, label="measured")
    axes.plot(outcome.predicted_orbit[:stop], color=COLOURS[State.DEAD], linewidth=1.5, linestyle=(0, (4, 3)), label="predicted")
    span = np.abs(outcome.observed_orbit[:stop]).max() or 1.0
    axes.set_ylim(-1.15 * span, 0.75 * span)
    unit, sample = outcome.followed or (0, 0)
    if outcome.predicted_step is not None and outcome.predicted_step == outcome.observed_step:
        axes.plot([outcome.predicted_step], [outcome.observed_orbit[outcome.predicted_step]], "o", color=RED, markersize=7)
        axes.annotate(f"alive at step {outcome.predicted_step},\nas predicted; from here on\nits gradient moves it too",
                      (outcome.predicted_step, 0), xytext=(-10, 18), textcoords="offset points", ha="right", va="bottom",
                      fontsize=8.5, color=INK)
    axes.text(0.98, 0.05, f"{outcome.treatment.name}\nunit {unit} of the first layer, sample {sample}", ha="right",
              transform=axes.transAxes, fontsize=8.5, color=INK)
    axes.legend(loc="upper left", frameon=False, fontsize=8.5)


def _accuracies(axes: Any, sick: Sick, outcomes: Sequence[Outcome]) -> None:
    """The accuracies, each labelled at its end; those that do not rise share one label."""
    _plain(axes, "accuracy on the training data")
    stuck = [o for o in outcomes if max(a for _, a in o.accuracies) < sick.accuracy + 0.02]
    moving = sorted((o for o in outcomes if o not in stuck), key=lambda o: -o.accuracy)
    steps = max(o.steps for o in outcomes)
    for outcome in stuck:
        axes.plot(*zip(*outcome.accuracies), color=COLOURS[State.DEAD], linewidth=2)
    names = []
    for outcome, colour in zip(moving, cycle(LABELS)):
        axes.plot(*zip(*outcome.accuracies), color=colour, linewidth=1.6)
        names.append((outcome.accuracy, outcome.treatment.name, colour))
    if stuck:
        names.append((sick.accuracy, f"stuck: {len(stuck)} treatments" if len(stuck) > 1 else stuck[0].treatment.name,
                      COLOURS[State.DEAD]))
    height = 1.1
    for accuracy, name, colour in names:
        height = min(accuracy, height - 0.075)
        axes.annotate(f"{name}  {accuracy:.2f}", (steps, accuracy), xytext=(steps * 1.02, height), fontsize=8.5, color=colour,
                      va="center")
    axes.set_xlim(0, steps * 1.42)
    axes.set_xticks([tick for tick in axes.get_xticks() if 0 <= tick <= steps])
    axes.set_ylim(min(0.0, height - 0.05), 1.06)


def _plain(axes: Any, title: str) -> None:
    axes.set_title(title, fontsize=10.5, loc="left", color=INK, fontweight="bold")
    axes.set_xlabel("step", fontsize=8, color=FAINT)
    axes.tick_params(labelsize=8, colors=FAINT)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color("#cccccc")
