"""Tables, results that print as tables and sentences, and progress bars: for terminals, logs and notebooks."""
from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from importlib.util import find_spec
from itertools import zip_longest
from shutil import get_terminal_size
from textwrap import fill
from typing import Any

from .checks import check_count, counted
from .notebook import Bar, is_running, paragraph

FOLDED = 24         # the narrowest last column that is still easy to read
TABLE = "border-collapse:collapse;border:none;margin:0.5em 0;font-size:0.875em;line-height:1.4"
CELL = "padding:0.15em 0.7em;vertical-align:top"
TITLE = "caption-side:top;text-align:left;white-space:nowrap;padding:0;color:inherit"
HEAD = "border:none;border-bottom:1px solid currentColor;font-weight:bold"


def ends(rows: list[list[str]], most: int, half: int) -> list[list[str]]:
    """Of more than `most` rows, the first and the last `half`, with a row of dots between."""
    return rows if len(rows) <= most else [*rows[:half], ["..."] * len(rows[0]), *rows[-half:]]


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
        """As wide as its longest row, whatever the terminal: a log or a notebook has no width. Needs no optional package."""
        widths, pads = self._widths(), [str.rjust if numeric else str.ljust for numeric in self._numeric()]

        def lines(cells: Sequence[str], order: int) -> list[str]:
            """A row; with order -1, cells of fewer lines stand at its lower end."""
            parts = list(zip_longest(*(cell.split("\n")[::order] for cell in cells), fillvalue=""))[::order]
            return [(" " * self.gap).join(pad(part, width) for part, pad, width in zip(line, pads, widths)) for line in parts]

        rule = "─" * (sum(widths) + self.gap * (len(widths) - 1))
        drawn = [*lines(self.headings, -1), rule, *(line for row in self.rows for line in lines(row, 1))]
        return "\n".join([self.title] * bool(self.title) + [line.rstrip() for line in drawn])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """As a notebook shows it, in the colours of the page. In a narrow one the last column is folded, and the rest scrolls."""
        styles = [f"text-align:{'right' if numeric else 'left'};white-space:pre" for numeric in self._numeric()]
        styles[-1] = styles[-1].replace("pre", f"pre-line;min-width:{min(2 * FOLDED, self._widths()[-1]) / 2}em")
        title = f'<caption style="{TITLE}">{escape(self.title)}</caption>' * bool(self.title)

        def row(tag: str, cells: Sequence[str], style: str) -> str:
            return "<tr>" + "".join(f'<{tag} style="{CELL};{style};{own}">{escape(cell)}</{tag}>'
                                    for cell, own in zip(cells, styles)) + "</tr>"

        body = "".join(row("td", cells, "border:none") for cells in self.rows)
        return (f'<div style="overflow-x:auto"><table style="{TABLE}">{title}'
                f"<thead>{row('th', self._headings(), HEAD)}</thead><tbody>{body}</tbody></table></div>")

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        """In a narrow terminal the last column is folded, in a narrower one all columns, then each row is a list."""
        from rich import box
        from rich.padding import Padding
        from rich.table import Table as RichTable
        from rich.text import Text

        *fixed, longest = self._widths()
        last = min(longest, options.max_width - sum(fixed) - self.gap * len(fixed))
        if last < min(FOLDED, longest) and self.gap > 1:
            yield Table(self.title, [heading.replace(" ", "\n") for heading in self.headings], self.rows, gap=1)
            return
        if self.title:
            yield Text(self.title)
        if last < min(FOLDED, longest):
            above = None
            for row in self.rows:
                first, *rest = (f"{heading}: {cell}" if heading else cell for heading, cell in zip(self._headings(), row) if cell)
                if first != above:
                    yield Text(f"\n{first}")
                above = first
                yield Padding(Text("; ".join(rest)), (0, 0, 0, 2), expand=False)
            return
        blanks = self.gap - 1                       # the box adds one
        drawn = RichTable(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, blanks, 0, 0), pad_edge=False)
        for heading, width, numeric in zip(self.headings, [*fixed, last], self._numeric()):
            drawn.add_column(heading, justify="right" if numeric else "left", width=width, overflow="fold")
        for row in self.rows:
            drawn.add_row(*row)
        yield drawn

    def _headings(self) -> list[str]:
        """The headings, each on one line."""
        return [heading.replace("-\n", "").replace("\n", " ") for heading in self.headings]

    def _widths(self) -> list[int]:
        return [max(len(line) for cell in column for line in cell.split("\n")) for column in zip(self.headings, *self.rows)]

    def _numeric(self) -> list[bool]:
        """Which columns hold only numbers."""
        return [bool(cells) and all(map(_is_number, cells)) for _, *cells in zip(self.headings, *self.rows)]


def _is_number(text: str) -> bool:
    """
    >>> [text for text in ("1,024", "59.4k", "~100%", "-", "2 of 3", "") if _is_number(text)]
    ['1,024', '59.4k', '~100%', '-']
    """
    try:
        float(text.lstrip(">~").rstrip("%kMGT").replace(",", ""))
    except ValueError:
        return text in ("-", "never", "...")
    return True


class Shown:
    """The base of results that print: their tables and sentences, as text and, in a notebook, as HTML."""

    def parts(self) -> Sequence[str | Table]:
        raise NotImplementedError

    def __str__(self) -> str:
        return "\n".join(map(str, self.parts()))

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return "".join(paragraph(part) if isinstance(part, str) else part._repr_html_() for part in self.parts() if part)


def print_parts(*parts: str | Table) -> None:
    """Print tables and sentences to standard output, in the width of the terminal if rich is installed."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")        # an encoding without arrows prints question marks
    print(_drawn(parts, max(get_terminal_size().columns, FOLDED)))


def _drawn(parts: Sequence[str | Table], width: int) -> str:
    if find_spec("rich") is None:
        return "\n".join(map(str, parts))
    from rich.console import Console

    console = Console(width=width, color_system=None, force_terminal=False, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:     # printed by Python, which reports a broken pipe
        for part in parts:
            console.print(part if isinstance(part, Table) else "\n".join(      # a folded line goes on where its text begins
                fill(line, width, subsequent_indent=" " * (len(line) - len(line.lstrip(" -"))), break_on_hyphens=False)
                for line in part.split("\n")))
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


@contextmanager
def progress(total: int, name: str = "", *, quiet: bool = False) -> Iterator[Callable[[str, int], None]]:
    """A progress bar in a notebook, or on standard error, if that is a terminal: ``tick(name, n)`` says that n more of `total`
    are done."""
    if not quiet and is_running():
        with Bar(total, name) as below:
            yield below.tick
        return
    if quiet or find_spec("rich") is None:
        yield lambda name, n: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    with Progress(TextColumn("{task.description:<18}"), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
                  BarColumn(bar_width=30), console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=total)
        yield lambda name, n: bar.update(task, advance=n, description=name)
