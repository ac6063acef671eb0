"""The figure of the main job: the life lines of all units, every prediction beside its observation, and the accuracies."""
from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from ..autodiff.node import Array
from ..checks import counted
from .drawing import BLUE, COLOURS, DPI, FAINT, INK, LABELS, OPENS, RETURN, check_format, save
from .layers import GONE, State, flat_edges
from .outcomes import Outcome, Run, Sick, Training
from .report import described
from .treatments import STARTS

COLUMNS = 5
WIDTH, MARGIN, GAP = 15.5, 0.5, 0.22            # of the page, in inches
COASTING = """Nothing decays, and the gradient of
every dead unit is zero.

A unit whose momentum buffer still
pushes z up coasts back over {edge:g}, each
unit at its own step. A unit with an
empty buffer does not move.

If a unit died by its own step, its
buffer pushes z further down."""


class _Page:
    """A figure that is filled from the top. All sizes are in inches, so that each unit gets a known number of pixels."""

    def __init__(self, height: float) -> None:
        from matplotlib.figure import Figure

        self.figure, self.height, self.top = Figure(figsize=(WIDTH, height), facecolor="white", dpi=DPI), height, 0.3

    def axes(self, left: float, width: float, height: float) -> Any:
        """Axes below what has been drawn; `left` and `width` are shares of the width between the margins."""
        usable = WIDTH - 2 * MARGIN
        return self.figure.add_axes(((MARGIN + left * usable) / WIDTH, 1 - (self.top + height) / self.height,
                                     width * usable / WIDTH, height / self.height))

    def say(self, text: str, size: float, *, bold: bool = False, colour: str = INK, left: float = 0.0) -> None:
        x = (MARGIN + left * (WIDTH - 2 * MARGIN)) / WIDTH
        self.figure.text(x, 1 - self.top / self.height, text, fontsize=size, fontweight="bold" if bold else "normal",
                         color=colour, va="top")


def draw(runs: Sequence[Run], path: str | Path, *, kill_lr: float) -> None:
    """Draw the first run, and the spread over all of them if there are several, in a PNG, SVG or PDF file."""
    check_format(path)
    save(compose(runs, kill_lr=kill_lr), path, dpi=DPI)


