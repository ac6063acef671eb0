"""Text for terminals, logs and notebooks: aligned columns, and tables and progress bars drawn by rich."""
from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

MISSING = 'this needs the extra "lab": python -m pip install "tinygrad_relu[lab]"'


def aligned(headings: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str] = ()) -> str:
    """Columns of cells below headings, two blanks apart; those named in `right` line up on the right. It needs no extra.

    >>> print(aligned(["layer", "units"], [["0", "64"], ["hidden", "8"]], right=["units"]))
    layer   units
    0          64
    hidden      8
    """
    lines = [headings, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headings))]
    return "\n".join("  ".join(cell.rjust(width) if heading in right else cell.ljust(width)
                               for cell, width, heading in zip(line, widths, headings)).rstrip() for line in lines)


class Table:
    """Rows of text below headings, drawn by `print`; columns of numbers line up on the right.

    >>> table = Table("units", ["layer", "dead"])
    >>> table.add("hidden", 3)
    >>> table.rows
    [['hidden', '3']]
    """

    def __init__(self, title: str, headings: list[str], *, tight: bool = False) -> None:
        self.title, self.headings, self.tight = title, headings, tight
        self.rows: list[list[str]] = []

    def add(self, *cells: Any) -> None:
        if len(cells) != len(self.headings):
            raise ValueError(f"a table of {len(self.headings)} columns got a row of {len(cells)} cells")
        self.rows.append([str(cell) for cell in cells])

    def __rich__(self) -> Any:
        from rich import box
        from rich.table import Table as RichTable

        drawn = RichTable(title=self.title or None, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False,
                          padding=0 if self.tight else (0, 1, 0, 0))
        for i, heading in enumerate(self.headings):
            numeric = bool(self.rows) and all(_is_number(row[i]) for row in self.rows)
            drawn.add_column(heading, justify="right" if numeric else "left", no_wrap=i == 0, overflow="fold")
        for row in self.rows:
            drawn.add_row(*row)
        return drawn

    def __str__(self) -> str:
        """As wide as its longest row, whatever the terminal: a log or a notebook has no width."""
        check_rich("drawing a table")
        from rich.console import Console

        longest = max(sum(len(cell) + 3 for cell in row) for row in [self.headings, *self.rows])
        console = Console(width=max(80, 2 * longest, len(self.title)), color_system=None, force_terminal=False)
        with console.capture() as captured:
            console.print(self)
        return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _is_number(text: str) -> bool:
    try:
        float(text.lstrip(">").rstrip("%"))
    except ValueError:
        return text in ("-", "never")
    return True


def check_rich(who: str) -> None:
    if find_spec("rich") is None:
        raise ImportError(f"{who}: {MISSING}")


def print_parts(*parts: Any) -> None:
    """Print tables and sentences to standard output, folded to the width of the terminal."""
    check_rich("printing a report")
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    for part in parts:
        console.print(part)


@contextmanager
def progress(total: int, name: str = "") -> Iterator[Callable[[str, int], None]]:
    """A progress bar on standard error, if that is a terminal: ``tick(name, n)`` says that n more of `total` are done."""
    if find_spec("rich") is None:
        yield lambda name, n: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description:<18}"), BarColumn(bar_width=40), MofNCompleteColumn(), TimeElapsedColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=total)
        yield lambda name, n: bar.update(task, advance=n, description=name)
