"""The page, in Bokeh: controls that call `Playground.do`, and pictures of what it returns; and the server, for this computer only."""
from __future__ import annotations

import signal
import socket
from collections import Counter
from collections.abc import Callable
from functools import partial
from html import escape
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import urlencode

import numpy as np
from bokeh.core.templates import get_env
from bokeh.events import DocumentReady, Tap
from bokeh.layouts import column, row
from bokeh.models import (
    Button,
    CategoricalSlider,
    ColumnDataSource,
    CustomJS,
    Div,
    FixedTicker,
    LinearColorMapper,
    RadioButtonGroup,
    Range1d,
    Select,
    Span,
    TextInput,
)
from bokeh.plotting import figure
from bokeh.server.server import Server

from ..checks import counted
from ..lab.figure import BLUE, COLOURS, RETURN
from ..lab.treatments import TREATMENTS
from ..lab.units import State
from ..optim import SGD
from .playground import ACTIVATIONS, MENDED, SETS, TREATED, Playground

HOST = "127.0.0.1"
FRAME = 33              # milliseconds between two frames
COLUMNS = 400           # at most about so many, of life lines
GRID = 70               # points along each side of the picture of the classes
POINTS = 800            # at most, of an orbit
CLASSES = np.array([(214, 96, 77), (67, 130, 195), (90, 174, 97)])      # the colours of two or three classes
EMPTY = len(State)      # in the life lines: the gap between two layers
STEPS = {"lr": [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0], "momentum": [0.0, 0.5, 0.8, 0.9, 0.95, 0.99],
         "weight_decay": [0.0, 1e-5, 1e-4, 5e-4, 1e-3, 0.005, 0.01, 0.05, 0.1]}
TITLES = {"lr": "learning rate", "momentum": "momentum", "weight_decay": "weight decay"}
STYLE = """
    :host { color: inherit; font: inherit; }
    input, select, .bk-input, .bk-btn { color: var(--ink) !important; border-color: var(--edge) !important; font: inherit; }
    .bk-input, .bk-btn { background-color: var(--card) !important; }
    .bk-btn:hover { border-color: var(--faint) !important; }
    .bk-btn.bk-active, .bk-btn-primary { background-color: #2f6fb0 !important; color: #fff !important; }
    label, .bk-slider-title, .bk-input-group label { color: var(--ink); font-size: 0.9rem; }
    .noUi-target { background: var(--edge); } .noUi-connect, .noUi-handle { background-color: #2f6fb0 !important; }
    table { border-collapse: collapse; } td, th { padding: 1px 12px 1px 0; text-align: right; font-weight: normal; }
    td:first-child, th:first-child { text-align: left; } th { color: var(--faint); }
    .swatch { display: inline-block; width: 0.8em; height: 0.8em; border: 1px solid var(--edge); margin-right: 0.35em; }
    .wide { overflow-x: auto; } a { color: inherit; overflow-wrap: anywhere; } .wrong { color: var(--mark); }
    p { margin: 4px 0; } .faint { color: var(--faint); }"""
PAINT = """     // the colours of what is drawn follow the page
    const dark = matchMedia("(prefers-color-scheme: dark)")
    const paint = () => {
      const style = getComputedStyle(document.documentElement)
      const ink = style.getPropertyValue("--ink"), card = style.getPropertyValue("--card")
      const here = {sync: false}        // and not in the program
      for (const f of figures) {
        f.setv({background_fill_color: card, border_fill_color: card}, here)
        for (const axis of [...f.below, ...f.left])
          axis.setv({axis_label_text_color: ink, major_label_text_color: ink, axis_line_color: "#888", major_tick_line_color: "#888"}, here)
      }
      for (const glyph of inked) glyph.setv("text_color" in glyph ? {text_color: ink} : {line_color: ink}, here)
    }
    paint()
    dark.addEventListener("change", paint)"""


