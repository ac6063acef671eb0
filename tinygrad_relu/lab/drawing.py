"""The style of all figures but the main job's: a page with a title, axes with labels, and text at a point of the data."""
from __future__ import annotations

from typing import Any

from ..notebook import new_figure
from .figure import COLOURS, INK
from .figure import FAINT as FAINT
from .layers import State

ALIVE, DEAD, LIGHT, BLUE = "#d95f02", COLOURS[State.DEAD], COLOURS[State.ALIVE], "#0072b2"
COLUMN = ("#0072b2", "#d95f02", "#009e73", "#b0529a", "#b8860b", "#555555")        # of several lines, in this order
DASHES = (0, (4, 2))
DPI = 120


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


def label(axes: Any, title: str = "", x: str = "step", y: str = "") -> None:
    axes.set_title(title, fontsize=9.5, loc="left", color=INK)
    axes.set_xlabel(x, fontsize=9.5, color=INK)
    axes.set_ylabel(y, fontsize=9.5, color=INK)
    axes.tick_params(labelsize=8.5, colors=INK)
    axes.spines[["top", "right"]].set_visible(False)


def say(axes: Any, text: str, at: tuple[float, float], colour: str = INK, **options: Any) -> None:
    """Text at a point of the data."""
    axes.text(*at, text, color=colour, **{"fontsize": 9, "linespacing": 1.3, **options})
