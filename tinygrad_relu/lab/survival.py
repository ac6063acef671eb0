"""How long units live, stay dead, and live again after a return: survival curves from the lives that a `Recorder` kept."""
from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from ..autodiff.node import Array
from ..checks import check_name, check_real, counted, said
from ..missing import needing
from ..text import Table
from .drawing import BLUE, axes_of
from .readings import Reading
from .recorder import Life, Recorder, Recorders

Span = Literal["alive", "dead", "revived"]
SPANS: dict[Span, tuple[str, str]] = {        # what it measures, and what ends it
    "alive": ("the life of units that were alive at the first look", "died"),
    "dead": ("the time for which units are dead", "returned"),
    "revived": ("the life of units after a return", "died again")}


class Spell(NamedTuple):
    """A time in which a unit was alive, dead, or alive again, in steps. One that has not ended is censored: `stop` is the last
    step of the record, or the one before the unit diverged."""

    of: Span
    layer: str
    unit: int
    start: int
    stop: int
    ended: bool


def spells(life: Life, first: int, last: int) -> Iterator[Spell]:
    """The spells of one life, recorded from the step `first` to the step `last`."""
    now: Span = "alive"
    start = first
    for step, event in life.events:
        if event == "dead at the first look":
            now = "dead"
            continue
        yield Spell(now, life.layer, life.unit, start, step, event != "diverged")
        if event == "diverged":
            return
        now, start = ("revived", step) if event == "revived" else ("dead", step)
    yield Spell(now, life.layer, life.unit, start, last, False)


@dataclass(frozen=True, eq=False, repr=False)
class Survival(Reading):
    """The estimate of Kaplan and Meier (1958): the share of units whose spell lasts longer than t steps.

    Spells that have not ended count as long as they were seen. At each time t the share falls by the factor 1 - ended / at risk.

    - `steps`, `share`: the times t at which spells ended or were censored, and the share after t.
    - `low`, `high`: limits of a 95 % confidence interval (log-log); NaN where the share is 0.
    - `at_risk`, `ended`: how many spells lasted at least until t, and how many ended at t.
    """

    of: Span
    spells: list[Spell]
    steps: Array
    share: Array
    low: Array
    high: Array
    at_risk: Array
    ended: Array

    def at(self, step: float) -> float:
        """The share that lasts longer than this many steps."""
        place = int(np.searchsorted(self.steps, check_real(step, "at: step"), side="right"))
        return float(self.share[place - 1]) if place else 1.0

    @property
    def median(self) -> int | None:
        """The first number of steps that at most half of the spells outlast; None if more do, as far as they were seen."""
        below = np.flatnonzero(self.share <= 0.5)
        return int(self.steps[below[0]]) if below.size else None

    def to_dict(self) -> Any:
        return {**super().to_dict(), "median": self.median}

    def table(self, rows: int | None = 24) -> Table:
        """One row per time at which spells ended; at most `rows` (None: all)."""
        what, end = SPANS[self.of]
        total = int(self.ended.sum())
        found = [(int(t), int(n), int(d), f"{s:.3f}", f"{a:.3f} to {b:.3f}" if s else "-") for t, n, d, s, a, b in zip(
            self.steps, self.at_risk, self.ended, self.share, self.low, self.high) if d]
        return Table(f"{what}: {counted(len(self.spells), 'spell')}, {total} {end}, median {self.median or '-'} steps",
                     ["after", "at risk", end, "share left", "95 %"], found, most=rows)

    def plot(self) -> Any:
        """The share left over time, with its confidence interval and ticks where spells are censored, as a matplotlib Figure."""
        what, end = SPANS[self.of]
        figure, axes = axes_of(9, 3.6, what[0].upper() + what[1:], "steps", f"share that has not {end}")
        steps, share, low, high = (np.concatenate([[start], values]) for start, values in (
            (0, self.steps), (1, self.share), (1, self.low), (1, self.high)))
        axes.fill_between(steps, low, high, step="post", color=BLUE, alpha=0.18, linewidth=0, label="95 % interval")
        axes.step(steps, share, where="post", color=BLUE, linewidth=1.8,
                  label=f"{counted(len(self.spells), 'spell')}, {int(self.ended.sum()):,} {end}")
        censored = np.unique([spell.stop - spell.start for spell in self.spells if not spell.ended])
        if censored.size:
            axes.plot(censored, list(map(self.at, censored)), "|", color="black", markersize=8, label="not ended when last seen")
        axes.set_ylim(0, 1.04)
        axes.legend(frameon=False, fontsize=9)
        return figure


def survival(recorder: Recorder | Recorders | Sequence[Recorder], of: Span = "revived", layer: str | None = None) -> Survival:
    """The survival curve of all units of one or more recorders; they may be those of a population.

    Times are in steps, and as exact as the observations are close. Needs SciPy (of the extra "lab").

    - `of`: "alive" (from the first look until death), "dead" (from death until the return), or "revived" (from a return until the
      next death).
    - `layer`: the name of one hidden layer; None for all.

    >>> model, x = nn.MLP([2, 3, 2], rng=0), np.random.default_rng(0).standard_normal((50, 2))
    >>> recorder = lab.Recorder(model, x)
    >>> for bias in (-9.0, 9.0, 9.0, -9.0):
    ...     recorder.observe()
    ...     model[0].bias.data = [bias, bias, 9.0]
    >>> recorder.observe()
    >>> print(lab.survival(recorder))
    the life of units after a return: 2 spells, 2 died again, median 2 steps
    after  at risk  died again  share left  95 %
    ────────────────────────────────────────────
        2        2           2       0.000  -
    """
    check_name(of, SPANS, "survival: of")
    each = recorder.each if isinstance(recorder, Recorders) else [recorder] if isinstance(recorder, Recorder) else recorder
    if not isinstance(each, Sequence) or not each or not all(isinstance(one, Recorder) for one in each):
        raise TypeError(f"survival: got {said(recorder)}, expected a Recorder, Recorders, or a list of them")
    if layer is not None:
        check_name(layer, [hidden.name for hidden in each[0].layers], "survival: layer")
    found = [spell for one in each for life in one.lives() if layer in (None, life.layer)
             for spell in spells(life, one.steps[0], one.steps[-1]) if spell.of == of]
    if not found:
        raise ValueError(f"survival: no unit {'came back' if of == 'revived' else 'was ' + of} in this record; expected "
                         f"{SPANS[of][0]}")
    return kaplan_meier(of, found)


def kaplan_meier(of: Span, found: list[Spell]) -> Survival:
    with needing("survival needs", "lab"):
        from scipy.stats import CensoredData, ecdf
    times, ended = np.array([spell.stop - spell.start for spell in found]), np.array([spell.ended for spell in found])
    curve: Any = ecdf(CensoredData.right_censored(times, ~ended)).sf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)         # no interval where all or none are left
        interval = curve.confidence_interval(0.95, method="log-log")
    steps = np.asarray(curve.quantiles).astype(np.int64)
    low, high, share = interval.low.probabilities, interval.high.probabilities, np.asarray(curve.probabilities)
    return Survival(of, found, steps, share, np.where(share == 1, 1.0, low), np.where(share == 1, 1.0, high),
                    (times >= steps[:, None]).sum(axis=1), (ended & (times == steps[:, None])).sum(axis=1))
