"""Text for terminals, logs and notebooks: aligned columns, and tables and progress bars drawn by rich."""
from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from shutil import get_terminal_size
from typing import Any

from .checks import check_count, counted

MISSING = 'this needs the extra "lab": python -m pip install "tinygrad_relu[lab]"'
FOLDED = 24         # the narrowest last column that is still easy to read


def aligned(headings: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str] = ()) -> str:
    """Columns of cells below headings, two blanks apart; those named in `right` are right-aligned. Needs no optional package.

    >>> print(aligned(["layer", "units"], [["0", "64"], ["hidden", "8"]], right=["units"]))
    layer   units
    0          64
    hidden      8
    """
    lines = [headings, *rows]
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(cell.rjust(width) if heading in right else cell.ljust(width)
                               for cell, width, heading in zip(line, widths, headings)).rstrip() for line in lines)


class Table:
    """A table of text: headings, and rows of one or more lines each. Columns of numbers are right-aligned. At most `most` of the
    given `rows` are shown.

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
        longest = sum(self._widths()) + self.gap * len(self.headings)
        return _drawn([self], max(longest, len(self.title)))

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        """In a narrow terminal the last column is folded; in a very narrow one each row is a paragraph."""
        from rich import box
        from rich.padding import Padding
        from rich.table import Table as RichTable
        from rich.text import Text

        *fixed, longest = self._widths()
        last = min(longest, options.max_width - sum(fixed) - self.gap * len(fixed))
        if self.title:
            yield Text(self.title)
        if last < min(FOLDED, longest):
            headings = [heading.replace("-\n", "").replace("\n", " ") for heading in self.headings]
            for row in self.rows:
                first, *rest = (f"{heading}: {cell}" if heading else cell for heading, cell in zip(headings, row) if cell)
                yield Text(f"\n{first}")
                yield Padding(Text("; ".join(rest)), (0, 0, 0, 2), expand=False)
            return
        blanks = self.gap - 1                       # the box adds one
        drawn = RichTable(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, blanks, 0, 0), pad_edge=False)
        for i, (heading, width) in enumerate(zip(self.headings, [*fixed, last])):
            numeric = bool(self.rows) and all(_is_number(row[i]) for row in self.rows)
            drawn.add_column(heading, justify="right" if numeric else "left", width=width, overflow="fold")
        for row in self.rows:
            drawn.add_row(*row)
        yield drawn

    def _widths(self) -> list[int]:
        return [max(len(line) for cell in column for line in cell.split("\n")) for column in zip(self.headings, *self.rows)]


def _is_number(text: str) -> bool:
    try:
        float(text.lstrip(">").rstrip("%"))
    except ValueError:
        return text in ("-", "never")
    return True


def check_rich(who: str) -> None:
    if find_spec("rich") is None:
        raise ImportError(f"{who}: {MISSING}")


def print_parts(*parts: str | Table) -> None:
    """Print tables and sentences to standard output, in the width of the terminal."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")        # an encoding without arrows prints question marks
    print(_drawn(parts, max(get_terminal_size().columns, FOLDED)))


def _drawn(parts: Sequence[str | Table], width: int) -> str:
    check_rich("drawing a table")
    from rich.console import Console

    console = Console(width=width, color_system=None, force_terminal=False, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:     # printed by Python, which reports a broken pipe
        for part in parts:
            console.print(part)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


@contextmanager
def progress(total: int, name: str = "", *, quiet: bool = False) -> Iterator[Callable[[str, int], None]]:
    """A progress bar on standard error, if that is a terminal: ``tick(name, n)`` says that n more of `total` are done."""
    if quiet or find_spec("rich") is None:
        yield lambda name, n: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description:<18}"), MofNCompleteColumn(), TimeElapsedColumn(), BarColumn(bar_width=40)
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=total)
        yield lambda name, n: bar.update(task, advance=n, description=name)
