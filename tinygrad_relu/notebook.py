"""For notebooks: a histogram, a figure and a progress bar as HTML. No scripts, no links; the colours are those of the page."""
from __future__ import annotations

import sys
from base64 import b64encode
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from html import escape
from io import BytesIO
from time import perf_counter
from typing import Any

import numpy as np

from .missing import needing

BINS, WIDTH, HEIGHT = 40, 320, 70       # of a histogram; in pixels
FEW = 9                                 # numbers that need no picture
SHOWN = 0.1                             # seconds between two updates of a progress bar
HEAVY = 400_000                         # bytes: a larger SVG is drawn as a PNG
PRE = "font-family:monospace;overflow-x:auto;margin:0.4em 0;padding:0;border:none;background:none;color:inherit"
BLUE = "#4a8fd4"                        # can be seen on white and on black


def is_running() -> bool:
    """Whether this process is the kernel of a notebook."""
    return hasattr(getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)(), "kernel")


def paragraph(text: str) -> str:
    """Text with its line breaks."""
    return f'<p style="white-space:pre-wrap;margin:0.4em 0">{escape(text)}</p>'


def numbers(x: Any) -> str:
    """An array of floats to four digits; of many numbers, also a histogram."""
    text = escape(np.array2string(x, separator=", ", precision=4))
    return f'<pre style="{PRE}">{text}</pre>{histogram(x) if x.size >= FEW else ""}'


def histogram(x: Any) -> str:
    """A line of figures, and a picture (SVG): how many numbers of an array are in each of 40 intervals of equal width."""
    numbers = x[np.isfinite(x)]
    said = [f"{x.size:,} numbers", f"{_share(x.size - np.count_nonzero(x), x.size)} exactly zero"]
    said += [f"{count:,} {what}" for what, count in (("NaN", np.isnan(x).sum()), ("infinite", np.isinf(x).sum())) if count]
    if not numbers.size:
        return paragraph(", ".join(said))
    with np.errstate(all="ignore"):         # a mean of huge numbers
        said += [f"mean {numbers.mean():.4g}", f"standard deviation {numbers.std():.4g}"]
        low, high = float(numbers.min()), float(numbers.max())      # `room` is for nearly equal ones, which leave intervals none
        room = (least := BINS * max(float(np.spacing(max(-low, high) / 2)), 1e-300)) * (high / 2 - low / 2 < least)
        counts = np.histogram(numbers.astype(np.float64) / 2, BINS, (low / 2 - room, high / 2 + room))[0]   # halves: no overflow
    step, top = WIDTH / BINS, max(int(counts.max()), 1)
    bars = "".join(f'<rect x="{i * step + 0.5:g}" y="{HEIGHT - size:.1f}" width="{step - 1:g}" height="{size:.1f}"/>'
                   for i, size in enumerate(HEIGHT * counts / top) if size)
    ends = "".join(f'<text x="{at}" y="{HEIGHT + 16}" text-anchor="{anchor}">{number:.4g}</text>'
                   for at, anchor, number in ((0, "start", low), (WIDTH, "end", high)))
    return paragraph(", ".join(said)) + (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="histogram" viewBox="0 -2 {WIDTH} {HEIGHT + 24}" '
        f'width="{WIDTH}" height="{HEIGHT + 24}" style="max-width:100%"><g fill="{BLUE}">{bars}</g>'
        f'<path d="M0,{HEIGHT + 0.5}H{WIDTH}" stroke="currentColor" stroke-opacity="0.5"/>'
        f'<g fill="currentColor" font-size="11" font-family="sans-serif">{ends}</g></svg>')


def _share(some: int, size: int) -> str:
    """>>> _share(0, 9), _share(1, 9), _share(1, 10**6)
    ('0%', '11%', '<1%')
    """
    share = 100 * some / max(size, 1)
    return "<1%" if 0 < share < 1 else ">99%" if 99 < share < 100 else f"{share:.0f}%"


def new_figure(who: str, **options: Any) -> Any:
    """A matplotlib Figure that a notebook shows, as it does those of pyplot. An ImportError begins with `who`."""
    with needing(f"{who} needs", "lab"):
        from matplotlib.figure import Figure
    figure: Any = Figure(**options)
    figure._repr_png_ = partial(drawn, figure, "png")
    return figure


def picture(figure: Any) -> str:
    """A matplotlib Figure as an image that contains its data."""
    return f'<img style="max-width:100%" src="{address(drawn(figure, "svg"), lambda: drawn(figure, "png"))}" alt="figure"/>'


def address(svg: bytes, png: Callable[[], bytes]) -> str:
    """The address of an image that contains it; of a heavy one, drawn as a PNG."""
    kind, data = ("svg+xml", svg) if len(svg) <= HEAVY else ("png", png())
    return f"data:image/{kind};base64,{b64encode(data).decode()}"


def drawn(figure: Any, kind: str) -> bytes:
    """The bytes of a file of this format."""
    figure.savefig(file := BytesIO(), format=kind, facecolor="white")
    return file.getvalue()


class Bar:
    """A progress bar below the cell that is running; gone when its block ends. IPython suffices (rich needs ipywidgets)."""

    def __init__(self, total: int, name: str) -> None:
        from IPython.display import display

        self.total, self.name, self.done, self.begun, self.shown = total, name, 0, perf_counter(), 0.0
        self.handle = display(self, display_id=True)

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *error: object) -> None:
        self.handle.update({"text/html": "", "text/plain": ""}, raw=True)

    def tick(self, name: str, n: int) -> None:
        self.name, self.done, now = name, self.done + n, perf_counter()
        if now - self.shown >= SHOWN:
            self.shown = now
            self.handle.update(self)

    def __repr__(self) -> str:
        passed = perf_counter() - self.begun
        left = f", {_clock(passed * (self.total - self.done) / self.done)} left" if 0 < self.done < self.total else ""
        return f"{self.done}/{self.total} {self.name} ({_clock(passed)}{left})"

    def _repr_html_(self) -> str:
        return (f'<progress max="{self.total}" value="{self.done}" style="width:16em;vertical-align:middle;accent-color:{BLUE}">'
                f"</progress> {escape(repr(self))}")


def _clock(seconds: float) -> timedelta:
    return timedelta(seconds=int(seconds))
