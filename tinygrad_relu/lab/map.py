"""The map: at which step does a dead unit return from rest? It depends on two numbers, momentum and rate times decay."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import check_count
from ..files import write_through
from ..text import Table, print_parts
from .figure import INK, check_format
from .laws import return_steps, simulated_steps
from .recurrence import Array, Settings

NEVER, POINT = "#23304a", "#0072b2"
TICKS = (0.0, 0.5, 0.9, 0.99, 0.999)        # momenta
TITLE = "A dead unit with a gradient of zero can come back, but not under common recipes"
CAPTION = """{pixels:,} pixels, {steps:,} steps in each:
{agreement}.

A ReLU unit is dead on all data. Its gradient is zero,
and its momentum buffer is empty. Then these two
numbers alone decide when it returns: the data, the
network and the loss do not matter.

Circles: published recipes for SGD with momentum
and L2, on weights and biases alike, and two
treatments of the main job. (nnU-Net uses Nesterov,
whose edge is almost the same.)
Diamond: decoupled decay, as in AdamW. It has no
edge: the unit never returns.
Dark: never, or not within {steps:,} steps."""


@dataclass(frozen=True)
class Recipe:
    """The settings of a training as they are published. From rest, AdamW moves a dead unit as SGD with decoupled decay does: by
    its decay alone, since its buffers stay empty; its beta1 is the momentum."""

    name: str
    settings: Settings

    @property
    def step(self) -> int | None:
        """The step of the return from rest; None for never."""
        at = return_steps(self.settings.momentum, self.settings.eta_lambda, nesterov=self.settings.nesterov,
                          decoupled=self.settings.decoupled)
        return int(at) if np.isfinite(at) else None


RECIPES = (
    Recipe("torchvision, ImageNet", Settings(0.1, 0.9, weight_decay=1e-4)),
    Recipe("ImageNet in one hour", Settings(3.2, 0.9, weight_decay=1e-4)),              # Goyal et al. 2017, at its peak
    Recipe("ResNet, CIFAR", Settings(0.1, 0.9, weight_decay=5e-4)),
    Recipe("Detectron2", Settings(0.02, 0.9, weight_decay=1e-4)),
    Recipe("nnU-Net", Settings(0.01, 0.99, weight_decay=3e-5, nesterov=True)),
    Recipe("nanoGPT (AdamW)", Settings(6e-4, 0.9, weight_decay=0.1, decoupled=True)),      # its layers have no biases
    Recipe("main job: .9, L2 inside", Settings(0.1, 0.9, weight_decay=0.05)),
    Recipe("main job: .99 + L2", Settings(0.1, 0.99, weight_decay=5e-4)))


@dataclass(frozen=True, eq=False)
class Map:
    """Steps of return over a grid, (eta_lambdas, momenta); inf for not within `steps`."""

    momenta: Array
    eta_lambdas: Array
    steps: int
    formula: Array
    simulated: Array

    @property
    def different(self) -> Array:
        """Where the closed form and the simulation disagree."""
        return np.asarray(self.formula != self.simulated)


def compute(steps: int = 10_000, *, width: int = 240, height: int = 200) -> Map:
    """The map by the closed form, and by simulating the optimizer in every pixel.

    Momenta from 0 to 0.999, evenly spaced in log(1 - momentum); rate times decay from 1e-7 to 1, evenly in its logarithm.

    >>> found = compute(500, width=30, height=20)
    >>> found.formula.shape, int(found.different.sum()), int(np.isfinite(found.simulated).sum())
    ((20, 30), 0, 276)
    """
    check_count(steps, "map: steps")
    momenta, eta_lambdas = 1 - np.logspace(0, -3, width), np.logspace(-7, 0, height)
    formula = return_steps(momenta, eta_lambdas[:, None])
    return Map(momenta, eta_lambdas, steps, np.where(formula <= steps, formula, np.inf),
               simulated_steps(momenta, eta_lambdas[:, None], steps))


def table(recipes: Sequence[Recipe]) -> Table:
    """One row per recipe."""
    rows = Table("", ["recipe", "momentum", "rate", "decay", "rate times\ndecay", "window\nopens at", "step of\nreturn"])
    for recipe in recipes:
        s = recipe.settings
        rows.add(recipe.name, f"{s.momentum:g}", f"{s.lr:g}", f"{s.weight_decay:g}", f"{s.eta_lambda:.2g}",
                 "-" if s.threshold is None else f"{s.threshold:.2g}", "never" if recipe.step is None else recipe.step)
    return rows


def print_report(found: Map, recipes: Sequence[Recipe]) -> None:
    """Print the recipes, and whether the closed form and the simulation agree."""
    print_parts("A dead unit with an empty momentum buffer, under the settings of some recipes:", table(recipes),
                "- Where the table says never, no schedule that stays at or below these settings brings the unit back either.",
                "- Decoupled decay (AdamW) opens no window: it does not enter the momentum buffer.",
                f"- The map has {found.formula.size:,} pixels, from momentum {found.momenta[0]:g} to {found.momenta[-1]:g} and "
                f"from rate times decay {found.eta_lambdas[0]:g} to {found.eta_lambdas[-1]:g}. Over {found.steps:,} steps, "
                f"{_agreement(found)}.")


def _agreement(found: Map) -> str:
    wrong = int(found.different.sum())
    return f"formula and simulation {f'DIFFER in {wrong:,}' if wrong else 'agree in every pixel'}"


def draw(found: Map, recipes: Sequence[Recipe], path: str | Path) -> None:
    """Draw the map with the recipes as points, and the simulation beside it, in a PNG, SVG or PDF file."""
    check_format(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 7.8), facecolor="white")
    FigureCanvasAgg(figure)
    figure.text(0.065, 0.98, TITLE, fontsize=17, fontweight="bold", color=INK, va="top")
    figure.text(0.065, 0.932, "Momentum and L2 decay together swing it back, but only above the white edge. "
                "The colour is the step of its return.", fontsize=11.5, color=INK, va="top")
    large, small = figure.add_axes((0.065, 0.085, 0.535, 0.79)), figure.add_axes((0.745, 0.535, 0.235, 0.34))
    image = _picture(large, found, found.formula)
    large.plot(1 - found.momenta, ((1 - found.momenta) / (1 + np.sqrt(found.momenta))) ** 2, color="white", linewidth=2.5)
    large.text(0.012, 0.12, "RETURNS", ha="center", va="center", fontsize=15, color=INK)
    large.text(0.05, 7e-7, "NEVER RETURNS", ha="center", va="center", fontsize=15, color="white")
    large.text(0.0045, 1.9e-6, "edge: (1 - √momentum)²", color="white", fontsize=10.5, rotation=-37.5, ha="center", va="center")
    large.set_xlabel("momentum", fontsize=11, color=INK)
    large.set_ylabel("learning rate times weight decay", fontsize=11, color=INK)
    bar = figure.colorbar(image, cax=figure.add_axes((0.612, 0.085, 0.013, 0.79)), extend="max")
    bar.set_label("step of return", fontsize=11, color=INK)
    bar.ax.tick_params(labelsize=9.5, colors=INK)
    for recipe in recipes:
        _point(large, recipe)
    _picture(small, found, found.simulated)
    small.set_title("The same map by simulation", fontsize=11, loc="left", color=INK, fontweight="bold")
    rows, columns = np.nonzero(found.different)
    small.plot(1 - found.momenta[columns], found.eta_lambdas[rows], "s", color="#d1495b", markersize=3)
    caption = CAPTION.format(pixels=found.formula.size, steps=found.steps, agreement=_agreement(found))
    figure.text(0.69, 0.47, caption, fontsize=10.5, color=INK, va="top", linespacing=1.45)
    write_through(path, lambda file: figure.savefig(file, format=Path(path).suffix.lstrip(".").lower(), dpi=110))


def _picture(axes: Any, found: Map, steps: Array) -> Any:
    """One map: colours for the steps, dark for never. The horizontal axis is 1 - momentum, labelled with the momentum."""
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm

    colours = colormaps["YlOrBr"].with_extremes(bad=NEVER, over=NEVER)
    image = axes.pcolormesh(1 - found.momenta, found.eta_lambdas, np.ma.masked_invalid(steps), cmap=colours, rasterized=True,
                            norm=LogNorm(1, found.steps), shading="nearest")
    axes.set_facecolor(NEVER)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(1, 1 - found.momenta[-1])
    axes.set_ylim(found.eta_lambdas[0], found.eta_lambdas[-1])
    axes.set_xticks([1 - momentum for momentum in TICKS], [f"{momentum:g}" for momentum in TICKS])
    axes.minorticks_off()
    axes.tick_params(labelsize=9.5, colors=INK)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return image


def _point(axes: Any, recipe: Recipe) -> None:
    """One recipe with its name; a diamond for decoupled decay. A point outside the map is drawn at its frame."""
    s, never = recipe.settings, recipe.step is None
    low, high = axes.get_ylim()
    x, y = max(1 - s.momentum, axes.get_xlim()[1]), float(np.clip(s.eta_lambda, 1.5 * low, high / 1.5))
    left = s.momentum > 0.99 or (never and not s.decoupled and s.momentum > 0.5)
    axes.plot(x, y, "D" if s.decoupled else "o", color="white", markeredgecolor=POINT, markeredgewidth=2, markersize=8,
              clip_on=False)
    axes.annotate(f"{recipe.name.partition(' (')[0]}: {'never' if never else f'step {recipe.step}'}", (x, y),
                  xytext=(-9 if left else 9, 0), textcoords="offset points", ha="right" if left else "left",
                  va="center_baseline", fontsize=10, color="white" if never else INK, annotation_clip=False)
