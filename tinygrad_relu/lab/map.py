"""The map: at which step does a dead unit return from rest? It depends on two numbers, momentum and rate times decay."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import check_count
from ..text import Table, print_parts
from .drawing import BLUE, COLOURS, INK, check_format, save
from .laws import return_steps, simulated_steps
from .layers import State
from .readings import shown
from .recurrence import Array, Settings, window

NEVER, LATER = COLOURS[State.DEAD], "#a39e94"
TICKS = (0.0, 0.5, 0.9, 0.99, 0.999, 0.9999)        # momenta
YOURS = "yours"
TITLE = "A dead unit with a gradient of zero can come back, but not under common recipes"
CAPTION = """{agreement}
({pixels:,}). On the edge itself, rounding could make
them differ. Grey: not within {steps:,} steps.

A ReLU unit is dead on all data. Its gradient is zero,
and its momentum buffer is empty. Then the two axes
alone decide when it returns: the data, the network
and the loss do not matter.

Circles: published recipes for SGD with momentum
and L2, on weights and biases alike, and two
treatments of the main job. (nnU-Net uses Nesterov:
it changes the edge very little.)
Diamond: decoupled decay, as in AdamW. It has no
edge: the unit never returns."""


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

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, **asdict(self.settings), "step": self.step}


RECIPES = (
    Recipe("torchvision, ImageNet", Settings(0.1, 0.9, weight_decay=1e-4)),
    Recipe("ImageNet in one hour", Settings(3.2, 0.9, weight_decay=1e-4)),              # Goyal et al. 2017, at its peak
    Recipe("ResNet, CIFAR", Settings(0.1, 0.9, weight_decay=5e-4)),
    Recipe("Detectron2", Settings(0.02, 0.9, weight_decay=1e-4)),
    Recipe("nnU-Net", Settings(0.01, 0.99, weight_decay=3e-5, nesterov=True)),
    Recipe("nanoGPT (AdamW)", Settings(1e-3, 0.9, weight_decay=0.1, decoupled=True)),      # its small model; without biases
    Recipe("main job: .9, L2 inside", Settings(0.1, 0.9, weight_decay=0.05)),
    Recipe("main job: .99 + L2", Settings(0.1, 0.99, weight_decay=5e-4)))


@dataclass(frozen=True, eq=False)
class Map:
    """Steps of return over a grid, (eta_lambdas, momenta)."""

    momenta: Array
    eta_lambdas: Array
    nesterov: bool
    steps: int              # of the simulation
    formula: Array          # inf for never
    simulated: Array        # inf for not within `steps`

    @property
    def different(self) -> Array:
        """Where the closed form and the simulation disagree."""
        return np.asarray(np.where(self.formula <= self.steps, self.formula, np.inf) != self.simulated)

    @property
    def edge(self) -> Array:
        """For each momentum, the rate times decay above which a unit returns."""
        return window(self.momenta, self.nesterov)[0]

    def to_dict(self) -> dict[str, Any]:
        """Lists and numbers; a step is None for never, or not within `steps`."""
        def listed(grid: Array) -> list[list[int | None]]:
            return [[int(step) if np.isfinite(step) else None for step in row] for row in grid]

        return {"momenta": self.momenta.tolist(), "eta_lambdas": self.eta_lambdas.tolist(), "nesterov": self.nesterov,
                "steps": self.steps, "formula": listed(self.formula), "simulated": listed(self.simulated),
                "different": int(self.different.sum())}


def compute(steps: int = 10_000, *, nesterov: bool = False, width: int = 240, height: int = 200) -> Map:
    """The map by the closed form, and by simulating the optimizer in every pixel.

    Momenta from 0 to 0.9999, evenly spaced in log(1 - momentum); rate times decay from 1e-9 to 1, evenly in its logarithm.

    >>> found = compute(500, width=30, height=20)
    >>> found.formula.shape, int(found.different.sum()), int(np.isfinite(found.simulated).sum())
    ((20, 30), 0, 246)
    """
    check_count(steps, "map: steps")
    momenta, eta_lambdas = 1 - np.logspace(0, -4, width), np.logspace(-9, 0, height)
    grid = momenta, eta_lambdas[:, None]
    return Map(momenta, eta_lambdas, nesterov, steps, return_steps(*grid, nesterov=nesterov),
               simulated_steps(*grid, steps, nesterov=nesterov))


def table(recipes: Sequence[Recipe]) -> Table:
    """One row per recipe."""
    rows = Table("", ["recipe", "momentum", "rate", "decay", "rate times\ndecay", "window\nopens at", "step of\nreturn"])
    for recipe in recipes:
        s = recipe.settings
        rows.add(recipe.name, f"{s.momentum:g}", f"{s.lr:g}", f"{s.weight_decay:g}", f"{s.eta_lambda:.2g}",
                 shown(s.threshold, ".2g"), "never" if recipe.step is None else recipe.step)
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
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 7.8), facecolor="white")
    figure.text(0.065, 0.98, TITLE, fontsize=17, fontweight="bold", color=INK, va="top")
    figure.text(0.065, 0.932, "Momentum and L2 decay together swing it back, but only above the white edge. "
                "The colour is the step of its return.", fontsize=11.5, color=INK, va="top")
    large, small = figure.add_axes((0.065, 0.085, 0.535, 0.79)), figure.add_axes((0.735, 0.535, 0.235, 0.34))
    image = _picture(large, found, found.formula, NEVER)
    large.plot(1 - found.momenta, found.edge, color="white", linewidth=2.5)
    large.text(5e-3, 0.06, "RETURNS", ha="center", va="center", fontsize=15, color=INK)
    large.text(0.05, 1.5e-8, "NEVER RETURNS", ha="center", va="center", fontsize=15, color="white")
    large.text(6e-4, 1.4e-8, "edge, with Nesterov" if found.nesterov else "edge: (1 - √momentum)²", color="white", fontsize=10.5,
               rotation=-38, ha="center", va="center")
    large.set_xlabel("momentum", fontsize=11, color=INK)
    large.set_ylabel("learning rate times weight decay", fontsize=11, color=INK)
    bar = figure.colorbar(image, cax=figure.add_axes((0.612, 0.085, 0.013, 0.79)), extend="max",
                          format=lambda step, _: f"{step:,.0f}")
    bar.set_label("step of return", fontsize=11, color=INK, labelpad=-2)
    bar.ax.tick_params(labelsize=9.5, colors=INK)
    for recipe in recipes:
        _point(large, recipe)
    _picture(small, found, found.simulated, LATER)
    small.set_title("The same map by simulation", fontsize=11, loc="left", color=INK, fontweight="bold")
    rows, columns = np.nonzero(found.different)
    small.plot(1 - found.momenta[columns], found.eta_lambdas[rows], "s", color="#d1495b", markersize=3)
    caption = CAPTION.format(pixels=found.formula.size, steps=found.steps, agreement=_agreement(found).capitalize())
    figure.text(0.69, 0.47, caption, fontsize=10.5, color=INK, va="top", linespacing=1.45)
    save(figure, path, dpi=110)


def _picture(axes: Any, found: Map, steps: Array, never: str) -> Any:
    """One map: colours for the steps, `never` for inf. The horizontal axis is 1 - momentum, labelled with the momentum."""
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm

    colours = colormaps["YlOrBr"].with_extremes(bad=never, over=LATER)
    image = axes.pcolormesh(1 - found.momenta, found.eta_lambdas, np.ma.masked_invalid(steps), cmap=colours, rasterized=True,
                            norm=LogNorm(1, found.steps), shading="nearest")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(1, 1 - found.momenta[-1])
    axes.set_ylim(found.eta_lambdas[0], found.eta_lambdas[-1])
    axes.set_xticks([1 - momentum for momentum in TICKS], [f"{momentum:g}" for momentum in TICKS])
    axes.set_yticks([10.0 ** -digits for digits in range(10)])
    axes.minorticks_off()
    axes.tick_params(labelsize=9.5, colors=INK)
    axes.spines[:].set_visible(False)
    return image


def _point(axes: Any, recipe: Recipe) -> None:
    """One recipe with its name; a diamond for decoupled decay. A point outside the map is drawn at its frame."""
    from matplotlib.patheffects import withStroke

    s, never = recipe.settings, recipe.step is None
    low, high = axes.get_ylim()
    x, y = max(1 - s.momentum, axes.get_xlim()[1]), float(np.clip(s.eta_lambda, 1.5 * low, high / 1.5))
    left = s.momentum > 0.99 or (never and s.momentum > 0.5)
    side = -9 if left else 9
    axes.plot(x, y, "D" if s.decoupled else "o", color="white", markeredgecolor=BLUE, markeredgewidth=2, markersize=8,
              clip_on=False)
    name = recipe.name.partition(" (")[0] + (": never" if recipe.settings.decoupled else "" if never else f": step {recipe.step}")
    axes.annotate(name, (x, y), xytext=(side, 13 if recipe.name == YOURS else 0), textcoords="offset points", fontsize=10,
                  ha="right" if left else "left", va="center_baseline", color="white" if never else INK,
                  fontweight="bold" if recipe.name == YOURS else "normal", annotation_clip=False,
                  path_effects=[] if never else [withStroke(linewidth=2.5, foreground="#ffffffd0")])
