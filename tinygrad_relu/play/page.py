"""The page, in Bokeh: controls that call `Playground.do`, and pictures of its state; and the server, for this computer only."""
from __future__ import annotations

import logging
import math
import signal
import socket
from collections.abc import Callable
from functools import partial
from html import escape
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import urlencode

import numpy as np
from bokeh import models as bk
from bokeh.core.templates import get_env
from bokeh.events import DocumentReady, Tap
from bokeh.layouts import column, row
from bokeh.plotting import figure
from bokeh.server.server import Server

from ..checks import counted
from ..lab import Census
from ..lab.drawing import BLUE, COLOURS, RETURN
from ..lab.layers import State
from .playground import ACTIVATIONS, MENDED, SETS, TREATED, Playground

HOST = "127.0.0.1"
FRAME = 33              # milliseconds between two frames
COLUMNS = 400           # at most about so many, of life lines
GRID = 70               # points along each side of the picture of the classes
POINTS = 800            # at most, of an orbit
CLASSES = np.array([(213, 94, 0), (0, 114, 178), (0, 158, 115)])        # the colours of two or three classes (Okabe & Ito 2008)
EMPTY = len(State)      # in the life lines: the gap between two layers
SPEEDS = ["1", "2", "5", "10", "20", "50", "100"]
STEPS = {"lr": ("learning rate", [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]),         # of the sliders
         "momentum": ("momentum", [0.0, 0.5, 0.8, 0.9, 0.95, 0.99]),
         "weight_decay": ("weight decay", [0.0, 1e-5, 1e-4, 5e-4, 1e-3, 0.005, 0.01, 0.05, 0.1])}
ASKED = ("", "click a life line, or choose here")       # of the list of units, until one is chosen
NIGHT = {**COLOURS, State.DEAD: "#5f88d6", State.NEVER_WINS: "#5f88d6", State.DEAD_HIGH: "#b873bb", State.DIVERGED: "#ffffff"}
BROKEN = "The link cannot be followed"
AHEAD = 4               # frames that the browser has not shown yet, at most
SHOW = """              // a line of text, without Bokeh's layout; and the word that a frame has been shown
    document.getElementById("status").textContent = sent.tags[1]
    requestAnimationFrame(() => { shown.tags = sent.tags })"""
ADDRESS = """           // the address of the page is always the link to its state
    const found = link.text.match(/href="([^"]*)"/)
    if (found) history.replaceState(null, "", found[1].replaceAll("&amp;", "&"))"""
STYLE, PAINT, TEMPLATE = (Path(__file__).with_name(name).read_text(encoding="utf-8")
                          for name in ("widgets.css", "paint.js", "page.html"))