def compose(runs: Sequence[Run], *, kill_lr: float) -> Any:
    """The figure of `draw`, as a matplotlib Figure."""
    run = runs[0]
    sick, outcomes, shocked = run.networks["sick"], run.of("sick"), run.of("shocked", "own steps")
    begun = "becoming sick", f"SGD at rate {kill_lr:g}: accuracy {sick.accuracy:.2f}"
    dead = "dead " * (sick.gradient == 0)              # else some path is still alive
    scenes = [(f"The same {dead}network under {counted(len(outcomes), 'treatment')}: the life of every unit, from left to right",
               [(sick, *begun), *((o, o.treatment.name, _told(o)) for o in outcomes)])]
    if shocked:
        then = f"{STARTS['shocked']['kill_steps']} steps, then every bias of layer 0 falls"
        before = [(run.networks["shocked"], "healthy, then a shock", then)] if "shocked" in run.networks else []
        scenes.append(("Momentum alone: no decay; only what the momentum buffers still hold from before the units died",
                       [*before, *((o, o.treatment.name, _told(o)) for o in shocked)]))
    tall = min(max(2 * len(_picture(sick)) / DPI, 1.6), 6.0)        # two pixels for each unit
    rows = sum(-(-len(panels) // COLUMNS) for _, panels in scenes)
    gap = GAP / (WIDTH - 2 * MARGIN)
    wide = (1 - (COLUMNS - 1) * gap) / COLUMNS
    page = _Page(1.75 + len(scenes) * 0.53 + rows * (tall + 0.95) + 4.1 + (4.1 if len(runs) > 1 else 0))
    page.say(f"A {dead}network, and what brings {'it' if dead else 'its dead units'} back at a predicted step", 19, bold=True)
    page.top += 0.42
    held = f"; accuracies are of the training data, {len(run.held_out):,} more samples are held out" if run.held_out else ""
    page.say(f"{described(run)}{held}. Each row of a panel is one unit, each column one training step.", 11, colour=FAINT)
    page.top += 0.36
    handles = _handles([training for _, panels in scenes for training, *_ in panels])
    page.figure.legend(handles=handles, loc="upper left", ncols=len(handles), frameon=False, fontsize=9.5, handlelength=1.6,
                       columnspacing=1.5, borderaxespad=0, borderpad=0, handletextpad=0.5,
                       bbox_to_anchor=(MARGIN / WIDTH, 1 - page.top / page.height))
    page.top += 0.45
    for title, panels in scenes:
        page.say(title, 13, bold=True)
        page.top += 0.88
        for i, (training, name, caption) in enumerate(panels):
            column = i % COLUMNS
            _life_lines(page.axes(column * (wide + gap), wide, tall), training, name, caption, layers=column == 0)
            if i == len(panels) - 1 and column < COLUMNS - 1 and training in shocked:
                page.say(COASTING.format(edge=flat_edges(sick.model[1])[0]), 9.5, colour=INK, left=(column + 1) * (wide + gap))
            if column == COLUMNS - 1 or i == len(panels) - 1:
                page.top += tall + 0.95
        page.top -= 0.35
    page.top += 0.25
    _orbits(page.axes(0.02, 0.25, 3.3), outcomes)
    _diagonal(page.axes(0.335, 0.225, 3.3), [*outcomes, *shocked])
    _accuracies(page.axes(0.62, 0.38, 3.3), sick, outcomes)
    if len(runs) > 1:
        page.top += 4.3
        _spread(page, runs)
    return page.figure


# -- the life lines ----------------------------------------------------------------------------------------------------------


def _told(outcome: Outcome) -> str:
    """The prediction and the observation for layer 0, with a reason; and the accuracy."""
    held = f" (held out {outcome.accuracy_held_out:.2f})" if outcome.held_out else ""
    if not outcome.claims:
        told = "no unit of layer 0 is dead: no prediction"
    elif outcome.treatment.start != "sick" and outcome.observed_step is not None:
        back = [p for p in outcome.predictions if p.layer == "0" and p.observed is not None]
        told = f"{len(back)} of {outcome.sick.dead[0]} return, {sum(not p.fails for p in back)} at their predicted step"
    elif outcome.observed_step is not None and outcome.predicted == outcome.observed:
        told = f"layer 0 returns at step {outcome.observed}, as predicted"
    elif outcome.observed_step is None and outcome.predicted == "never":
        told = f"never, as predicted: {outcome.why}" if outcome.why else "never, as predicted"
    else:
        told = f"predicted {outcome.predicted}, observed {outcome.observed}"
    return f"{told}\naccuracy {outcome.accuracy:.2f}{held}"


def _picture(training: Training) -> Array:
    """The colours of all units (rows) at all steps (columns); white rows between the layers."""
    from matplotlib.colors import to_rgb

    palette = np.array([to_rgb(COLOURS[state]) for state in State])
    layers = []
    for states in training.states:
        gone = GONE[states]
        order = np.lexsort((gone.mean(axis=0), (~gone).argmax(axis=0), gone[0]))      # units with similar lives are neighbours
        layers += [palette[states[:, order]].transpose(1, 0, 2), np.ones((5, len(states), 3))]
    return np.concatenate(layers[:-1])


def _life_lines(axes: Any, training: Training, name: str, caption: str, layers: bool) -> None:
    from matplotlib.patheffects import withStroke

    picture, steps = _picture(training), len(training.states[0])
    axes.imshow(picture, aspect="auto", interpolation="nearest", extent=(0, max(steps - 1, 1), picture.shape[0], 0))
    for step, colour in ((training.opens[0], OPENS), (training.predicted_step, RETURN)) if isinstance(training, Outcome) else ():
        if step is not None and step < steps:
            axes.axvline(step, color=colour, linewidth=1.5, linestyle=(0, (3, 1.6)),
                         path_effects=[withStroke(linewidth=2.6, foreground="white")])
    if isinstance(training, Sick):
        of = [f" of {states.shape[1]}" * (len(training.states) < 3) for states in training.states]      # of more: no room
        caption += "\n" + ", ".join(f"{dead}{width}" for dead, width in zip(training.dead, of)) + " units dead, by layer"
    axes.set_title(name, fontsize=11, loc="left", pad=27, color=INK, fontweight="bold")
    axes.annotate(caption, (0, 1), (0, 3.2), "axes fraction", "offset points", fontsize=8.2, color=INK, va="bottom",
                  linespacing=1.25)
    top = 0
    for i, states in enumerate(training.states if layers else ()):
        axes.text(-0.02, top + states.shape[1] / 2, f"layer {i}", rotation=90, ha="right", va="center", fontsize=8.5,
                  color=FAINT, transform=axes.get_yaxis_transform())
        top += states.shape[1] + 5
    axes.set_yticks([])
    axes.set_xticks(sorted({0, (steps - 1) // 2, max(steps - 1, 1)}))
    for i, side in ((0, "left"), (-1, "right")):        # the outer numbers stay within the panel
        axes.get_xticklabels()[i].set_ha(side)
    axes.tick_params(labelsize=7.5, colors=FAINT, length=2)
    axes.spines[:].set_visible(False)


def _handles(trainings: Sequence[Training]) -> list[Any]:
    """What the colours and lines of the panels mean."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    seen = {State(s) for training in trainings for layer in training.states for s in np.unique(layer)}
    marks = {State.ALWAYS_ON: "always on (z > 0 on all data)", State.CUT_OFF: "cut off (alive, but no path to the output)"}
    handles: list[Any] = [Patch(facecolor=COLOURS[s], label=marks.get(s, s.label)) for s in COLOURS if s in seen]
    dashes = (0, (3, 1.6))
    if any(isinstance(t, Outcome) and t.opens[0] is not None for t in trainings):
        handles.append(Line2D([], [], color=OPENS, linestyle=dashes, label="first open path, predicted"))
    return [*handles, Line2D([], [], color=RETURN, linestyle=dashes, label="first return in layer 0, predicted")]


# -- the panels below --------------------------------------------------------------------------------------------------------


def _orbits(axes: Any, outcomes: Sequence[Outcome]) -> None:
    """The pre-activation of one unit, as measured and as predicted by a rehearsal."""
    told = [o for o in outcomes if o.predicted_orbit and o.observed_orbit]
    _plain(axes, "one dead unit: its pre-activation z")
    if not told:
        axes.text(0.5, 0.5, "no dead unit whose orbit the theory predicts", ha="center", transform=axes.transAxes, color=FAINT)
        return
    outcome = max(told, key=lambda o: (o.observed_step is not None, o.threshold is not None, o.accuracy,
                                       -(o.predicted_step or 0)))
    end = len(outcome.observed_orbit)
    stop = end if outcome.predicted_step is None else min(end, outcome.predicted_step + 1)
    show = min(end, max(20, int(1.25 * stop)))
    axes.axhline(0, color=FAINT, linewidth=0.8)
    axes.plot(outcome.observed_orbit[:show], color=COLOURS[State.ALWAYS_ON], linewidth=3.5, label="measured")
    axes.plot(outcome.predicted_orbit[:stop], color=INK, linewidth=1.4, linestyle=(0, (4, 3)), label="predicted")
    span = np.abs(outcome.observed_orbit[:stop]).max() or 1.0
    axes.set_ylim(-1.15 * span, 0.75 * span)
    unit, sample = outcome.followed or (0, 0)
    if outcome.predicted_step is not None and outcome.predicted_step == outcome.observed_step:
        axes.plot([outcome.predicted_step], [outcome.observed_orbit[outcome.predicted_step]], "o", color=RETURN, markersize=7)
        axes.annotate(f"alive at step {outcome.predicted_step},\nas predicted; from here on\nits gradient moves it too",
                      (outcome.predicted_step, 0), textcoords="offset points", fontsize=9, color=INK,
                      **(dict(xytext=(-10, 18), ha="right", va="bottom") if 2 * outcome.predicted_step > show else
                         dict(xytext=(10, -12), ha="left", va="top")))
    below = outcome.predicted_orbit[stop - 1] < -span / 2       # the line is where the text would be
    axes.text(0.98, 0.04 + 0.3 * below, f"{outcome.treatment.name}\nunit {unit} of layer 0, sample {sample}", ha="right",
              transform=axes.transAxes, fontsize=8.5, color=FAINT)
    axes.legend(loc="upper left", frameon=False, fontsize=8.5, borderaxespad=0)


def _diagonal(axes: Any, outcomes: Sequence[Outcome]) -> None:
    """Every prediction: the step that was predicted against the step that was observed."""
    told = [p for o in outcomes if not o.untested for p in o.predictions]
    pairs = Counter((p.step, p.observed) for p in told if p.step is not None and p.observed is not None)
    _plain(axes, f"all {len(told):,} predictions, {sum(p.fails for p in told)} wrong", "predicted step of the first return")
    axes.set_ylabel("observed step", fontsize=9, color=FAINT, labelpad=1)
    x, y = np.array(list(pairs)).reshape(-1, 2).T
    largest = 1.6 * max([10, *x, *y])
    axes.plot([0.8, largest], [0.8, largest], color="#cccccc", linewidth=1, zorder=1)
    axes.scatter(x, y, s=14 + 5 * np.sqrt(list(pairs.values())), color=BLUE, alpha=0.55, linewidths=0, zorder=2)
    axes.set(xscale="log", yscale="log", xlim=(0.8, largest), ylim=(0.8, largest))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(*_ticks(largest))
        axis.set_ticks([], minor=True)
    stayed, late = sum(p.between is None and not p.fails for p in told), sum(p.waits for p in told)
    lines = [f"{counted(sum(pairs.values()), 'return')}, each of one unit", "under one treatment;",
             f"{counted(stayed, 'time')} a unit was predicted", "never to return, and did not"]
    lines += [f"{counted(late, 'return')} not yet due"] if late else []
    axes.text(0.03, 0.98, "\n".join(lines), transform=axes.transAxes, fontsize=8.5, color=INK, va="top", linespacing=1.3)


def _ticks(largest: float) -> tuple[list[int], list[str]]:
    """Ticks of a logarithmic axis of steps, and their labels."""
    ticks = [tick for tick in (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 100_000, 1_000_000) if tick <= largest]
    return ticks, [f"{tick:,}" for tick in ticks]


def _accuracies(axes: Any, sick: Sick, outcomes: Sequence[Outcome]) -> None:
    """The accuracies, each labelled at its end; those that stay where they are share one label."""
    _plain(axes, "accuracy: training data (solid)" + ", held-out data (dotted)" * any(o.held_out for o in outcomes))
    stuck = [o for o in outcomes if all(abs(a - sick.accuracy) < 0.02 for _, a in o.accuracies)]
    moving = sorted((o for o in outcomes if o not in stuck), key=lambda o: -o.accuracy)
    steps = max((o.steps for o in outcomes), default=1)
    for outcome in stuck:
        axes.plot(*zip(*outcome.accuracies), color=COLOURS[State.DEAD], linewidth=2)
    names = []
    for outcome, colour in zip(moving, cycle(LABELS)):
        axes.plot(*zip(*outcome.accuracies), color=colour, linewidth=1.6)
        if outcome.held_out:
            axes.plot(*zip(*outcome.held_out), color=colour, linewidth=1.1, linestyle=(0, (1, 1.6)))
        aside = f", held out {outcome.accuracy_held_out:.2f}" if outcome.held_out else ""
        names.append((outcome.accuracy, f"{outcome.treatment.name}  {outcome.accuracy:.2f}{aside}", colour))
    if stuck:
        name = f"{'steady' if sick.gradient else 'stuck'}: {len(stuck)} treatments" if len(stuck) > 1 else stuck[0].treatment.name
        names.append((sick.accuracy, f"{name}  {sick.accuracy:.2f}", COLOURS[State.DEAD]))
    height, gap = 1.1, min(0.072, 1.1 / max(len(names), 1))        # of the labels, which must not overlap
    for left, (accuracy, name, colour) in zip(range(len(names) - 1, -1, -1), names):
        height = max(min(accuracy, height - gap), left * gap)       # room for those that are left
        axes.annotate(name, (steps, accuracy), xytext=(steps * 1.02, height), fontsize=8.8, color=colour, va="center",
                      annotation_clip=False)
    axes.set_xlim(0, steps * 1.95)
    axes.set_xticks([tick for tick in axes.get_xticks() if 0 <= tick <= steps])
    axes.set_ylim(min(0.0, height - 0.05), 1.06)


def _spread(page: _Page, runs: Sequence[Run]) -> None:
    """One dot per seed: the first returns, predicted and observed, and the final accuracies."""
    page.say(f"The same with {len(runs)} seeds, {runs[0].seed} to {runs[-1].seed}: one dot for each", 13, bold=True)
    page.top += 0.55
    steps, ends = page.axes(0.14, 0.36, 2.5), page.axes(0.62, 0.36, 2.5)
    _plain(steps, "first return in layer 0: predicted (ring), observed (dot)")
    _plain(ends, "accuracy at the end: training data (dot), held-out data (ring)", "")
    keys = [outcome.treatment for outcome in runs[0].outcomes]
    for run in runs:
        found = {outcome.treatment.key: outcome for outcome in run.outcomes}
        for row, treatment in enumerate(keys):
            outcome = found.get(treatment.key)
            if outcome is None:
                continue
            for step, ring in ((outcome.predicted_step, True), (outcome.observed_step, False)):
                if step is not None and step <= outcome.steps:
                    steps.plot(step, row, "o", color=RETURN if ring else INK, markersize=8 if ring else 3.5,
                               fillstyle="none" if ring else "full", alpha=0.7)
            ends.plot(outcome.accuracy, row, "o", color=INK, markersize=3.5, alpha=0.7)
            if outcome.held_out:
                ends.plot(outcome.accuracy_held_out, row, "o", color=BLUE, fillstyle="none", markersize=7, alpha=0.7)
    for axes in (steps, ends):
        axes.set_ylim(len(keys) - 0.4, -0.6)
        axes.set_yticks(range(len(keys)), [treatment.name for treatment in keys], fontsize=8)
        axes.grid(axis="y", color="#eeeeee")
        axes.set_axisbelow(True)
    last = 1.3 * max(o.steps for run in runs for o in run.outcomes)
    steps.set(xscale="symlog", xlim=(0, last))
    steps.set_xticks(*_ticks(last))
    steps.set_xticks([], minor=True)
    ends.set_xlim(0, 1.03)


def _plain(axes: Any, title: str, below: str = "step") -> None:
    axes.set_title(title, fontsize=11, loc="left", color=INK, fontweight="bold")
    axes.set_xlabel(below, fontsize=9, color=FAINT)
    axes.tick_params(labelsize=8.5, colors=FAINT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[:].set_color("#cccccc")
    if below == "step":
        axes.locator_params(axis="x", integer=True)
