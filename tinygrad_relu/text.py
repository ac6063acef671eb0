"""Text for terminals, logs and notebooks: tables with aligned columns, folded sentences, a progress bar."""
from __future__ import annotations

import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from threading import Lock
from typing import Any

BAR = 40            # characters of a full progress bar


def aligned(headings: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str] = (), *, gap: int = 2,
            rule: bool = False, width: int | None = None) -> str:
    """Columns of cells below headings, `gap` blanks apart; those named in `right` line up on the right.

    A cell may have several lines. `rule` underlines the headings; the last column is folded to fit into `width` characters.

    >>> print(aligned(["layer", "units"], [["0", "64"], ["hidden", "8"]], right=["units"]))
    layer   units
    0          64
    hidden      8
    """
    cells = [[cell.split("\n") for cell in row] for row in (headings, *rows)]
    widths = [max(len(line) for row in cells for line in row[i]) for i in range(len(headings))]
    if width is not None:
        room = max(20, width - sum(widths[:-1]) - gap * len(widths[:-1]))
        for row in cells:
            row[-1] = [part for line in row[-1] for part in textwrap.wrap(line, room) or [""]]
        widths[-1] = max(len(line) for row in cells for line in row[-1])
    if rule:
        cells.insert(1, [["-" * size] for size in widths])
    return "\n".join((" " * gap).join(cell.rjust(size) if heading in right else cell.ljust(size)
                                      for cell, size, heading in zip(line, widths, headings)).rstrip()
                     for row in cells for line in zip_longest(*row, fillvalue=""))


class Table:
    """Rows of text below headings, drawn by `print`; columns of numbers line up on the right.

    >>> table = Table("units", ["layer", "dead"])
    >>> table.add("hidden", 3)
    >>> print(table)
    units
    layer   dead
    ------  ----
    hidden     3
    """

    def __init__(self, title: str, headings: list[str], *, gap: int = 2, width: int | None = None) -> None:
        self.title, self.headings, self.gap, self.width = title, headings, gap, width
        self.rows: list[list[str]] = []

    def add(self, *cells: Any) -> None:
        if len(cells) != len(self.headings):
            raise ValueError(f"a table of {len(self.headings)} columns got a row of {len(cells)} cells")
        self.rows.append([str(cell) for cell in cells])

    def __str__(self) -> str:
        right = [heading for i, heading in enumerate(self.headings) if all(_is_number(row[i]) for row in self.rows)]
        drawn = aligned(self.headings, self.rows, right, gap=self.gap, rule=True, width=self.width)
        return f"{self.title}\n{drawn}" if self.title else drawn


def _is_number(text: str) -> bool:
    try:
        float(text.lstrip(">").rstrip("%"))
    except ValueError:
        return text in ("-", "never")
    return True


def terminal_width() -> int:
    """The number of columns of the terminal; 80 where there is none."""
    return shutil.get_terminal_size().columns


def folded(sentence: str, indent: str = "") -> str:
    """A sentence in lines that fit the terminal; `indent` begins all lines but the first."""
    return textwrap.fill(sentence, terminal_width(), subsequent_indent=indent, break_on_hyphens=False)


@contextmanager
def progress(total: int, name: str = "") -> Iterator[Callable[[str, int], None]]:
    """A progress bar on standard error, if that is a terminal: ``tick(name, n)`` says that n more of `total` are done.

    The bar disappears at the end. Several threads may tick.
    """
    done, start, lock = 0, time.monotonic(), Lock()
    terminal = sys.stderr.isatty()

    def tick(name: str, n: int) -> None:
        nonlocal done
        with lock:
            done += n
            full = BAR * min(done, total) // max(total, 1)
            if terminal:
                bar = f"{name:<18.18} [{'=' * full:<{BAR}}] {done}/{total} {time.monotonic() - start:.0f} s"
                print(f"\r{bar}", end="", file=sys.stderr, flush=True)

    tick(name, 0)
    try:
        yield tick
    finally:
        if terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