class Page:
    """One page in one browser, with a playground of its own."""

    def __init__(self, document: Any, play: Playground, wrong: str = "") -> None:
        self.document, self.play, self.running, self.quiet = document, play, False, False
        self.frames: list[float] = []           # when the last were drawn
        self.drawn, self.shown = 0, -AHEAD      # frames that were sent to the browser, and those that it has shown
        self.common = {"sizing_mode": "stretch_width", "stylesheets": [STYLE]}
        self.note, self.link, self.told, self.counts = (bk.Div(**self.common) for _ in range(4))
        self._say(wrong)
        self._controls()
        self._pictures()
        self._set_data()
        document.title, document.template = "tinygrad_relu play", get_env().from_string(TEMPLATE)
        show = bk.CustomJS(args={"sent": self.counts, "shown": self.told}, code=SHOW)
        document.js_on_event(DocumentReady, show, bk.CustomJS(code=PAINT, args={
            "figures": self.figures, "inked": self.inked, "states": self.life.color_mapper, "night": [*map(NIGHT.get, State)]}))
        self.counts.js_on_change("tags", show)
        self.told.on_change("tags", lambda attribute, old, new: setattr(self, "shown", new[0]))
        self.draw()
        document.add_periodic_callback(self.frame, FRAME)

    def _say(self, wrong: Any) -> None:
        self.note.text = wrong and f'<p class="wrong" role="alert">{escape(str(wrong))}</p>'

    # -- controls ------------------------------------------------------------------------------------------------------------

    def _controls(self) -> None:
        def button(label: str, act: Callable[[], None], **options: Any) -> Any:
            made = bk.Button(label=label, **self.common, **options)
            made.on_click(act)
            return made

        def chooser(kind: Any, name: str, act: Callable[[Any], None], watch: str = "value", **options: Any) -> Any:
            made = kind(name=name, **self.common, **options)
            made.on_change(watch, lambda attribute, old, new: None if self.quiet else act(new))
            return made

        def select(name: str, act: Callable[[Any], None], found: list[str]) -> Any:
            return chooser(bk.Select, name, act, title=name, options=found)

        beside = partial(row, sizing_mode="stretch_width")
        self.run = button("Run", self._run, button_type="primary")
        self.speed = bk.CategoricalSlider(title="steps a frame", categories=SPEEDS, value="2", **self.common)
        self.kill = button("Kill the unit", lambda: self.act("kill", *(self.play.watched or ())))
        groups = {"an optimizer, from its start": [(t.key, t.name) for t in TREATED.values()],
                  "new life for the dead units": [(key, label) for key, (label, _) in MENDED.items()]}
        treatment = bk.Select(name="treatment", title="treatment", value="heavy-l2", options=groups, **self.common)
        self.kill_layer = button("Kill its layer", lambda: self.act("kill", *(self.play.watched or ())[:1]))
        do = [beside(self.run, button("Step", lambda: self._advance(1))), self.speed,
              beside(self.kill, self.kill_layer), treatment, button("Treat", lambda: self.act("treat", treatment.value))]
        self.sliders = {name: chooser(bk.CategoricalSlider, name, partial(self.act, name), "value_throttled", title=title,
                                      categories=["0"], value="0") for name, (title, _) in STEPS.items()}
        self.decoupled = chooser(bk.RadioButtonGroup, "decoupled", partial(self.act, "decoupled"), "active",
                                 labels=["coupled (L2)", "decoupled"])
        self.activation = select("activation", partial(self.act, "activation"), ACTIVATIONS)
        self.unit = select("unit", lambda unit: self.act("watch", *unit.split("-")), [])
        self.data = select("data", lambda name: self.widths.update(value=_joined(SETS[name][1])), list(SETS))
        self.seed, self.widths = (bk.TextInput(title=title, **self.common) for title in ("seed", "hidden units"))
        settings = [*self.sliders.values(), self.decoupled, self.activation, self.data, beside(self.seed, self.widths),
                    button("New network", self._new), self.link]
        self.link.js_on_change("text", bk.CustomJS(args={"link": self.link}, code=ADDRESS))
        self._add("note", self.note)
        self._add("act", *do)
        self._add("set", *settings)

    def _add(self, name: str, *parts: Any) -> None:
        self.document.add_root(column(*parts, name=name, sizing_mode="stretch_width"))

    def act(self, action: str, *words: Any) -> None:
        """An action; what is wrong with it is said on the page."""
        try:
            self.play.do(action, *words)
            self._say("")
        except (ValueError, TypeError, IndexError) as error:
            self._say(error)
        self.draw()

    def _run(self) -> None:
        self.running = not self.running
        self.frames.clear()
        self.draw()

    def _advance(self, steps: int) -> None:
        self.play.advance(steps)
        self.draw()

    def _new(self) -> None:
        widths = "-".join(self.widths.value.replace(",", " ").split())
        setup = {"data": self.data.value, "seed": self.seed.value.strip(), "widths": widths}
        try:
            self.play, self.running = Playground.of(urlencode(setup)), False
        except (ValueError, ImportError) as error:
            self._say(error)
            return
        self._say("")
        self._set_data()
        self.draw()

    def frame(self) -> None:
        """Some steps, and what they have changed, if the browser keeps up. A link is replayed first, as fast as it can be."""
        if self.drawn - self.shown >= AHEAD:
            return
        end = perf_counter() + FRAME / 1000
        if self.play.behind:
            try:
                while self.play.behind and perf_counter() < end:
                    self.play.advance(min(self.play.behind, 20))
            except (ValueError, IndexError) as error:
                self._say(f"{BROKEN}: {error}")
            self.draw()
        elif self.running:
            self.frames = [*self.frames[-30:], perf_counter()]
            self._advance(int(self.speed.value))

    # -- pictures ------------------------------------------------------------------------------------------------------------

    def _pictures(self) -> None:
        common = {"sizing_mode": "stretch_width", "toolbar_location": None, "tools": "", "outline_line_color": None,
                  "background_fill_color": None, "border_fill_color": None, "min_border": 5}      # the panel's own colour shows

        def free() -> dict[str, Any]:
            return {"x_range": bk.Range1d(), "y_range": bk.Range1d()}

        def source(*columns: str) -> Any:
            return bk.ColumnDataSource({name: [] for name in columns})

        self.cells, self.dots, self.edge = source("image"), source("x", "y", "colour"), source("x", "y")
        self.square = figure(height=340, **free(), **common)
        self.classes = self.square.image_rgba("image", source=self.cells, x=0, y=0, dw=1, dh=1).glyph
        self.square.scatter("x", "y", source=self.dots, fill_color="colour", line_color="white", line_width=0.5, size=6)
        edge = self.square.line("x", "y", source=self.edge, line_width=2.5, line_dash=[6, 4])
        self.confused, names = source("x", "y", "n", "share"), [str(c) for c in range(10)]
        self.table = figure(height=340, x_range=names, y_range=names[::-1], x_axis_label="taken for", y_axis_label="digit",
                            **common)
        self.table.rect("x", "y", 1, 1, source=self.confused, fill_color=BLUE, fill_alpha="share", line_alpha=0)
        cells = self.table.text("x", "y", "n", source=self.confused, text_align="center", text_baseline="middle",
                                text_font_size="11px")
        self.ticks, self.chosen, self.states = source("x", "y0", "y1", "alpha"), source("right", "top", "bottom"), source("image")
        self.rows = figure(height=320, x_axis_label="step", **free(), **common)
        colours = bk.LinearColorMapper([*map(COLOURS.get, State), "rgba(0, 0, 0, 0)"], low=-0.5, high=EMPTY + 0.5)
        self.life = self.rows.image("image", source=self.states, x=0, y=0, dw=1, dh=1, color_mapper=colours).glyph
        self.rows.segment("x", "y0", "x", "y1", source=self.ticks, line_color=RETURN, line_width=2.5, line_alpha="alpha")
        frame = self.rows.quad(0, "right", "top", "bottom", source=self.chosen, fill_alpha=0, line_width=1.5)
        self.rows.on_event(Tap, self._choose)
        self.seen, self.ahead = source("x", "y"), source("x", "y")
        self.orbit = figure(height=230, x_axis_label="step", y_axis_label="pre-activation z", **free(), **common)
        self.orbit.line("x", "y", source=self.seen, line_width=4, color=COLOURS[State.ALWAYS_ON], legend_label="observed")
        path = self.orbit.line("x", "y", source=self.ahead, line_width=1.6, line_dash=[5, 4], legend_label="foretold")
        self.due = bk.Span(dimension="height", line_color=RETURN, visible=False)
        for part in (bk.Span(location=0, dimension="width", line_color="#888"), self.due):
            self.orbit.add_layout(part)
        legend = self.orbit.legend[0]
        legend.update(orientation="horizontal", background_fill_alpha=0, border_line_alpha=0, label_text_color="#888",
                      padding=0, spacing=16)
        self.orbit.add_layout(legend, "above")
        self.figures = [self.square, self.table, self.rows, self.orbit]
        self.inked = [one.glyph for one in (edge, cells, frame, path)]
        for one in self.figures:
            one.grid.visible, one.axis.minor_tick_line_color = False, None
        self._add("picture", self.square, self.table)
        self._add("lives", self.rows)
        self._add("orbit", self.unit, self.orbit, self.told)
        self._add("census", self.counts)

    def _set_data(self) -> None:
        """What does not change while a network trains."""
        play = self.play
        self.data.value, self.seed.value, self.widths.value = play.name, str(play.seed), _joined(play.widths)
        self.table.visible = play.x.shape[1] != 2
        self.square.visible = not self.table.visible
        self.tops = [sum(play.widths[:i]) + i for i in range(len(play.widths))]         # a row between two layers is empty
        self.units = {self.tops[i] + j: (i, j) for i, width in enumerate(play.widths) for j in range(width)}
        self.unit.options = [ASKED, *((f"{i}-{j}", f"unit {j} of layer {i}") for i, j in self.units.values())]
        self.rows.y_range.update(start=sum(play.widths) + len(play.widths) - 1, end=0)
        middles = [top + width / 2 for top, width in zip(self.tops, play.widths)]
        self.rows.yaxis.ticker = bk.FixedTicker(ticks=middles)
        self.rows.yaxis.major_label_overrides = {middle: f"layer {i}" for i, middle in enumerate(middles)}
        if self.table.visible:
            return
        low, high = play.x.min(axis=0), play.x.max(axis=0)
        low, high = low - 0.12 * (high - low), high + 0.12 * (high - low)
        (x, y), (right, top), (wide, tall) = low.tolist(), high.tolist(), (high - low).tolist()
        self.square.x_range.update(start=x, end=right)
        self.square.y_range.update(start=y, end=top)
        self.classes.update(x=x, y=y, dw=wide, dh=tall)
        places = (np.arange(GRID) + 0.5) / GRID
        self.points = np.stack(np.meshgrid(x + wide * places, y + tall * places), axis=-1).reshape(-1, 2)
        self.dots.data = {"x": play.x[:, 0], "y": play.x[:, 1], "colour": [f"rgb{tuple(CLASSES[c].tolist())}" for c in play.y]}

    def _choose(self, event: Any) -> None:
        """A click on a life line."""
        unit = self.units.get(int(event.y)) if event.y >= 0 else None
        if unit is not None:
            self.act("watch", *unit)

    def draw(self) -> None:
        """Everything that may have changed, in one message."""
        self.quiet = True                   # what a control is set to here is no action
        self.drawn += 1
        self.document.hold("combine")
        try:
            self._draw_state()
            if self.drawn % 2 or not self.running:
                self._draw_classes()
            self._draw_lives()
            now = self.play.census()
            self._draw_orbit(now)
            self._draw_census(now)
        finally:
            self.document.unhold()
            self.quiet = False

    def _draw_state(self) -> None:
        play, drawn = self.play, self.frames
        self.running = self.running and not play.diverged
        loss, accuracy, self.matrix = play.measured()
        parts = [f"step {play.step:,}", f"loss {loss:.4g}", f"accuracy {accuracy:.3f}"]
        if self.running and len(drawn) > 5:
            parts.append(f"{(len(drawn) - 1) / (drawn[-1] - drawn[0]):.0f} frames a second")
        if play.behind:
            parts.append(f"replaying the link: {play.behind:,} steps to go")
        if play.diverged:
            parts.append("the training has diverged: begin a new network")
        self.counts.tags = [self.drawn, ", ".join(parts)]
        self.run.label = "Pause" if self.running else "Run"
        self.kill.disabled = self.kill_layer.disabled = play.watched is None
        if not self.running and not play.behind:
            self.link.text = (f'<p><a href="?{escape(play.link())}">Link to this state</a><br><span class="faint">It replays '
                              f"every action. The bits of the network: {play.fingerprint()}</span></p>")
        for name, slider in self.sliders.items():
            value = play.setting(name)
            values = sorted({*STEPS[name][1], 0.0 if value is None else value})
            slider.update(categories=[f"{v:g}" for v in values], value=f"{value or 0.0:g}", disabled=value is None)
        self.decoupled.update(active=int(bool(play.setting("decoupled"))), disabled=play.setting("decoupled") is None)
        if play.watched is not None and self.unit.options[0] == ASKED:
            self.unit.options = self.unit.options[1:]
        self.activation.value, self.unit.value = play.activation, _joined(play.watched or ())

    def _draw_classes(self) -> None:
        if self.table.visible:
            taken, digit = np.meshgrid(*[np.arange(10)] * 2)
            share = self.matrix / np.maximum(self.matrix.sum(axis=1, keepdims=True), 1)
            self.confused.data = {"x": [*map(str, taken.flat)], "y": [*map(str, digit.flat)],
                                  "n": [str(n or "") for n in self.matrix.flat], "share": 0.75 * share.ravel()}
            return
        sure = np.nan_to_num(self.play.predictions(self.points))
        pixels = np.empty((GRID, GRID, 4), np.uint8)
        pixels[..., :3] = (sure @ CLASSES[:sure.shape[1]]).reshape(GRID, GRID, 3)
        pixels[..., 3] = (30 + 170 * sure.max(axis=1)).reshape(GRID, GRID)
        self.cells.data = {"image": [pixels.view(np.uint32).reshape(GRID, GRID)]}
        ends = self.play.edge()
        self.edge.data = {"x": ends[:, 0], "y": ends[:, 1]}

    def _draw_lives(self) -> None:
        play = self.play
        states, stride = play.lives(COLUMNS)
        picture = np.insert(states, np.cumsum(play.widths)[:-1], EMPTY, axis=0)
        self.states.data = {"image": [picture]}
        self.life.update(dw=picture.shape[1] * stride, dh=len(picture))
        due = [claim for claim in play.claims.values() if claim.step is not None and claim.step < 3 * play.step + 300]
        rows = [self.tops[claim.layer] + claim.unit for claim in due]
        self.ticks.data = {"x": [claim.step for claim in due], "y0": rows, "y1": [place + 1 for place in rows],
                           "alpha": [0.5 if claim.verdict == "estimate" else 1.0 for claim in due]}
        end = _roomy(max([50, play.step + 1, *(claim.step for claim in due if claim.step)]))
        self.rows.x_range.update(start=0, end=end)
        chosen = [] if play.watched is None else [self.tops[play.watched[0]] + play.watched[1]]
        self.chosen.data = {"right": [end for _ in chosen], "top": chosen, "bottom": [place + 1 for place in chosen]}

    def _draw_orbit(self, now: Census) -> None:
        play = self.play
        for source, begin, z in ((self.seen, play.since, play.recorder.orbit), (self.ahead, *play.foretold)):
            steps = np.unique(np.linspace(0, len(z) - 1, min(len(z), POINTS)).astype(int)) if z else np.empty(0, int)
            source.data = {"x": begin + steps, "y": np.array([z[step] for step in steps])}
        x, y = self.orbit.x_range, self.orbit.y_range
        drawn = np.concatenate([self.seen.data["y"], self.ahead.data["y"], [0.0]])
        low, high = (float(pick(drawn[np.isfinite(drawn)])) for pick in (np.min, np.max))
        if not (y.start <= low and high <= y.end) or x.start != play.since:
            room = 0.1 * (high - low) or 1.0
            y.update(start=low - room, end=high + room)
        length = max(len(play.recorder.orbit), play.foretold[0] + len(play.foretold[1]) - play.since, 20)
        x.update(start=play.since, end=play.since + _roomy(length))
        due = play.due()
        self.due.update(visible=due is not None, location=due)
        self.told.text = f"<p>{escape(play.story(now))}</p>"

    def _draw_census(self, now: Census) -> None:
        layers = now.layers
        found = [s for s in State if any(layer.count(s) for layer in layers)]
        head = [f'<th><i style="background: light-dark({COLOURS[s]}, {NIGHT[s]})"></i>{s.label}</th>' for s in found]
        rows = ["".join([f"<tr><td>layer {i} ({counted(len(layer.state), 'unit')})</td>",
                         *(f"<td>{layer.count(s)}</td>" for s in found), "</tr>"])
                for i, layer in enumerate(layers)]
        told = "".join(f"<p>{escape(sentence)}</p>" for sentence in self.play.told(now))
        table = "".join(["<tr><th></th>", *head, "</tr>", *rows])
        self.counts.text = f'<div class="wide"><table>{table}</table></div>{told}'