class Page:
    """One page in one browser, with a playground of its own."""

    def __init__(self, document: Any, play: Playground, wrong: str = "") -> None:
        self.document, self.play, self.running, self.quiet = document, play, False, False
        self.frames: list[float] = []
        document.title = "tinygrad_relu play"
        document.template = get_env().from_string(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
        self.note = self._div(f'<p class="wrong" role="alert">{escape(wrong)}</p>' if wrong else "", name="note")
        self.status, self.link = self._div(name="status"), self._div(name="link")
        self.told, self.counts = self._div(name="told"), self._div(name="counts")
        self._controls()
        self._pictures()
        self.link.js_on_change("text", CustomJS(args={"link": self.link}, code="""
            const found = link.text.match(/href="([^"]*)"/)
            if (found) history.replaceState(null, "", found[1].replaceAll("&amp;", "&"))"""))
        document.js_on_event(DocumentReady, CustomJS(args={"figures": self.figures, "inked": self.inked}, code=PAINT))
        self.draw()
        document.add_periodic_callback(self.frame, FRAME)

    def _div(self, text: str = "", **options: Any) -> Any:
        return Div(text=text, sizing_mode="stretch_width", stylesheets=[STYLE], **options)

    # -- controls ------------------------------------------------------------------------------------------------------------

    def _controls(self) -> None:
        common = {"sizing_mode": "stretch_width", "stylesheets": [STYLE]}

        def button(label: str, name: str, act: Callable[[], None], **options: Any) -> Any:
            made = Button(label=label, name=name, **common, **options)
            made.on_click(act)
            return made

        def chooser(kind: Any, name: str, act: Callable[[Any], None], watch: str = "value", **options: Any) -> Any:
            made = kind(name=name, **common, **options)
            made.on_change(watch, lambda attribute, old, new: None if self.quiet else act(new))
            return made

        self.run = button("Run", "run", self._run, button_type="primary")
        speed = [str(n) for n in (1, 2, 5, 10, 20, 50, 100)]
        self.speed = CategoricalSlider(title="steps a frame", name="speed", categories=speed, value="2", **common)
        self.unit = button("Kill the unit", "kill-unit", lambda: self.act("kill", *(self.play.watched or ())))
        self.layer = button("Kill its layer", "kill-layer", lambda: self.act("kill", (self.play.watched or (0, 0))[0]))
        groups = {"an optimizer, from its start": [(t.key, t.name) for t in TREATMENTS if t.key in TREATED],
                  "the dead units": [(key, label) for key, (label, _) in MENDED.items()]}
        self.treatment = Select(name="treatment", value="heavy-l2", options=groups, **common)
        do = [row(self.run, button("Step", "step", lambda: self._advance(1)), sizing_mode="stretch_width"), self.speed,
              row(self.unit, self.layer, sizing_mode="stretch_width"), self.treatment,
              button("Treat", "treat", lambda: self.act("treat", self.treatment.value)), self.note, self.status]
        self.sliders = {name: chooser(CategoricalSlider, name, partial(self.act, name), "value_throttled", title=TITLES[name],
                                      categories=["0"], value="0") for name in STEPS}
        self.decoupled = chooser(RadioButtonGroup, "decoupled", partial(self.act, "decoupled"), "active",
                                 labels=["coupled (L2)", "decoupled"])
        self.activation = chooser(Select, "activation", partial(self.act, "activation"), title="activation", options=ACTIVATIONS)
        self.chooser = chooser(Select, "unit", lambda name: self.act("watch", *name.split("-")))
        self.data = Select(name="data", title="data", value=self.play.name, options=list(SETS), **common)
        self.seed = TextInput(name="seed", title="seed", value=str(self.play.seed), **common)
        self.widths = TextInput(name="widths", title="hidden units", value="-".join(map(str, self.play.widths)), **common)
        self.data.on_change("value", lambda attribute, old, new: setattr(self.widths, "value", "-".join(map(str, SETS[new][1]))))
        settings = [*self.sliders.values(), self.decoupled, self.activation, self.data,
                    row(self.seed, self.widths, sizing_mode="stretch_width"), button("New network", "new", self._new), self.link]
        self.document.add_root(column(*do, name="act", sizing_mode="stretch_width"))
        self.document.add_root(column(*settings, name="set", sizing_mode="stretch_width"))

    def act(self, *words: Any) -> None:
        """An action; what is wrong with it is said on the page."""
        try:
            self.play.do(*(int(word) if isinstance(word, bool) else word for word in words))
            self.note.text = ""
        except (ValueError, TypeError, IndexError) as error:
            self.note.text = f'<p class="wrong" role="alert">{escape(str(error))}</p>'
        self.draw()

    def _run(self) -> None:
        self.running = not self.running
        self.frames.clear()
        self.draw()

    def _advance(self, steps: int) -> None:
        self.play.advance(steps)
        self.draw()

    def _new(self) -> None:
        setup = urlencode({"data": self.data.value, "seed": self.seed.value.strip(), "widths": self.widths.value.strip()})
        try:
            self.play, self.note.text, self.running = Playground.of(setup), "", False
        except (ValueError, TypeError) as error:
            self.note.text = f'<p class="wrong" role="alert">{escape(str(error))}</p>'
        self._set_data()
        self.draw()

    def frame(self) -> None:
        """A picture of the film: some steps and what they have changed. A link is replayed first, as fast as it can be."""
        if self.play.behind:
            end = perf_counter() + FRAME / 1000
            while self.play.behind and perf_counter() < end:
                self.play.advance(min(self.play.behind, 20))
            self.draw()
        elif self.running:
            self._advance(int(self.speed.value))
            self.frames = [*self.frames[-30:], perf_counter()]

    # -- pictures ------------------------------------------------------------------------------------------------------------

    def _pictures(self) -> None:
        common: dict[str, Any] = {"sizing_mode": "stretch_width", "toolbar_location": None, "tools": "",
                                  "outline_line_color": None, "min_border": 5}

        def source(*columns: str) -> Any:
            return ColumnDataSource({name: [] for name in columns})

        self.cells, self.dots, self.edge = source("image"), source("x", "y", "colour"), source("x", "y")
        self.square = figure(height=340, x_range=Range1d(), y_range=Range1d(), **common)
        self.square.image_rgba("image", source=self.cells, x=0, y=0, dw=1, dh=1, name="classes")
        self.square.scatter("x", "y", source=self.dots, fill_color="colour", line_color="white", line_width=0.5, size=6)
        edge = self.square.line("x", "y", source=self.edge, line_width=2.5, line_dash=[6, 4])
        names = [str(c) for c in range(10)]
        self.confused = source("x", "y", "n", "share")
        self.table = figure(height=340, x_range=names, y_range=names[::-1], x_axis_label="taken for", y_axis_label="digit", **common)
        self.table.rect("x", "y", 1, 1, source=self.confused, fill_color=BLUE, fill_alpha="share", line_alpha=0)
        cells = self.table.text("x", "y", "n", source=self.confused, text_align="center", text_baseline="middle",
                                text_font_size="11px")
        self.ticks, self.chosen, self.states = source("x", "y0", "y1"), source("left", "right", "top", "bottom"), source("image")
        self.rows = figure(height=320, x_range=Range1d(), y_range=Range1d(), x_axis_label="step", **common)
        palette = [*(COLOURS[state] for state in State), "rgba(0, 0, 0, 0)"]
        self.life = self.rows.image("image", source=self.states, x=0, y=0, dw=1, dh=1, name="lives",
                                    color_mapper=LinearColorMapper(palette, low=-0.5, high=EMPTY + 0.5))
        self.rows.segment("x", "y0", "x", "y1", source=self.ticks, line_color=RETURN, line_width=2.5)
        frame = self.rows.quad("left", "right", "top", "bottom", source=self.chosen, fill_alpha=0, line_width=1.5)
        self.rows.on_event(Tap, self._choose)
        self.seen, self.ahead = source("x", "y"), source("x", "y")
        self.orbit = figure(height=230, x_axis_label="step", y_axis_label="pre-activation z", **common)
        self.orbit.line("x", "y", source=self.seen, line_width=4, color=COLOURS[State.ALWAYS_ON], name="observed",
                        legend_label="observed")
        path = self.orbit.line("x", "y", source=self.ahead, line_width=1.6, line_dash=[5, 4], name="foretold",
                               legend_label="foretold")
        zero, self.due = Span(location=0, dimension="width", line_color="#888"), Span(dimension="height", line_color=RETURN, visible=False)
        self.orbit.add_layout(zero)
        self.orbit.add_layout(self.due)
        legend = self.orbit.legend[0]
        legend.update(orientation="horizontal", background_fill_alpha=0, border_line_alpha=0, label_text_color="#888", padding=0)
        self.orbit.add_layout(legend, "above")
        self.figures = [self.square, self.table, self.rows, self.orbit]
        for one in self.figures:
            one.grid.visible, one.axis.minor_tick_line_color = False, None
        self.inked = [edge.glyph, cells.glyph, frame.glyph, path.glyph]
        self._set_data()
        for name, parts in {"picture": [self.square, self.table], "lives": [self.rows], "orbit": [self.chooser, self.orbit, self.told],
                            "census": [self.counts]}.items():
            self.document.add_root(column(*parts, name=name, sizing_mode="stretch_width"))

    def _set_data(self) -> None:
        """What does not change while a network trains."""
        play = self.play
        flat = play.x.shape[1] == 2
        self.square.visible, self.table.visible = flat, not flat
        tops = np.cumsum([0, *(width + 1 for width in play.widths)])[:-1]           # a gap of one row after each layer
        self.row_of = [(i, j) for i, width in enumerate(play.widths) for j in [*range(width), None]][:-1]
        self.tops = tops.tolist()
        units = [(f"{i}-{j}", f"unit {j} of layer {i + 1}") for i, j in self.row_of if j is not None]
        self.chooser.options = [("", "none: click a line below, or choose here"), *units]
        end = len(self.row_of)
        self.rows.y_range.update(start=end, end=0)
        middles = [float(top + width / 2) for top, width in zip(tops, play.widths)]
        self.rows.yaxis.ticker = FixedTicker(ticks=middles)
        self.rows.yaxis.major_label_overrides = {middle: f"layer {i}" for i, middle in enumerate(middles, start=1)}
        if not flat:
            return
        low, high = play.x.min(axis=0), play.x.max(axis=0)
        room = 0.12 * (high - low)
        self.low, self.high = low - room, high + room
        for span, a, b in zip((self.square.x_range, self.square.y_range), self.low, self.high):
            span.update(start=float(a), end=float(b))
        size = self.high - self.low
        self.square.select_one({"name": "classes"}).glyph.update(x=float(self.low[0]), y=float(self.low[1]), dw=float(size[0]), dh=float(size[1]))
        sides = [np.linspace(a + s / GRID / 2, b - s / GRID / 2, GRID) for a, b, s in zip(self.low, self.high, size)]
        self.points = np.stack(np.meshgrid(*sides), axis=-1).reshape(-1, 2)
        colours = [f"rgb{tuple(map(int, CLASSES[c]))}" for c in play.y]
        self.dots.data = {"x": play.x[:, 0], "y": play.x[:, 1], "colour": colours}

    def _choose(self, event: Any) -> None:
        """A click on a life line."""
        place = int(event.y) if event.y is not None and 0 <= event.y < len(self.row_of) else None
        if place is not None and self.row_of[place][1] is not None:
            self.act("watch", *self.row_of[place])

    def draw(self) -> None:
        """Everything that may have changed, in one message."""
        self.quiet = True                   # what a control is set to here is no action
        self.document.hold("combine")
        try:
            self._draw_state()
            self._draw_classes()
            self._draw_lives()
            self._draw_orbit()
            self._draw_census()
        finally:
            self.document.unhold()
            self.quiet = False

    def _draw_state(self) -> None:
        play = self.play
        self.running = self.running and not play.diverged
        self.loss, self.accuracy, self.matrix = play.measured()
        self.census = play.census()
        rate = (len(self.frames) - 1) / (self.frames[-1] - self.frames[0]) if len(self.frames) > 5 else None
        parts = [f"step {play.step:,}", f"loss {self.loss:.4g}", f"accuracy {self.accuracy:.3f}",
                 *([f"{rate:.0f} frames a second"] if rate and self.running else [])]
        if play.behind:
            parts.append(f"replaying the link: {play.behind:,} steps to go")
        if play.diverged:
            parts.append("the training has diverged: begin a new network")
        self.status.text = f'<p role="status">{", ".join(parts)}</p>'
        self.run.label = "Pause" if self.running else "Run"
        if not self.running or len(self.frames) % 31 == 0:
            url = "?" + play.link()
            self.link.text = (f'<p><a href="{escape(url)}">Link to this state</a><br><span class="faint">It replays every action; '
                              f'the bits of the network: {play.fingerprint()}</span></p>')
        for name, slider in self.sliders.items():
            value = play.setting(name)
            slider.disabled = value is None
            values = sorted({*STEPS[name], *([] if value is None else [value])})
            slider.categories, slider.value = [f"{v:g}" for v in values], f"{0.0 if value is None else value:g}"
        self.decoupled.disabled = not isinstance(play.optimizer, SGD)
        self.decoupled.active, self.activation.value = int(bool(play.setting("decoupled"))), play.activation
        self.chooser.value = "-".join(map(str, play.watched or ()))
        self.unit.disabled = play.watched is None

    def _draw_classes(self) -> None:
        play = self.play
        if self.table.visible:
            taken, digit = np.meshgrid(*[np.arange(10)] * 2)
            share = self.matrix / np.maximum(self.matrix.sum(axis=1, keepdims=True), 1)
            self.confused.data = {"x": [str(c) for c in taken.ravel()], "y": [str(c) for c in digit.ravel()],
                                  "n": [str(n or "") for n in self.matrix.ravel()], "share": 0.75 * share.ravel()}
            return
        sure = np.nan_to_num(play.predictions(self.points))
        pixels = np.empty((GRID, GRID, 4), np.uint8)
        pixels[..., :3] = (sure @ CLASSES[:sure.shape[1]]).reshape(GRID, GRID, 3)
        pixels[..., 3] = (30 + 170 * sure.max(axis=1)).reshape(GRID, GRID)
        self.cells.data = {"image": [pixels.view(np.uint32).reshape(GRID, GRID)]}
        self.edge.data = self._edge()

    def _edge(self) -> dict[str, list[float]]:
        """The line w.x + b = 0 of the chosen unit, if it is of the first layer."""
        if self.play.watched is None or self.play.watched[0]:
            return {"x": [], "y": []}
        affine, j = self.play.units.layers[0].affine, self.play.watched[1]
        w, b = affine.weight.data[j], float(affine.bias.data[j])
        with np.errstate(all="ignore"):
            foot, along = -b * w / (w @ w), np.array([-w[1], w[0]]) / np.linalg.norm(w)
        ends = [foot + t * along for t in (-100.0, 100.0)]
        return {"x": [float(end[0]) for end in ends], "y": [float(end[1]) for end in ends]} if np.isfinite(ends).all() else {"x": [], "y": []}

    def _draw_lives(self) -> None:
        play = self.play
        states, stride = play.lives(COLUMNS)
        picture = np.insert(states, np.cumsum(play.widths)[:-1], EMPTY, axis=0)
        self.states.data = {"image": [picture]}
        self.life.glyph.update(dw=picture.shape[1] * stride, dh=len(picture))
        due = [claim for claim in play.claims.values() if claim.step is not None and claim.step < 3 * play.step + 300]
        rows = [self.tops[claim.layer] + claim.unit for claim in due]
        self.ticks.data = {"x": [claim.step for claim in due], "y0": rows, "y1": [place + 1 for place in rows]}
        end = max([50, play.step + 1, *(1.04 * claim.step for claim in due if claim.step)])
        self.rows.x_range.update(start=0, end=end)
        place = [] if play.watched is None else [self.tops[play.watched[0]] + play.watched[1]]
        self.chosen.data = {"left": [0] * len(place), "right": [end] * len(place), "top": place, "bottom": [top + 1 for top in place]}

    def _draw_orbit(self) -> None:
        play = self.play
        start, path = play.foretold
        for found, begin, z in ((self.seen, play.since, play.recorder.orbit), (self.ahead, start, path)):
            stride = 1 + len(z) // POINTS
            steps = np.unique(np.append(np.arange(0, len(z), stride), len(z) - 1)) if z else np.empty(0, int)
            found.data = {"x": begin + steps, "y": np.array(z)[steps]}
        claim = None if play.watched is None else play.claims.get(play.watched)
        came = next(((claim, at) for claim, at in reversed(play.settled) if (claim.layer, claim.unit) == play.watched), None)
        due = claim.step if claim else came[0].step if came else None
        self.due.visible, self.due.location = due is not None and bool(path), due
        if play.watched is None:
            self.told.text = '<p class="faint">Click the line of a unit to see what is foretold of it, and whether it comes true.</p>'
            return
        state = State(self.census.layers[play.watched[0]].state[play.watched[1]])
        said = [f"Unit {play.watched[1]} of layer {play.watched[0] + 1}: "]
        if claim is not None:
            said.append(f"dead. Foretold at step {claim.made:,}: <b>{escape(str(claim))}</b>. <span class='faint'>({escape(claim.reason)})</span>")
        elif came is not None:
            true = came[0].verdict != "estimate" and not came[0].fails(came[1])
            said.append(f"{state.label}. It returned at step {came[1]:,}, <b>{'as foretold' if true else 'and was foretold: ' + str(came[0])}</b>.")
        else:
            said.append(f"{state.label}.")
        self.told.text = f'<p>{"".join(said)}</p>'

    def _draw_census(self) -> None:
        layers = self.census.layers
        found = [state for state in State if any(layer.count(state) for layer in layers)]
        head = "".join(f'<th><span class="swatch" style="background: {COLOURS[state]}"></span>{state.label}</th>' for state in found)
        body = "".join(f"<tr><td>layer {i} ({counted(len(layer.state), 'unit')})</td>"
                       + "".join(f"<td>{layer.count(state)}</td>" for state in found) + "</tr>" for i, layer in enumerate(layers, start=1))
        claims = Counter(f"in layer {claim.layer + 1}, {claim}" for claim in self.play.claims.values())
        foretold = "; ".join([f"{n} {said}" for said, n in sorted(claims.items())]
                             + [f"{counted(n, 'unit')} died meanwhile" for n in [sum(layer.dead for layer in layers) - len(self.play.claims)] if n]) or "no unit is dead"
        self.counts.text = (f'<div class="wide"><table><tr><th></th>{head}</tr>{body}</table></div><p>Foretold: {escape(foretold)}.</p>'
                            f"<p>So far: {self.play.told()}.</p>")


# -- the server --------------------------------------------------------------------------------------------------------------


def _open(document: Any, data: str, seed: int) -> None:
    """A new page, in the state of its link; without one, the beginning of a training."""
    asked = [(key, value.decode("utf-8", "replace")) for key, values in document.session_context.request.arguments.items() for value in values]
    try:
        play, wrong = Playground.of(urlencode(asked)) if asked else Playground(data, seed), ""
    except (ValueError, TypeError, IndexError) as error:
        play, wrong = Playground(data, seed), f"The link cannot be followed: {error}"
    Page(document, play, wrong)


def serve(port: int, data: str, seed: int, *, show: bool, say: Callable[[str], None] = print) -> None:
    """Serve the page to browsers on this computer, until Ctrl-C."""
    port = _free(port)
    server = Server(partial(_open, data=data, seed=seed), port=port, address=HOST,
                    allow_websocket_origin=[f"{HOST}:{port}", f"localhost:{port}"])
    for end in (signal.SIGINT, signal.SIGTERM):
        signal.signal(end, lambda *_: server.io_loop.add_callback_from_signal(server.io_loop.stop))
    server.start()
    say(f"The page is http://{HOST}:{port}/ (this computer only). Ctrl-C ends it.")
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
            raise OSError(f"port {port} of {HOST} cannot be used ({error.strerror}), expected a free one; --port 0 finds one") from None
        found: int = probe.getsockname()[1]
        return found
