"""What all figures share: colours, pages with axes, text and legends; and how they are written to files."""
from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..checks import check_name
from ..files import write_through
from ..missing import needing
from ..notebook import new_figure
from .layers import State

# The colours differ in lightness too, for colour-blind readers: units that pass a gradient are light and warm, the others dark.
COLOURS = {State.ALIVE: "#ffd166", State.ALWAYS_ON: "#f3873d", State.AFFINE: "#f7b7a3", State.SATURATED: "#a9b4c8",
           State.CUT_OFF: "#7d7461", State.DEAD: "#1f2d4a", State.DEAD_HIGH: "#5c2a5e", State.NEVER_WINS: "#1f2d4a",
           State.DIVERGED: "#000000"}
INK, FAINT, BLUE = "#1b1b1b", "#767676", "#0072b2"
RETURN, OPENS = "#ff1f6b", "#00c2d1"            # the predicted steps: pink and cyan stand out from all states
ALIVE, DEAD, LIGHT = "#d95f02", COLOURS[State.DEAD], COLOURS[State.ALIVE]
COLUMN = (BLUE, ALIVE, "#009e73", "#b0529a", "#b8860b", "#555555")         # of several lines, in this order
LABELS = ("#d1495b", BLUE, "#009e73", "#b8860b", "#b0529a", "#3a9bc9", "#8c564b", "#555555")
DASHES = (0, (4, 2))
FORMATS, DPI = ("png", "svg", "pdf"), 120


def check_format(path: str | Path) -> None:
    """Raise a ValueError if `save` cannot write a file with this ending, and an ImportError without matplotlib."""
    check_name(Path(path).suffix.lstrip(".").lower(), FORMATS, "the ending of the figure file")
    with needing("drawing a figure needs", "lab"):
        import matplotlib.figure  # noqa: F401


def save(figure: Any, path: str | Path, dpi: int) -> None:
    """Write a matplotlib Figure in the format that the ending of the file names."""
    write_through(path, lambda file: figure.savefig(file, format=Path(path).suffix.lstrip(".").lower(), dpi=dpi))


def page(title: str, height: float = 3.4, width: float = 8.4) -> Any:
    """A matplotlib Figure with a title, as wide as a page; sizes in inches."""
    figure = new_figure("drawing a plot", figsize=(width, height), facecolor="white", layout="constrained", dpi=DPI)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11.5, fontweight="bold", color=INK)
    return figure


def axes_of(width: float, height: float, title: str, x: str, y: str) -> tuple[Any, Any]:
    """A page with one set of axes."""
    figure = page(title, height, width)
    axes = figure.subplots()
    label(axes, "", x, y)
    return figure, axes


def label(axes: Any, title: str = "", x: str = "step", y: str = "", legend: str = "", **settings: Any) -> None:
    """What surrounds the lines, once they are drawn: titles, a legend at this place, and settings as in `axes.set`."""
    axes.set(**settings)
    axes.set_title(title, fontsize=9.5, loc="left", color=INK)
    axes.set_xlabel(x, fontsize=9.5, color=INK)
    axes.set_ylabel(y, fontsize=9.5, color=INK)
    axes.tick_params(labelsize=8.5, colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
    if x.startswith("step") and "xticks" not in settings and axes.get_xscale() == "linear":
        axes.locator_params(axis="x", integer=True, min_n_ticks=1)
    if "xticks" in settings:
        axes.set_xticks([], minor=True)         # those that a logarithmic axis has between them
    if legend:
        axes.legend(loc=legend, frameon=False, fontsize=9)


def say(axes: Any, text: str, at: tuple[float, float], colour: str = INK, **options: Any) -> None:
    """Text at a point of the data."""
    axes.text(*at, text, color=colour, **{"fontsize": 9, "linespacing": 1.3, **options})


def explain(figure: Any, axes: Any, empty: str, loc: str = "outside right", **options: Any) -> None:
    """A legend of the lines, outside of the axes; where none is drawn, the words `empty` in their middle."""
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc=loc, frameon=False, **{"fontsize": 9, **options})
    else:
        say(axes, empty, (0.5, 0.5), FAINT, ha="center", transform=axes.transAxes)


def legend(figure: Any, states: Iterable[State]) -> None:
    """The colours of the states that occur, below the axes."""
    from matplotlib.patches import Patch

    handles = [Patch(color=COLOURS[state], label=state.label) for state in sorted({*states})]
    figure.legend(handles=handles, loc="outside lower left", ncols=len(handles), frameon=False, fontsize=9)