def _roomy(least: float) -> int:
    """At least this, in stages: an axis that does not move in every frame is drawn faster, and easier to read."""
    stage = 10 ** math.floor(math.log10(least)) // 2
    return math.ceil(least / stage) * stage


def _joined(numbers: tuple[int, ...]) -> str:
    return "-".join(map(str, numbers))


# -- the server --------------------------------------------------------------------------------------------------------------


def _open(document: Any, data: str, seed: int) -> None:
    """A new page, in the state of its link; without one, the beginning of a training."""
    asked = document.session_context.request.arguments
    query = urlencode([(key, value.decode("utf-8", "replace")) for key, values in asked.items() for value in values])
    try:
        Page(document, Playground.of(query) if query else Playground(data, seed))
    except (ValueError, IndexError, ImportError) as error:
        Page(document, Playground(data, seed), f"{BROKEN}: {error}")


def serve(port: int, data: str, seed: int, *, show: bool) -> None:
    """Serve the page to browsers on this computer, until Ctrl-C."""
    Playground(data, seed)                  # an error is told now, and not on the page
    port = _free(port)
    logging.getLogger("bokeh.server.views.ws").setLevel(logging.ERROR)      # a warning for each frame after a tab was closed
    server = Server(partial(_open, data=data, seed=seed), port=port, address=HOST,
                    allow_websocket_origin=[f"{HOST}:{port}", f"localhost:{port}"])
    for end in (signal.SIGINT, signal.SIGTERM):
        signal.signal(end, lambda *_: server.io_loop.add_callback_from_signal(server.io_loop.stop))
    server.start()
    print(f"The page is http://{HOST}:{port}/ (this computer only). Ctrl-C ends it.")
    if show:
        server.io_loop.add_callback(server.show, "/")
    server.io_loop.start()
    server.stop()


def _free(port: int) -> int:
    """This port, or for 0 any that is free. An OSError says that it is in use."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen()
        except OSError as error:
            raise OSError(f"port {port} of {HOST} cannot be used: {error.strerror}; --port 0 finds a free one") from None
        return probe.getsockname()[1]
