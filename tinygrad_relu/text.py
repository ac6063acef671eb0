"""Text for terminals, logs and notebooks: aligned columns, tables and a progress bar."""
from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from shutil import get_terminal_size
from textwrap import fill, wrap
from threading import Lock
from time import monotonic
from typing import Any

from .checks import check_count, counted

MISSING = 'this needs the extra "lab": python -m pip install "tinygrad_relu[lab]"'
FOLDED = 24         # the narrowest last column that is still easy to read


def aligned(headings: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str] = ()) -> str:
    """Columns of cells below headings, two blanks apart; those named in `right` line up on the right.

    >>> print(aligned(["layer", "units"], [["0", "64"], ["hidden", "8"]], right=["units"]))
    layer   units
    0          64
    hidden      8
    """
    return "\n".join(_lines([headings, *rows], [heading in right for heading in headings], "  "))


def _lines(rows: Sequence[Sequence[str]], right: Sequence[bool], gap: str) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [gap.join(cell.rjust(width) if flag else cell.ljust(width) for cell, width, flag in zip(row, widths, right)).rstrip()
            for row in rows]


class Table:
    """Rows of text below headings, in one or more lines each; columns of numbers line up on the right. At most `most` of the
    `rows` given are shown.

    >>> print(Table("units", ["layer", "dead"], [["hidden", 3]]))
    units
    layer   dead
    ────────────
    hidden     3
    """

    def __init__(self, title: str, headings: list[str], rows: Sequence[Sequence[Any]] = (), *, most: int | None = None,
                 gap: int = 2) -> None:
        self.title, self.headings, self.gap = title, headings, gap
        self.rows: list[list[str]] = []
        for row in rows[:most if most is None else check_count(most, "rows", least=0)]:
            self.add(*row)
        if len(self.rows) < len(rows):
            self.title += f" ({len(self.rows)} of {len(rows)} shown)"

    def add(self, *cells: Any) -> None:
        if len(cells) != len(self.headings):
            raise ValueError(f"a table of {len(self.headings)} columns got {counted(len(cells), 'cell')}")
        self.rows.append([str(cell) for cell in cells])

    def __str__(self) -> str:
        """As wide as its longest row, whatever the terminal: a log or a notebook has no width."""
        return self.text()

    def text(self, width: float = float("inf")) -> str:
        """The table in at most `width` columns. If it is wider, its last column is folded; if that does not suffice, each row
        becomes a paragraph."""
        rows = [[cell.split("\n") for cell in row] for row in [self.headings, *self.rows]]
        widths = [max(len(line) for cell in column for line in cell) + self.gap for column in zip(*rows)]
        room = width - sum(widths[:-1])
        if room < widths[-1] - self.gap:
            if room < FOLDED:
                return "\n".join([*wrap(self.title, int(width)), *(self._paragraph(row, int(width)) for row in self.rows)])
            for row in rows:
                row[-1] = [part for line in row[-1] for part in wrap(line, int(room), break_on_hyphens=False)]
        depth = max(map(len, rows[0]))
        rows[0] = [[""] * (depth - len(lines)) + lines for lines in rows[0]]
        right = [bool(self.rows) and all(_is_number(row[i]) for row in self.rows) for i in range(len(self.headings))]
        lines = _lines([line for row in rows for line in zip_longest(*row, fillvalue="")], right, " " * self.gap)
        return "\n".join([*filter(None, [self.title]), *lines[:depth], "─" * max(map(len, lines)), *lines[depth:]])

    def _paragraph(self, row: list[str], width: int) -> str:
        """A row as ``heading: cell; heading: cell; ...``, all but the first indented."""
        headings = [heading.replace("-\n", "").replace("\n", " ") for heading in self.headings]
        first, *rest = (f"{heading}: {cell}" for heading, cell in zip(headings, row) if cell)
        return "\n".join(["", fill(first, width), *wrap("; ".join(rest), width, initial_indent="  ", subsequent_indent="  ",
                                                       break_on_hyphens=False)])


def _is_number(text: str) -> bool:
    try:
        float(text.lstrip(">").rstrip("%"))
    except ValueError:
        return text in ("-", "never", "unknown")
    return True


def print_parts(*parts: str | Table) -> None:
    """Print tables and sentences to standard output, in the width of the terminal."""
    width = max(get_terminal_size().columns, FOLDED)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    for part in parts:
        text = part.text(width) if isinstance(part, Table) else fill(
            part, width, subsequent_indent="  " * part.startswith("- "), break_on_hyphens=False)
        try:
            text.encode(encoding)
        except UnicodeEncodeError:
            text = text.replace("→", ">").replace("─", "-").encode(encoding, "replace").decode(encoding)
        print(text)


@contextmanager
def progress(total: int, name: str = "", *, quiet: bool = False) -> Iterator[Callable[[str, int], None]]:
    """A progress bar on standard error, if that is a terminal: ``tick(name, n)`` says that n more of `total` are done."""
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield lambda name, n: None
        return
    width, begun, done, lock = get_terminal_size().columns - 1, monotonic(), 0, Lock()

    def tick(name: str, n: int) -> None:
        nonlocal done
        with lock:                                  # treatments run in threads
            done += n
            seconds = int(monotonic() - begun)
            bar = f"{name:<18.18} {done}/{total} {seconds // 60}:{seconds % 60:02} {'#' * (40 * done // max(total, 1))}"
            print("\r" + bar[:width].ljust(width), end="", file=sys.stderr, flush=True)

    try:
        tick(name, 0)
        yield tick
    finally:
        print("\r" + " " * width + "\r", end="", file=sys.stderr, flush=True)
